"""May a Domain have the database that it asks for: the Cluster's consent, and whoever else holds a name.

CloudNativePG adopts whatever bears a name already, so every name is checked for another holder before it is asked
for. Objects that stay behind with retained data are the claim to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import foreign_name
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
    taken = _taken(ctx, binding, cluster)
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
    for resource, field, name in (
        (CNPG_DATABASE, "database", binding.database),
        (CNPG_DATABASE_ROLE, "role", binding.role),
        (CNPG_DATABASE_ROLE, "role", binding.owner),
    ):
        for other in ctx.observed.objects.list(resource, binding.cluster.namespace):
            other_spec = other.get("spec") or {}
            same = (
                other_spec.get("name") == name and (other_spec.get("cluster") or {}).get("name") == binding.cluster.name
            )
            if not same or _ours(ctx, other):
                continue
            holder = _holder(other)
            if holder:
                return _conflict(binding, field, name, holder)
            if resource is CNPG_DATABASE and binding.provisioning == "Job":
                continue  # a shared database is somebody else's by intent; schema and roles are claimed inside it
            return _name_taken(binding, field, name, f"claimed by {resource.kind} {key_of(other)}")
    if _holds(ctx, binding):
        return None
    return _claimed_by_job(ctx, binding) or _older_rival(ctx, binding, cluster)


def _bootstrap(spec: Mapping[str, Any]) -> tuple[str, str]:
    """The database and its owner that the Cluster makes for itself, by whichever method it is bootstrapped."""
    bootstrap: Mapping[str, Any] = spec.get("bootstrap") or {}
    methods = ("initdb", "recovery", "pg_basebackup")
    method: Mapping[str, Any] = next((bootstrap[name] for name in methods if bootstrap.get(name)), {})
    database = str(method.get("database") or "app")
    return database, str(method.get("owner") or database)


def _holder(manifest: Manifest) -> str:
    """The Domain that an object in the Cluster's namespace was made for; empty if none."""
    labels = manifest["metadata"].get("labels") or {}
    if v.LABEL_OWNER_NAME not in labels:
        return ""
    return f"Domain {labels.get(v.LABEL_OWNER_NAMESPACE)}/{labels[v.LABEL_OWNER_NAME]}"


def _holds(ctx: Context, binding: Binding) -> bool:
    """Whether the names are this Domain's already, made in its life or left to it by a namesake's.

    Nobody who merely asks can then stand in its way, whichever of the two is older.
    """
    if binding.provisioning == "Job":
        return any(_ours(ctx, secret) for secret in ctx.observed.objects.list(SECRET, binding.cluster.namespace))
    return any(
        _ours(ctx, database) and (database.get("spec") or {}).get("name") == binding.database
        for database in ctx.observed.objects.list(CNPG_DATABASE, binding.cluster.namespace)
    )


def _claimed_by_job(ctx: Context, binding: Binding) -> Stage | None:
    """What provisioning Jobs made has no objects of CloudNativePG's: the password Secrets are its claim."""
    for secret in ctx.observed.objects.list(SECRET, binding.cluster.namespace):
        holder = "" if _ours(ctx, secret) else _holder(secret)
        claim = secret["metadata"].get("annotations") or {}
        if not holder or claim.get(ANNOTATION_CLUSTER) != binding.cluster.name:
            continue
        role = claim.get(ANNOTATION_ROLE, "")
        if role in (binding.role, binding.owner):
            return _conflict(binding, "role", role, holder)
        if binding.provisioning == "Database" and claim.get(ANNOTATION_DATABASE) == binding.database:
            return _conflict(binding, "database", binding.database, holder)
    return None


def _older_rival(ctx: Context, binding: Binding, cluster: Manifest) -> Stage | None:
    """Another Domain that asked for the same database (or, in a shared one, the same schema or role) first.

    Only those count that may refer to the Cluster: else anybody could hold names on anybody's.
    """
    mine = _age(ctx.manifest)
    for other in ctx.observed.objects.list(DOMAIN):
        if key_of(other) == key_of(ctx.manifest) or _age(other) >= mine:
            continue
        if reference_problem(other["metadata"]["namespace"], cluster, ctx.settings.references.allowed) is not None:
            continue
        db = (other.get("spec") or {}).get("db") or {}
        identifier = other["metadata"]["name"]
        role = db.get("role") or identifier
        if (db.get("provisioning") or "Database") == "None" or _cluster_of(other) != binding.cluster:
            continue
        exclusive = binding.provisioning == "Database" or (db.get("provisioning") or "Database") == "Database"
        holder = f"Domain {key_of(other)}"
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


def _age(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return metadata.get("creationTimestamp") or "", metadata.get("uid") or ""


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
