"""May a Domain have the database that it asks for: the Cluster's consent, and whoever else holds a name.

CloudNativePG adopts whatever bears a name already, so every name is checked for another holder before it is asked
for. Objects that stay behind with retained data are the claim to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import foreign_name
from ameide_shared.compile.context import age
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DOMAIN,
    SECRET,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.tenancy import reference_problem
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context

DB_READY: Final = "DBReady"
ANNOTATION_CLUSTER: Final = "ameide.io/cluster"
ANNOTATION_DATABASE: Final = "ameide.io/database"
ANNOTATION_ROLE: Final = "ameide.io/role"
"""On password Secrets: what they stand for. They outlive the Domain with its data, as the claim to it."""


class Names:
    """Names of what is made in the Cluster's namespace; a role's password Secret has the name of its DatabaseRole."""

    __slots__ = ("app", "database", "owner")

    def __init__(self, app: str, owner: str, database: str) -> None:
        self.app, self.owner, self.database = app, owner, database

    @classmethod
    def of(cls, ctx: Context, binding: Binding) -> Names:
        primitive = ctx.primitive
        return cls(
            app=foreign_name(primitive, "-app"),
            owner=foreign_name(primitive, "-owner"),
            database=foreign_name(primitive),
        )


def refusal(ctx: Context, binding: Binding) -> Stage | None:
    """The first thing that forbids the binding or makes it wait; None when the way is free."""
    if CNPG_CLUSTER not in ctx.observed.apis:
        return Stage(
            DB_READY,
            State.WAITING,
            Reason.APINotInstalled,
            "spec.db needs CloudNativePG, whose API postgresql.cnpg.io/v1 is not installed",
            remedy="install CloudNativePG, or set spec.db.provisioning: None with a connectionSecretRef",
        )
    cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
    what = f"Cluster {binding.cluster}"
    if cluster is None:
        return Stage(
            DB_READY,
            State.WAITING,
            Reason.ClusterNotFound,
            f"spec.db.clusterRef names CloudNativePG {what}, which does not exist",
            object=what,
            remedy="create the Cluster, or create the Domain anew with the right clusterRef (it cannot be changed)",
        )
    consent = reference_problem(
        ctx.primitive.namespace, cluster, ctx.settings.references.allowed, field="spec.db.clusterRef"
    )
    if consent is not None:
        return Stage(
            DB_READY, State.WAITING, Reason.ReferenceNotPermitted, consent.message, object=what, remedy=consent.remedy
        )
    taken = _taken(ctx, binding, cluster) or _retained_otherwise(ctx, binding)
    if taken is not None:
        return taken
    if not _condition_true(cluster, "Ready"):
        phase = (cluster.get("status") or {}).get("phase") or "no status yet"
        return Stage(
            DB_READY,
            State.WAITING,
            Reason.ClusterNotReady,
            f"CloudNativePG {what} is not Ready: {phase}",
            object=what,
            remedy=f"see kubectl describe clusters.postgresql.cnpg.io -n {binding.cluster.namespace} "
            f"{binding.cluster.name}",
        )
    return None


def _retained_otherwise(ctx: Context, binding: Binding) -> Stage | None:
    """Objects that a Domain of this name left behind with its data, where this one asks for other names than it had.

    CloudNativePG lets nobody change the names.
    """
    names = Names.of(ctx, binding)
    for resource, name, field, wanted in (
        (CNPG_DATABASE, names.database, "database", binding.database),
        (CNPG_DATABASE_ROLE, names.owner, "role", binding.owner),
        (CNPG_DATABASE_ROLE, names.app, "role", binding.role),
    ):
        live = ctx.observed.objects.get(resource, binding.cluster.namespace, name)
        spec: Mapping[str, Any] = (live or {}).get("spec") or {}
        had, cluster = spec.get("name"), (spec.get("cluster") or {}).get("name")
        if live is None or not _ours(ctx, live) or (had, cluster) == (wanted, binding.cluster.name):
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


def is_claimed(ctx: Context, binding: Binding) -> bool:
    """Whether this Domain holds the binding's names by objects of its own, as it does from the first one on."""
    names = _names(binding)
    return any(claim.name in names and _ours(ctx, claim.by) for claim in _claims(ctx, binding))


def application_of(cluster: Manifest) -> tuple[str, str]:
    """The database that a Cluster makes for itself, and the Secret of its owner, beside the Cluster."""
    spec: Mapping[str, Any] = cluster.get("spec") or {}
    given = (_bootstrap_method(spec).get("secret") or {}).get("name")
    return _bootstrap(spec)[0], str(given or f"{cluster['metadata']['name']}-app")


def _taken(ctx: Context, binding: Binding, cluster: Manifest) -> Stage | None:
    """Whether somebody else holds the database or a role: bootstrap names, claims of others, older Domains."""
    spec: Mapping[str, Any] = cluster.get("spec") or {}
    database, owner = _bootstrap(spec)
    managed = {role.get("name") for role in (spec.get("managed") or {}).get("roles") or ()}
    roles = {owner, *managed}
    if binding.provisioning == "Database" and binding.database in (database, "postgres", "template0", "template1"):
        return _name_taken(binding, "database", binding.database, "made by the Cluster's own bootstrap")
    for role in (binding.role, binding.owner):
        if role in roles:
            return _name_taken(binding, "role", role, "one that the Cluster itself manages")
    claims = [claim for claim in _claims(ctx, binding) if claim.name in _names(binding)]
    for claim in claims:
        field, name = claim.name
        shared = binding.provisioning == "Job" and field == "database"
        # A shared database is somebody else's by intent; schema and roles are claimed inside it.
        if _ours(ctx, claim.by) or (shared and (claim.by["kind"] == SECRET.kind or not claim.holder)):
            continue
        if not claim.holder:
            return _name_taken(binding, field, name, f"claimed by {claim.by['kind']} {key_of(claim.by)}")
        if not _was_first(ctx, binding, claims, claim.holder):
            return _conflict(binding, field, name, claim.holder)
    if any(_ours(ctx, claim.by) for claim in claims):
        # Made in its life, or left to it by a namesake's: who merely asks cannot stand in its way, old as it may be.
        return None
    return _older_rival(ctx, binding, cluster)


Name = tuple[str, str]
"""What a name is of (`database` or `role`), and the name in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """An object in the Cluster's namespace that stands for a name; `holder` is the Domain it was made for, if any."""

    name: Name
    by: Manifest
    holder: str


def _names(binding: Binding) -> tuple[Name, ...]:
    """The names that the binding needs."""
    return ("database", binding.database), ("role", binding.role), ("role", binding.owner)


def _claims(ctx: Context, binding: Binding) -> list[_Claim]:
    """What stands for names on the binding's Cluster: CloudNativePG's objects, and password Secrets.

    A Secret is there before the others; and what provisioning Jobs made has none but that.
    """
    namespace, found = binding.cluster.namespace, []
    for resource, field in ((CNPG_DATABASE, "database"), (CNPG_DATABASE_ROLE, "role")):
        for live in ctx.observed.objects.list(resource, namespace):
            spec = live.get("spec") or {}
            if (spec.get("cluster") or {}).get("name") == binding.cluster.name:
                found.append(_Claim((field, spec.get("name") or ""), live, _holder(live)))
    for live in ctx.observed.objects.list(SECRET, namespace):
        marks = live["metadata"].get("annotations") or {}
        if marks.get(ANNOTATION_CLUSTER) == binding.cluster.name and _holder(live):
            for field, mark in (("database", ANNOTATION_DATABASE), ("role", ANNOTATION_ROLE)):
                found.append(_Claim((field, marks.get(mark, "")), live, _holder(live)))
    order = _names(binding)
    return sorted(found, key=lambda claim: order.index(claim.name) if claim.name in order else len(order))


def _was_first(ctx: Context, binding: Binding, claims: Sequence[_Claim], holder: str) -> bool:
    """Whether this Domain's claims are older than those of `holder`, which has some of the names that it wants.

    Two that ask in the same moment may each have got a part. Both judge by the same name, the first that both want
    and that one of them has, so that exactly one goes on.
    """
    wanted = {name for other in ctx.observed.objects.list(DOMAIN) if _told(other) == holder for name in _wants(other)}
    for name in (("role", binding.owner), ("role", binding.role), ("database", binding.database)):
        mine = [age(claim.by) for claim in claims if claim.name == name and _ours(ctx, claim.by)]
        theirs = [age(claim.by) for claim in claims if claim.name == name and claim.holder == holder]
        if mine and theirs:
            return min(mine) < min(theirs)
        if theirs or (mine and name in wanted):
            return bool(mine)
    return False


def _told(domain: Manifest) -> str:
    """A Domain as `_holder` names it."""
    return f"Domain {key_of(domain)}"


def _wants(domain: Manifest) -> set[Name]:
    """The names that a Domain's raw spec asks for."""
    db = (domain.get("spec") or {}).get("db") or {}
    name = domain["metadata"]["name"]
    role = db.get("role") or name
    return {("role", role), ("role", f"{role}_owner"), ("database", db.get("database") or name)}


def _bootstrap(spec: Mapping[str, Any]) -> tuple[str, str]:
    """The database and its owner that the Cluster makes for itself, by whichever method it is bootstrapped."""
    method = _bootstrap_method(spec)
    database = str(method.get("database") or "app")
    return database, str(method.get("owner") or database)


def _bootstrap_method(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a Cluster's spec says of the method by which it is bootstrapped."""
    bootstrap: Mapping[str, Any] = spec.get("bootstrap") or {}
    methods = ("initdb", "recovery", "pg_basebackup")
    return next((bootstrap[name] for name in methods if bootstrap.get(name)), {})


def _holder(manifest: Manifest) -> str:
    """The Domain that an object in the Cluster's namespace was made for; empty if none."""
    labels = manifest["metadata"].get("labels") or {}
    if v.LABEL_OWNER_NAME not in labels:
        return ""
    return f"Domain {labels.get(v.LABEL_OWNER_NAMESPACE)}/{labels[v.LABEL_OWNER_NAME]}"


def _older_rival(ctx: Context, binding: Binding, cluster: Manifest) -> Stage | None:
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
        identifier = other["metadata"]["name"]
        role = db.get("role") or identifier
        if (db.get("provisioning") or "Database") == "None" or _cluster_of(other) != binding.cluster:
            continue
        exclusive = binding.provisioning == "Database" or (db.get("provisioning") or "Database") == "Database"
        holder = _told(other)
        same_database = (db.get("database") or identifier) == binding.database
        if same_database and exclusive:
            return _conflict(binding, "database", binding.database, holder)
        if same_database and db.get("schema") == binding.schema:
            return _conflict(binding, "schema", binding.schema, holder)
        if {role, f"{role}_owner"} & {binding.role, binding.owner}:
            return _conflict(binding, "role", binding.role, holder)
    return None


def _cluster_of(manifest: Manifest) -> ObjectKey:
    """The Cluster that a Domain's raw spec refers to."""
    reference = str(((manifest.get("spec") or {}).get("db") or {}).get("clusterRef") or "")
    namespace, _, name = reference.rpartition("/")
    return ObjectKey(namespace or manifest["metadata"]["namespace"], name)


def _ours(ctx: Context, manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return (
        labels.get(v.LABEL_OWNER_NAMESPACE) == ctx.primitive.namespace
        and labels.get(v.LABEL_OWNER_NAME) == ctx.primitive.name
        and labels.get(v.LABEL_PRIMITIVE) == ctx.primitive.primitive
    )


def _name_taken(binding: Binding, what: str, name: str, holder: str) -> Stage:
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseNameTaken,
        f"the {what} {name!r} on Cluster {binding.cluster} is {holder}, and is not taken over",
        object=f"Cluster {binding.cluster}",
        remedy=f"create the Domain anew with another spec.db.{what} (it cannot be changed), or free the name",
    )


def _conflict(binding: Binding, what: str, name: str, holder: str) -> Stage:
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseConflict,
        f"the {what} {name!r} on Cluster {binding.cluster} belongs to {holder}",
        object=holder,
        remedy=f"create the Domain anew with another spec.db.{what} (it cannot be changed), or delete {holder} with "
        "deletionPolicy: Delete; data that it retained can only be had again by a Domain of its namespace and name",
    )


def _condition_true(manifest: Manifest, condition: str) -> bool:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == condition and c.get("status") == "True" for c in conditions)
