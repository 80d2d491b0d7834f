"""May a Domain have the names that it asks for on its Cluster, or are they somebody else's?

CloudNativePG adopts whatever bears a name already, so every name is checked for another holder before it is asked
for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ameide_shared.builders.identity import is_marked
from ameide_shared.kube.resources import CNPG_DATABASE, CNPG_DATABASE_ROLE, SECRET, Manifest, key_of
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from domain_operator.plan.binding import DB_READY, Binding
from domain_operator.plan.claims import Claim
from domain_operator.plan.cluster import own_names
from domain_operator.plan.context import Context
from domain_operator.plan.rivals import conflict, older_rival, was_first


def refusal(ctx: Context, binding: Binding, cluster: Manifest, claims: Sequence[Claim]) -> Stage | None:
    """The first thing that keeps the names from this Domain: the Cluster itself, claims of others, older Domains, or
    its own namesake's data under other names. None when the way is free.
    """
    return _taken(ctx, binding, cluster, claims) or _retained_otherwise(ctx, binding)


def _taken(ctx: Context, binding: Binding, cluster: Manifest, claims: Sequence[Claim]) -> Stage | None:
    of_cluster = own_names(cluster)
    for field, name in binding.names:
        # A shared database is somebody else's by intent; schema and roles are claimed inside it.
        if (field, name) in of_cluster and not _is_shared(binding, field):
            return _name_taken(binding, field, name, of_cluster[field, name])
    for claim in claims:
        field, name = claim.name
        if claim.ours or (_is_shared(binding, field) and (claim.by["kind"] == SECRET.kind or not claim.holder)):
            continue
        if not claim.holder:
            return _name_taken(binding, field, name, f"claimed by {claim.by['kind']} {key_of(claim.by)}")
        if not was_first(ctx, binding, claims, claim.holder):
            return conflict(binding, field, name, claim.holder)
    if any(claim.ours for claim in claims):
        # Made in its life, or left to it by a namesake's: who merely asks cannot stand in its way, old as it may be.
        return None
    return older_rival(ctx, binding, cluster)


def _is_shared(binding: Binding, field: str) -> bool:
    return binding.provisioning == "Job" and field == "database"


def _retained_otherwise(ctx: Context, binding: Binding) -> Stage | None:
    """Objects that a Domain of this name left behind with its data, where this one asks for other names than it had.

    CloudNativePG lets nobody change the names.
    """
    for resource, name, field, wanted in (
        (CNPG_DATABASE, binding.made.database, "database", binding.database),
        (CNPG_DATABASE_ROLE, binding.made.owner, "role", binding.owner),
        (CNPG_DATABASE_ROLE, binding.made.app, "role", binding.role),
    ):
        live = ctx.observed.objects.get(resource, binding.cluster.namespace, name)
        spec: Mapping[str, Any] = (live or {}).get("spec") or {}
        had, cluster = spec.get("name"), (spec.get("cluster") or {}).get("name")
        if live is None or not is_marked(ctx.primitive, live) or (had, cluster) == (wanted, binding.cluster.name):
            continue
        what = f"{resource.kind} {key_of(live)}"
        return Stage(
            DB_READY,
            State.STALLED,
            Reason.DatabaseConflict,
            f"{what} was retained for the {field} {had!r} on Cluster {binding.cluster.namespace}/{cluster}; it cannot "
            f"become {wanted!r} on Cluster {binding.cluster}",
            object=what,
            remedy="create the Domain anew as it was, to have its data again; or, if nobody needs them, delete the "
            "Database and the DatabaseRoles that it left",
        )
    return None


def _name_taken(binding: Binding, what: str, name: str, holder: str) -> Stage:
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseNameTaken,
        f"the {what} {name!r} on Cluster {binding.cluster} is {holder}, and is not taken over",
        object=f"Cluster {binding.cluster}",
        remedy=f"create the Domain anew with another spec.db.{what} (it cannot be changed), or free the name",
    )
