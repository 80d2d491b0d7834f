"""Who a child belongs to: names, labels, selectors and owner references of what an operator creates.

Serving pods and one-shot pods of one resource are told apart by the value of `ameide.io/primitive`: `domain` for pods
that serve, `domain-job` for pods of Jobs and CronJobs. A Service selects by equality only, so it can leave out Job
pods only if a selector label of theirs has another value; a NetworkPolicy knows set expressions and covers both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared import vocabulary as names
from ameide_shared.kube.resources import Manifest

NAME_LIMIT: Final = 63
"""Characters in a label value, and in the names of most objects."""

JOB_SUFFIX: Final = "-job"

_SUFFIX_OF_KIND: Final = {"Domain": "domain", "Process": "process", "Agent": "agent", "UISurface": "ui"}
_TIER_OF_KIND: Final = {"Domain": "backend", "Process": "backend", "Agent": "agent", "UISurface": "frontend"}


@dataclass(frozen=True, slots=True)
class Primitive:
    """The resource that children are built for. `tenant_id` is empty where the namespace has none."""

    kind: str
    name: str
    namespace: str
    uid: str
    generation: int = 0
    tenant_id: str = ""

    @property
    def primitive(self) -> str:
        """The value of `ameide.io/primitive`: `domain`, `process`, `agent`, `uisurface`."""
        return self.kind.lower()

    @property
    def child_name(self) -> str:
        """The name of the Deployment and of what goes with it: `orders-domain`."""
        return f"{self.name}-{_SUFFIX_OF_KIND[self.kind]}"

    @property
    def canary_name(self) -> str:
        """The name of the canary Deployment; with names of at most 46 characters it fits 63."""
        return f"{self.child_name}-canary"

    @property
    def operator(self) -> str:
        """The operator that manages it, also its field manager: `domain-operator`."""
        return f"{self.primitive}-operator"

    @property
    def tier(self) -> str:
        """The network tier of its pods: what network profiles name as a peer."""
        return _TIER_OF_KIND[self.kind]

    @property
    def owner_reference(self) -> dict[str, Any]:
        """The controller reference of children in the same namespace."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def label_value(text: str) -> str:
    """Text as a label value: characters that a value may not hold become `-`, cut to 63, ends trimmed."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:NAME_LIMIT].strip("-_.")


def image_version(image: str) -> str:
    """The version that an image reference states: its tag, else the first 12 digits of its digest, else `latest`."""
    reference, _, digest = image.partition("@")
    tag = reference.rpartition("/")[2].partition(":")[2]
    if tag:
        return tag
    return digest.rpartition(":")[2][:12] or "latest"


def bounded_name(base: str, suffix: str = "", limit: int = NAME_LIMIT) -> str:
    """`base + suffix`, or, where that is too long, a cut base with a digest of the whole before the suffix."""
    if len(base) + len(suffix) <= limit:
        return base + suffix
    digest = hashlib.sha256(base.encode()).hexdigest()[:8]
    return f"{base[: limit - len(suffix) - 9].rstrip('-')}-{digest}{suffix}"


def foreign_name(primitive: Primitive, suffix: str = "") -> str:
    """The name of a child in another namespace: `<namespace>-<name>-<hash><suffix>`, at most 63 characters.

    The hash keeps `a-b/c` and `a/b-c` apart, and kinds of the same name.
    """
    identity = f"{primitive.primitive}/{primitive.namespace}/{primitive.name}"
    tail = f"-{hashlib.sha256(identity.encode()).hexdigest()[:8]}{suffix}"
    return f"{primitive.namespace}-{primitive.name}"[: NAME_LIMIT - len(tail)].rstrip("-") + tail


def selector_labels(primitive: Primitive, track: str | None = None) -> dict[str, str]:
    """The labels that select serving pods: of one track, or of stable and canary together."""
    labels = {names.LABEL_PRIMITIVE: primitive.primitive, names.LABEL_NAME: primitive.name}
    if track is not None:
        labels[names.LABEL_TRACK] = track
    return labels


def all_pods_selector(primitive: Primitive) -> dict[str, Any]:
    """The label selector of every pod of a resource, pods of Jobs and CronJobs included."""
    return {
        "matchLabels": {names.LABEL_NAME: primitive.name},
        "matchExpressions": [
            {
                "key": names.LABEL_PRIMITIVE,
                "operator": "In",
                "values": [primitive.primitive, primitive.primitive + JOB_SUFFIX],
            }
        ],
    }


def primitive_of(labels: Mapping[str, str]) -> str:
    """The primitive that an object's or a pod's labels name, whichever track it is of; empty if none."""
    return labels.get(names.LABEL_PRIMITIVE, "").removesuffix(JOB_SUFFIX)


def recommended_labels(primitive: Primitive, version: str = "") -> dict[str, str]:
    """The `app.kubernetes.io/` labels, and those by which children are found; `version` where it is known."""
    labels = {
        "app.kubernetes.io/name": label_value(primitive.name),
        "app.kubernetes.io/instance": label_value(primitive.child_name),
        "app.kubernetes.io/component": primitive.primitive,
        "app.kubernetes.io/part-of": "ameide",
        names.LABEL_MANAGED_BY: primitive.operator,
        names.LABEL_PRIMITIVE: primitive.primitive,
        names.LABEL_NAME: primitive.name,
        names.LABEL_TIER: primitive.tier,
    }
    if version:
        labels["app.kubernetes.io/version"] = label_value(version)
    return labels


def pod_labels(primitive: Primitive, track: str, version: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The labels of a pod; `extra` never overrides ours."""
    labels = dict(extra) | recommended_labels(primitive, version) | {names.LABEL_TRACK: track}
    if track == names.TRACK_JOB:
        labels[names.LABEL_PRIMITIVE] = primitive.primitive + JOB_SUFFIX
    return labels


def child_metadata(
    primitive: Primitive,
    name: str | None = None,
    *,
    track: str | None = None,
    version: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child in the resource's own namespace, with the controller reference.

    `version` is for what runs the image (Deployments, Jobs): on every child, each release would rewrite them all.
    """
    ours = recommended_labels(primitive, version)
    if track is not None:
        ours[names.LABEL_TRACK] = track
    metadata: dict[str, Any] = {
        "name": name or primitive.child_name,
        "namespace": primitive.namespace,
        "labels": dict(labels or {}) | ours,
        "ownerReferences": [primitive.owner_reference],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata


def foreign_child_metadata(
    primitive: Primitive,
    namespace: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child in another namespace, where an owner reference is impossible.

    It maps back by labels, and is ours by the uid in its annotation. It has no `app.kubernetes.io/instance`: Argo CD
    tracks by that label, and would prune it.
    """
    ours = {
        "app.kubernetes.io/component": primitive.primitive,
        "app.kubernetes.io/part-of": "ameide",
        names.LABEL_MANAGED_BY: primitive.operator,
        names.LABEL_PRIMITIVE: primitive.primitive,
        names.LABEL_OWNER_NAMESPACE: primitive.namespace,
        names.LABEL_OWNER_NAME: primitive.name,
    }
    return {
        "name": name,
        "namespace": namespace,
        "labels": dict(labels or {}) | ours,
        "annotations": dict(annotations or {}) | {names.ANNOTATION_OWNER_UID: primitive.uid},
    }


def is_marked(primitive: Primitive, manifest: Manifest) -> bool:
    """Whether an object in another namespace was made for this resource, or for one of its name before it."""
    labels = (manifest.get("metadata") or {}).get("labels") or {}
    marks = (names.LABEL_OWNER_NAMESPACE, names.LABEL_OWNER_NAME, names.LABEL_PRIMITIVE)
    return [labels.get(mark) for mark in marks] == [primitive.namespace, primitive.name, primitive.primitive]


def is_owned(primitive: Primitive, manifest: Manifest) -> bool:
    """Whether a live object is a child of exactly this resource, by uid: a namesake's leftovers are not."""
    metadata = manifest.get("metadata") or {}
    if (metadata.get("annotations") or {}).get(names.ANNOTATION_OWNER_UID) == primitive.uid:
        return metadata.get("namespace") != primitive.namespace
    return any(
        reference.get("uid") == primitive.uid and reference.get("controller") is True
        for reference in metadata.get("ownerReferences") or ()
    )
