"""Which of two Domains that want the same names goes on: the one that had them first, by claims or by age."""

from __future__ import annotations

from collections.abc import Sequence

from ameide_shared.compile.context import age
from ameide_shared.kube.resources import DOMAIN, Manifest, key_of
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.tenancy import reference_problem
from domain_operator.plan.binding import DB_READY, Binding, cluster_key, wanted_names
from domain_operator.plan.claims import Claim, told
from domain_operator.plan.context import Context


def was_first(ctx: Context, binding: Binding, claims: Sequence[Claim], holder: str) -> bool:
    """Whether this Domain's claims are older than those of `holder`, which has some of the names that it wants.

    Two that ask in the same moment may each have got a part. Both judge by the same name, the first that both want
    and that one of them has, so that exactly one goes on.
    """
    wanted = {
        name for other in ctx.observed.objects.list(DOMAIN) if told(other) == holder for name in wanted_names(other)
    }
    for name in (("role", binding.owner), ("role", binding.role), ("database", binding.database)):
        mine = [age(claim.by) for claim in claims if claim.name == name and claim.ours]
        theirs = [age(claim.by) for claim in claims if claim.name == name and claim.holder == holder]
        if mine and theirs:
            return min(mine) < min(theirs)
        if theirs or (mine and name in wanted):
            return bool(mine)
    return False


def older_rival(ctx: Context, binding: Binding, cluster: Manifest) -> Stage | None:
    """Another Domain that asked for the same database (or, in a shared one, the same schema or role) first.

    Only those count that may refer to the Cluster: else anybody could hold names on anybody's.
    """
    mine = age(ctx.manifest)
    for other in ctx.observed.objects.list(DOMAIN):
        if key_of(other) == key_of(ctx.manifest) or age(other) >= mine:
            continue
        if reference_problem(other["metadata"]["namespace"], cluster, ctx.settings.references.allowed) is not None:
            continue
        db = (other.get("spec") or {}).get("db") or {}
        provisioning = db.get("provisioning") or "Database"
        if provisioning == "None" or cluster_key(db, other["metadata"]["namespace"]) != binding.cluster:
            continue
        database, *roles = wanted_names(other)
        holder, same_database = told(other), database == ("database", binding.database)
        if same_database and "Database" in (binding.provisioning, provisioning):
            return conflict(binding, "database", binding.database, holder)
        if same_database and db.get("schema") == binding.schema:
            return conflict(binding, "schema", binding.schema, holder)
        if not set(roles).isdisjoint(binding.names):
            return conflict(binding, "role", binding.role, holder)
    return None


def conflict(binding: Binding, what: str, name: str, holder: str) -> Stage:
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseConflict,
        f"the {what} {name!r} on Cluster {binding.cluster} belongs to {holder}",
        object=holder,
        remedy=f"create the Domain anew with another spec.db.{what} (it cannot be changed), or delete {holder} with "
        "deletionPolicy: Delete; data that it retained can only be had again by a Domain of its namespace and name",
    )
