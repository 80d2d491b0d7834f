"""Claims: the objects in a Cluster's namespace that stand for names in PostgreSQL, and the Domains they were made for.

Objects that stay behind with retained data are the claim to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import is_marked
from ameide_shared.kube.resources import CNPG_DATABASE, CNPG_DATABASE_ROLE, SECRET, Manifest, key_of
from domain_operator.plan.binding import Binding, Name
from domain_operator.plan.context import Context

ANNOTATION_CLUSTER: Final = "ameide.io/cluster"
ANNOTATION_DATABASE: Final = "ameide.io/database"
ANNOTATION_ROLE: Final = "ameide.io/role"
"""On password Secrets: what they stand for. They outlive the Domain with its data, as the claim to it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An object in the Cluster's namespace that stands for a name; `holder` is the Domain it was made for, if any."""

    name: Name
    by: Manifest
    holder: str
    ours: bool


def claims_on(ctx: Context, binding: Binding) -> tuple[Claim, ...]:
    """What stands for the binding's names on its Cluster: CloudNativePG's objects, and password Secrets, name by name.

    A Secret is there before the others; and what provisioning Jobs made has none but that.
    """
    namespace, cluster = binding.cluster
    found: dict[Name, list[Claim]] = {name: [] for name in binding.names}
    for resource, field in ((CNPG_DATABASE, "database"), (CNPG_DATABASE_ROLE, "role")):
        for live in ctx.observed.objects.list(resource, namespace):
            spec = live.get("spec") or {}
            name = field, spec.get("name") or ""
            if name in found and (spec.get("cluster") or {}).get("name") == cluster:
                found[name].append(Claim(name, live, _holder(live), is_marked(ctx.primitive, live)))
    for live in ctx.observed.objects.list(SECRET, namespace):
        marks = live["metadata"].get("annotations") or {}
        if marks.get(ANNOTATION_CLUSTER) != cluster:
            continue
        for field, mark in (("database", ANNOTATION_DATABASE), ("role", ANNOTATION_ROLE)):
            name = field, marks.get(mark, "")
            if name in found and (holder := _holder(live)):
                found[name].append(Claim(name, live, holder, is_marked(ctx.primitive, live)))
    return tuple(claim for claims in found.values() for claim in claims)


def told(domain: Manifest) -> str:
    """A Domain as the `holder` of claims."""
    return f"Domain {key_of(domain)}"


def _holder(manifest: Manifest) -> str:
    """The Domain that an object in the Cluster's namespace was made for; empty if none."""
    labels = manifest["metadata"].get("labels") or {}
    if v.LABEL_OWNER_NAME not in labels:
        return ""
    return f"Domain {labels.get(v.LABEL_OWNER_NAMESPACE)}/{labels[v.LABEL_OWNER_NAME]}"
