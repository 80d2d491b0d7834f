"""Pod templates: hardened to the "restricted" Pod Security Standard, for what serves and for what runs once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from ameide_shared import vocabulary as names
from ameide_shared.builders.environment import EnvVar, merged_env, standard_env
from ameide_shared.builders.identity import (
    JOB_SUFFIX,
    Primitive,
    foreign_child_metadata,
    image_version,
    pod_labels,
    selector_labels,
)
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.spec.common import CommonSpec, LocalObjectRef, Observability, Security
from ameide_shared.spec.env import EnvVar as SpecEnvVar
from ameide_shared.spec.probes import Probe, Probes
from ameide_shared.spec.resources import Resources
from ameide_shared.spec.rollout import RolloutBase
from ameide_shared.spec.scheduling import Scheduling

PodTemplate = dict[str, Any]
Fields = Mapping[str, Any]
"""Part of a manifest, in Kubernetes' spelling."""


class PodDefaults(Protocol):
    """The operator's defaults for pods (settings `pods`); a spec's own values win."""

    @property
    def image_pull_secrets(self) -> Sequence[str]: ...

    @property
    def priority_class_name(self) -> str | None: ...

    @property
    def node_selector(self) -> Mapping[str, str]: ...

    @property
    def annotations(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class NoDefaults:
    """Pod defaults that add nothing."""

    image_pull_secrets: tuple[str, ...] = ()
    priority_class_name: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class PodSpec(Protocol):
    """What these builders read of a spec; `CommonSpec` has it all."""

    @property
    def image(self) -> str: ...

    @property
    def image_pull_policy(self) -> str | None: ...

    @property
    def image_pull_secrets(self) -> Sequence[LocalObjectRef]: ...

    @property
    def resources(self) -> Resources: ...

    @property
    def env(self) -> Sequence[SpecEnvVar]: ...

    @property
    def probes(self) -> Probes: ...

    @property
    def observability(self) -> Observability: ...

    @property
    def security(self) -> Security: ...

    @property
    def writable_paths(self) -> Sequence[str]: ...

    @property
    def scheduling(self) -> Scheduling: ...

    @property
    def pod_annotations(self) -> Mapping[str, str]: ...

    @property
    def pod_labels(self) -> Mapping[str, str]: ...


class ServingSpec(PodSpec, Protocol):
    """The spec of pods that serve also says how they are rolled out."""

    @property
    def rollout(self) -> RolloutBase: ...


@dataclass(frozen=True, slots=True)
class DefaultProbe:
    """What a kind's pods are asked where the spec does not say; the port follows from the type."""

    type: Literal["http", "grpc", "tcp", "none"] = "http"
    path: str = "/healthz"


@dataclass(frozen=True, slots=True)
class Port:
    """A named port of the main container."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class PodProfile:
    """How pods of a kind serve: ports by name, default probes, and seconds between leaving the Service and SIGTERM.

    Without that pause, requests still routed to a pod that is going away would be refused.
    """

    ports: tuple[Port, ...] = (Port("http", 8080), Port("grpc", 50051))
    liveness: DefaultProbe = DefaultProbe("http", "/healthz")
    readiness: DefaultProbe = DefaultProbe("http", "/readyz")
    drain_seconds: int = 5

    def port(self, name: str) -> int:
        """The number of a port; the first one's where there is none of that name."""
        return next((port.number for port in self.ports if port.name == name), self.ports[0].number)


BACKEND: Final = PodProfile()
"""Domains, Processes and Agents: HTTP on 8080, gRPC on 50051."""

FRONTEND: Final = PodProfile(ports=(Port("http", 3000),))
"""UISurfaces: HTTP on 3000."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a kind adds to the pods, in Kubernetes' spelling; entries with the names of ours are not meant.

    `config_digest` is over the ConfigMaps and Secrets of ours that the pods consume: a new one rolls them.
    """

    env: Sequence[EnvVar] = ()
    volumes: Sequence[Fields] = ()
    mounts: Sequence[Fields] = ()
    containers: Sequence[Fields] = ()
    init_containers: Sequence[Fields] = ()
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    config_digest: str = ""


NO_EXTRAS: Final = Extras()


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
    main = _container(primitive.primitive, spec.image, merged_env(standard, extras.env, _user_env(spec)), extras)
    main["ports"] = [{"name": port.name, "containerPort": port.number, "protocol": "TCP"} for port in profile.ports]
    main |= _probes(spec, profile)
    grace = spec.rollout.termination_grace_period_seconds
    drain = min(profile.drain_seconds, grace // 2)
    if drain > 0:
        main["lifecycle"] = {"preStop": {"sleep": {"seconds": drain}}}
    pod = _pod(spec, main, extras, defaults, service_account or service_account_name(primitive, spec))
    pod["terminationGracePeriodSeconds"] = grace
    pod["topologySpreadConstraints"] = _spread(primitive, spec.scheduling)
    return {"metadata": _metadata(primitive, spec, extras, defaults, track, spec.image), "spec": pod}


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
    main = _container(name, image, merged_env(standard, extras.env, _user_env(spec)), extras)
    pod = _pod(spec, main, extras, defaults, service_account or service_account_name(primitive, spec))
    pod["restartPolicy"] = "Never"
    return {"metadata": _metadata(primitive, spec, extras, defaults, names.TRACK_JOB, image), "spec": pod}


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
    main = _container(name, image, merged_env(env), extras)
    pod = _pod(spec, main, extras, defaults, "")
    pod["restartPolicy"] = "Never"
    metadata = _metadata(primitive, spec, extras, defaults, names.TRACK_JOB, image)
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
    container = _container(name, image, merged_env(env), Extras(command=command, args=args))
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}, *map(dict, mounts)]  # noqa: S108 - in the container
    return container


def for_track(template: Mapping[str, Any], track: str) -> PodTemplate:
    """The same template on another track: one revision runs as canary first and as stable then."""
    metadata = dict(template["metadata"])
    metadata["labels"] = dict(metadata["labels"]) | {names.LABEL_TRACK: track}
    return {"metadata": metadata, "spec": template["spec"]}


# --- parts ------------------------------------------------------------------------------------------------------


def _metadata(
    primitive: Primitive, spec: PodSpec, extras: Extras, defaults: PodDefaults, track: str, image: str
) -> dict[str, Any]:
    annotations = dict(defaults.annotations) | dict(spec.pod_annotations) | dict(extras.annotations)
    if extras.config_digest:
        annotations[names.ANNOTATION_CONFIG_DIGEST] = extras.config_digest
    if extras.containers:
        # kubectl logs and exec mean the application unless told otherwise.
        annotations["kubectl.kubernetes.io/default-container"] = primitive.primitive
    labels = dict(spec.pod_labels) | dict(extras.labels)
    metadata: dict[str, Any] = {"labels": pod_labels(primitive, track, image_version(image), labels)}
    if annotations:
        metadata["annotations"] = annotations
    return metadata


def _container(name: str, image: str, env: list[dict[str, Any]], extras: Extras) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # What a container says last is what its user is told first.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if env:
        container["env"] = env
    if extras.command:
        container["command"] = list(extras.command)
    if extras.args:
        container["args"] = list(extras.args)
    return container


def _pod(
    spec: PodSpec, main: dict[str, Any], extras: Extras, defaults: PodDefaults, service_account: str
) -> dict[str, Any]:
    """The fields that all pods have. Adds mounts, resources and pull policy to the main container."""
    paths = sorted({"/tmp", *spec.writable_paths})  # noqa: S108 - a path in the container
    main["volumeMounts"] = [
        *({"name": _volume_name(path), "mountPath": path} for path in paths),
        *map(dict, extras.mounts),
    ]
    if spec.image_pull_policy:
        main["imagePullPolicy"] = spec.image_pull_policy
    main |= _resources(spec.resources)
    pod: dict[str, Any] = {
        "containers": [main, *map(dict, extras.containers)],
        "volumes": [*({"name": _volume_name(path), "emptyDir": {}} for path in paths), *map(dict, extras.volumes)],
        "securityContext": _pod_security(spec),
        "automountServiceAccountToken": False,
        # A variable per Service of the namespace would change with the neighbours.
        "enableServiceLinks": False,
    }
    if extras.init_containers:
        pod["initContainers"] = [dict(container) for container in extras.init_containers]
    if service_account:
        pod["serviceAccountName"] = service_account
    pull_secrets = dict.fromkeys([*(ref.name for ref in spec.image_pull_secrets), *defaults.image_pull_secrets])
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    return pod | _scheduling(spec.scheduling, defaults)


def _user_env(spec: PodSpec) -> list[dict[str, Any]]:
    return [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.env]


def _volume_name(path: str) -> str:
    """A name that depends on the path only, so that one more path does not rename the others."""
    return "tmp" if path == "/tmp" else f"writable-{hashlib.sha256(path.encode()).hexdigest()[:8]}"  # noqa: S108


def _resources(resources: Resources) -> dict[str, Any]:
    parts = {"requests": resources.effective_requests, "limits": resources.effective_limits}
    filled = {name: amounts for name, amounts in parts.items() if amounts}
    return {"resources": filled} if filled else {}


def _pod_security(spec: PodSpec) -> dict[str, Any]:
    context: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if spec.security.run_as_user is not None:
        context["runAsUser"] = spec.security.run_as_user
    if spec.security.fs_group is not None:
        context["fsGroup"] = spec.security.fs_group
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    return context


def _scheduling(scheduling: Scheduling, defaults: PodDefaults) -> dict[str, Any]:
    found: dict[str, Any] = {
        "nodeSelector": dict(defaults.node_selector) | dict(scheduling.node_selector or {}),
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in scheduling.tolerations],
        "priorityClassName": scheduling.priority_class_name or defaults.priority_class_name,
    }
    return {name: value for name, value in found.items() if value}


def _spread(primitive: Primitive, scheduling: Scheduling) -> list[dict[str, Any]]:
    """The user's constraints with our selector, or: evenly over hosts and zones where that is possible.

    Each revision is spread by itself: old pods, which are about to go, do not push new ones together.
    """
    given = [item.model_dump(by_alias=True, exclude_none=True) for item in scheduling.topology_spread_constraints]
    default = [
        {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    return [
        constraint
        | {"labelSelector": {"matchLabels": selector_labels(primitive)}, "matchLabelKeys": ["pod-template-hash"]}
        for constraint in given or default
    ]


def _probes(spec: PodSpec, profile: PodProfile) -> dict[str, Any]:
    found = {
        "livenessProbe": _probe(spec.probes.liveness, profile.liveness, profile),
        "readinessProbe": _probe(spec.probes.readiness, profile.readiness, profile),
        "startupProbe": _probe(spec.probes.startup, DefaultProbe("none"), profile),
    }
    if found["startupProbe"] is not None:
        found["startupProbe"].setdefault("failureThreshold", 30)
    return {name: probe for name, probe in found.items() if probe is not None}


def _probe(probe: Probe | None, default: DefaultProbe, profile: PodProfile) -> dict[str, Any] | None:
    kind = probe.type if probe else default.type
    if kind == "none":
        return None
    port = probe.port if probe and probe.port else profile.port("grpc" if kind == "grpc" else "http")
    result: dict[str, Any]
    if kind == "http":
        path = (probe.path if probe else None) or default.path
        result = {"httpGet": {"path": path, "port": port}}
    elif kind == "grpc":
        result = {"grpc": {"port": port}}
        if probe and probe.service:
            result["grpc"]["service"] = probe.service
    else:
        result = {"tcpSocket": {"port": port}}
    if probe:
        timings = probe.model_dump(by_alias=True, exclude_none=True, exclude={"type", "path", "port", "service"})
        result |= timings
    return result
