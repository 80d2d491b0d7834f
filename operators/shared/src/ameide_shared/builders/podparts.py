"""The parts that pod templates are put together from: hardening, scheduling, probes, volumes."""

from __future__ import annotations

import hashlib
from typing import Any

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, image_version, pod_labels, selector_labels
from ameide_shared.builders.inputs import DefaultProbe, Extras, PodDefaults, PodProfile, PodSpec
from ameide_shared.spec.probes import Probe
from ameide_shared.spec.resources import Resources
from ameide_shared.spec.scheduling import Scheduling


def pod_metadata(
    primitive: Primitive, spec: PodSpec, extras: Extras, defaults: PodDefaults, track: str, image: str
) -> dict[str, Any]:
    """Labels and annotations of a pod; the user's never override ours."""
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


def hardened_container(name: str, image: str, env: list[dict[str, Any]], extras: Extras) -> dict[str, Any]:
    """A container that cannot gain privileges or write to its root file system."""
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


def hardened_pod(
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


def user_env(spec: PodSpec) -> list[dict[str, Any]]:
    """The variables of the spec, as the API has them."""
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


def spread_constraints(primitive: Primitive, scheduling: Scheduling) -> list[dict[str, Any]]:
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


def probes_of(spec: PodSpec, profile: PodProfile) -> dict[str, Any]:
    """The probes of the main container, by the spec or else by the kind's defaults."""
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
