"""Pod templates: hardened to the "restricted" Pod Security Standard, for what serves and for what runs once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ameide_shared import vocabulary as names
from ameide_shared.builders.environment import EnvVar, merged_env, standard_env
from ameide_shared.builders.identity import JOB_SUFFIX, Primitive, foreign_child_metadata
from ameide_shared.builders.inputs import (
    BACKEND,
    FRONTEND,
    NO_EXTRAS,
    DefaultProbe,
    Extras,
    Fields,
    NoDefaults,
    PodDefaults,
    PodProfile,
    PodSpec,
    Port,
    ServingSpec,
)
from ameide_shared.builders.podparts import (
    hardened_container,
    hardened_pod,
    pod_metadata,
    probes_of,
    spread_constraints,
    user_env,
)
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.spec.common import CommonSpec

__all__ = [
    "BACKEND",
    "FRONTEND",
    "DefaultProbe",
    "Extras",
    "NoDefaults",
    "PodDefaults",
    "PodProfile",
    "PodSpec",
    "PodTemplate",
    "Port",
    "ServingSpec",
    "for_track",
    "job_template",
    "one_shot_container",
    "one_shot_template",
    "pod_template",
]

PodTemplate = dict[str, Any]
"""`metadata` (labels, annotations) and `spec` of a pod, as in a Deployment's `spec.template`."""


def pod_template(
    primitive: Primitive,
    spec: ServingSpec,
    *,
    service_account: str | None = None,
    profile: PodProfile = BACKEND,
    defaults: PodDefaults | None = None,
    otlp_endpoint: str | None = None,
    extras: Extras = NO_EXTRAS,
    track: str = names.TRACK_STABLE,
) -> PodTemplate:
    """The template of pods that serve. The main container is named as the primitive: `domain`.

    `service_account`: by default the one that the spec names, or the child name.
    """
    defaults = defaults or NoDefaults()
    standard = standard_env(
        primitive,
        image=spec.image,
        log_level=spec.observability.log_level,
        ports=[(port.name, port.number) for port in profile.ports],
        otlp_endpoint=otlp_endpoint,
    )
    main = hardened_container(primitive.primitive, spec.image, merged_env(standard, extras.env, user_env(spec)), extras)
    main["ports"] = [{"name": port.name, "containerPort": port.number, "protocol": "TCP"} for port in profile.ports]
    main |= probes_of(spec, profile)
    grace = spec.rollout.termination_grace_period_seconds
    drain = min(profile.drain_seconds, grace // 2)
    if drain > 0:
        main["lifecycle"] = {"preStop": {"sleep": {"seconds": drain}}}
    pod = hardened_pod(spec, main, extras, defaults, service_account or service_account_name(primitive, spec))
    pod["terminationGracePeriodSeconds"] = grace
    pod["topologySpreadConstraints"] = spread_constraints(primitive, spec.scheduling)
    return {"metadata": pod_metadata(primitive, spec, extras, defaults, track, spec.image), "spec": pod}


def job_template(
    primitive: Primitive,
    spec: PodSpec,
    *,
    name: str,
    image: str,
    service_account: str | None = None,
    defaults: PodDefaults | None = None,
    otlp_endpoint: str | None = None,
    extras: Extras = NO_EXTRAS,
) -> PodTemplate:
    """The template of pods that run once with the resource's own wiring; `name` is the main container's.

    Same environment (but for ports), resources, identity and scheduling as the pods that serve.
    """
    defaults = defaults or NoDefaults()
    standard = standard_env(
        primitive, image=spec.image, log_level=spec.observability.log_level, otlp_endpoint=otlp_endpoint
    )
    main = hardened_container(name, image, merged_env(standard, extras.env, user_env(spec)), extras)
    pod = hardened_pod(spec, main, extras, defaults, service_account or service_account_name(primitive, spec))
    pod["restartPolicy"] = "Never"
    return {"metadata": pod_metadata(primitive, spec, extras, defaults, names.TRACK_JOB, image), "spec": pod}


def one_shot_template(
    primitive: Primitive,
    *,
    name: str,
    image: str,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Sequence[EnvVar] = (),
    volumes: Sequence[Fields] = (),
    mounts: Sequence[Fields] = (),
    defaults: PodDefaults | None = None,
    namespace: str | None = None,
) -> PodTemplate:
    """The template of pods that run once on the operator's behalf, with nothing of the spec in them.

    In another `namespace` than the resource's they carry the labels of foreign children.
    """
    defaults = defaults or NoDefaults()
    spec = CommonSpec.model_construct(image=image)
    extras = Extras(env=env, command=command, args=args, volumes=volumes, mounts=mounts)
    main = hardened_container(name, image, merged_env(env), extras)
    pod = hardened_pod(spec, main, extras, defaults, "")
    pod["restartPolicy"] = "Never"
    metadata = pod_metadata(primitive, spec, extras, defaults, names.TRACK_JOB, image)
    if namespace not in (None, primitive.namespace):
        foreign = foreign_child_metadata(primitive, primitive.namespace, name)["labels"]
        metadata["labels"] = foreign | {
            names.LABEL_PRIMITIVE: primitive.primitive + JOB_SUFFIX,
            names.LABEL_TRACK: names.TRACK_JOB,
        }
    return {"metadata": metadata, "spec": pod}


def one_shot_container(
    name: str,
    image: str,
    *,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Sequence[EnvVar] = (),
    mounts: Sequence[Fields] = (),
) -> dict[str, Any]:
    """A hardened container beside the main one, such as an init container; it shares the pod's /tmp."""
    container = hardened_container(name, image, merged_env(env), Extras(command=command, args=args))
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}, *map(dict, mounts)]  # noqa: S108 - in the container
    return container


def for_track(template: Mapping[str, Any], track: str) -> PodTemplate:
    """The same template on another track: one revision runs as canary first and as stable then."""
    metadata = dict(template["metadata"])
    metadata["labels"] = dict(metadata["labels"]) | {names.LABEL_TRACK: track}
    return {"metadata": metadata, "spec": template["spec"]}
