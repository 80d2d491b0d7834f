"""The database of a Domain: may it be bound, what CloudNativePG is asked for, and when it is there.

Two roles are made, because an owner bypasses row-level security: `<role>_owner` owns the schema and migrates it,
`<role>` serves the app. CloudNativePG adopts whatever bears a name already, so every name is checked for another
holder before it is asked for; the objects made here stay behind as the claim when the data is retained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import child_metadata, foreign_child_metadata, foreign_name
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DOMAIN,
    EXTERNAL_SECRET,
    SECRET,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.plan import Action, Ensure, EnsureSecret, FromSecret, Generated, SecretValue, Text
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from ameide_shared.tenancy import reference_problem
from domain_operator.plan import provisioner
from domain_operator.plan.binding import KEY_OF_VARIABLE, OPTIONAL_KEYS, PORT, Binding
from domain_operator.plan.context import Context, Part

DB_READY: Final = "DBReady"
ANNOTATION_CLUSTER: Final = "ameide.io/cluster"
ANNOTATION_DATABASE: Final = "ameide.io/database"
ANNOTATION_ROLE: Final = "ameide.io/role"
"""On password Secrets: what they stand for. They outlive the Domain with its data, as the claim to it."""
ANNOTATION_SOURCE: Final = "ameide.io/source-version"
"""On connection Secrets: the resourceVersion of the password Secret that they were made from."""
RELOAD_LABEL: Final = {"cnpg.io/reload": "true"}


def plan_database(ctx: Context, binding: Binding) -> Part:
    """Everything between the spec and a connection Secret that works."""
    if not binding.provisioned:
        return Part(_given_secret(ctx, binding))
    problem = _refusal(ctx, binding)
    if problem is not None:
        return Part(problem)
    names = Names.of(ctx, binding)
    passwords = _password_secrets(ctx, binding, names)
    if binding.provisioning == "Job":
        part = provisioner.plan_provisioning(ctx, binding, names.app, names.owner)
    else:
        part = _cnpg_objects(ctx, binding, names)
    actions: tuple[Action, ...] = (*passwords, *part.actions)
    if not part.stage.done:
        return Part(part.stage, actions)
    secrets, stage = _connection_secrets(ctx, binding, names)
    return Part(stage, (*actions, *secrets))


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


# --- may it be bound? -----------------------------------------------------------------------------------------------


def _refusal(ctx: Context, binding: Binding) -> Stage | None:
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


# --- what CloudNativePG is asked for --------------------------------------------------------------------------------


def _password_secrets(ctx: Context, binding: Binding, names: Names) -> list[Action]:
    rotation = ctx.annotation(v.ANNOTATION_ROTATE_PASSWORD)
    return [
        EnsureSecret(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": foreign_child_metadata(
                    ctx.primitive,
                    binding.cluster.namespace,
                    name,
                    labels=RELOAD_LABEL,
                    annotations={
                        ANNOTATION_CLUSTER: binding.cluster.name,
                        ANNOTATION_DATABASE: binding.database,
                        ANNOTATION_ROLE: role,
                    },
                ),
                "type": "kubernetes.io/basic-auth",
            },
            {"username": role, "password": Generated()},
            f"password of role {role}",
            rotation=rotation,
        )
        for role, name in ((binding.owner, names.owner), (binding.role, names.app))
    ]


def _cnpg_objects(ctx: Context, binding: Binding, names: Names) -> Part:
    namespace, cluster = binding.cluster.namespace, {"name": binding.cluster.name}
    manifests = [
        *(
            {
                "apiVersion": CNPG_DATABASE_ROLE.api_version,
                "kind": CNPG_DATABASE_ROLE.kind,
                "metadata": foreign_child_metadata(ctx.primitive, namespace, name),
                "spec": {
                    "cluster": cluster,
                    "name": role,
                    "login": True,
                    "superuser": False,
                    "bypassrls": False,
                    "createdb": False,
                    "createrole": False,
                    "passwordSecret": {"name": name},
                    "databaseRoleReclaimPolicy": "retain",
                },
            }
            for role, name in ((binding.owner, names.owner), (binding.role, names.app))
        ),
        {
            "apiVersion": CNPG_DATABASE.api_version,
            "kind": CNPG_DATABASE.kind,
            "metadata": foreign_child_metadata(ctx.primitive, namespace, names.database),
            "spec": {
                "cluster": cluster,
                "name": binding.database,
                "owner": binding.owner,
                "databaseReclaimPolicy": "retain",
                "schemas": [{"name": binding.schema, "owner": binding.owner}],
            },
        },
    ]
    actions = [Ensure(manifest, f"{manifest['kind']} for spec.db") for manifest in manifests]
    for action in actions:
        live = ctx.observed.objects.get(action.resource, action.key.namespace, action.key.name)
        what = f"{action.resource.kind} {action.key}"
        stage = _applied(what, live)
        if stage is not None:
            # Roles before the database: CloudNativePG refuses a Database whose owner does not exist.
            return Part(stage, tuple(actions))
    return Part(done(DB_READY, Reason.DatabaseReady), tuple(actions))


def _applied(what: str, live: Manifest | None) -> Stage | None:
    """None once CloudNativePG has applied the object's current generation, else what it says."""
    status: Mapping[str, Any] = (live or {}).get("status") or {}
    current = live is not None and status.get("observedGeneration") == live["metadata"].get("generation")
    if current and status.get("applied") is True:
        return None
    if current and status.get("applied") is False:
        return Stage(
            DB_READY,
            State.FAILED,
            Reason.DatabaseRefused,
            f"CloudNativePG could not apply {what}: {status.get('message') or 'no message'}",
            object=what,
            remedy="mend what the message names; CloudNativePG tries again by itself",
        )
    return Stage(
        DB_READY, State.PROGRESSING, Reason.DatabaseProvisioning, f"CloudNativePG has yet to apply {what}", object=what
    )


# --- the connection Secrets -----------------------------------------------------------------------------------------


def _connection_secrets(ctx: Context, binding: Binding, names: Names) -> tuple[list[Action], Stage]:
    """Connection Secrets in the Domain's namespace, renewed only when the database knows the new password."""
    actions: list[Action] = []
    waiting: Stage | None = None
    for secret, role, source in (
        (binding.owner_secret, binding.owner, names.owner),
        (binding.app_secret, binding.role, names.app),
    ):
        password = ctx.observed.objects.get(SECRET, binding.cluster.namespace, source)
        version = password["metadata"]["resourceVersion"] if password is not None else ""
        live = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, secret)
        if password is None or not _password_known(ctx, binding, source, version):
            waiting = waiting or Stage(
                DB_READY,
                State.DONE if live is not None else State.PROGRESSING,
                Reason.PasswordRotating if live is not None else Reason.DatabaseProvisioning,
                f"the database has yet to take over the password of role {role}",
                object=f"Secret {binding.cluster.namespace}/{source}",
            )
            continue
        actions.append(connection_secret(ctx, binding, secret, role, password))
        if live is None or (live["metadata"].get("annotations") or {}).get(ANNOTATION_SOURCE) != version:
            # Pods hash this Secret: they are planned from what is there, so it has to be written first.
            waiting = waiting or Stage(
                DB_READY,
                State.DONE if live is not None else State.PROGRESSING,
                Reason.PasswordRotating if live is not None else Reason.DatabaseProvisioning,
                f"Secret {secret} is being written",
                object=f"Secret {secret}",
            )
    return actions, waiting or done(DB_READY, Reason.DatabaseReady)


def connection_secret(ctx: Context, binding: Binding, name: str, role: str, password: Manifest) -> EnsureSecret:
    """A connection Secret in the Domain's namespace, from the Secret that holds the role's password."""
    annotations = {ANNOTATION_SOURCE: password["metadata"]["resourceVersion"]}
    return EnsureSecret(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": child_metadata(ctx.primitive, name, annotations=annotations),
            "type": "Opaque",
        },
        connection_values(
            binding,
            role,
            password["metadata"]["name"],
            ctx.settings.database.ssl_mode,
            version=password["metadata"]["resourceVersion"],
        ),
        f"connection of role {role}",
    )


def _password_known(ctx: Context, binding: Binding, name: str, version: str) -> bool:
    """Whether the database has the password of this version of the Secret."""
    if binding.provisioning == "Job":
        return True  # the provisioning Job of this rotation has succeeded, or we would not be here
    role = ctx.observed.objects.get(CNPG_DATABASE_ROLE, binding.cluster.namespace, name)
    return role is not None and (role.get("status") or {}).get("secretResourceVersion") == version


def is_outdated(ctx: Context, binding: Binding, secret: Manifest) -> bool:
    """Whether the app's connection Secret differs from what is wanted: edited by somebody, or a password behind."""
    source = Names.of(ctx, binding).app
    wanted = {
        key: hashlib.sha256(value.encode()).hexdigest()
        for key, value in connection_values(binding, binding.role, source, ctx.settings.database.ssl_mode).items()
        if isinstance(value, str)
    }
    password = ctx.observed.objects.get(SECRET, binding.cluster.namespace, source)
    if password is not None:
        wanted["password"] = password["digests"].get("password", "")
    return any(secret["digests"].get(key) != digest for key, digest in wanted.items())


def connection_values(
    binding: Binding, role: str, source: str, ssl_mode: str, *, version: str = ""
) -> dict[str, SecretValue]:
    """The values of a connection Secret, by key; the password stays a reference that converge follows.

    `version` is that of the source whose password the database is known to have.
    """
    password = FromSecret(binding.cluster.namespace, source, "password", version=version)
    quoted = FromSecret(binding.cluster.namespace, source, "password", quoted=True, version=version)
    address = f"{binding.host}:{PORT}/{binding.database}"
    return {
        "host": binding.host,
        "port": str(PORT),
        "dbname": binding.database,
        "username": role,
        "password": password,
        "uri": Text(
            (
                f"postgresql://{role}:",
                quoted,
                f"@{address}?sslmode={ssl_mode}&options=-c%20search_path%3D{binding.schema}",
            )
        ),
        "jdbc-uri": Text(
            (
                f"jdbc:postgresql://{address}?user={role}&password=",
                quoted,
                f"&sslmode={ssl_mode}&currentSchema={binding.schema}",
            )
        ),
    }


def _given_secret(ctx: Context, binding: Binding) -> Stage:
    """`provisioning: None`: the Secret that the spec names is there, with the keys that containers read."""
    reference = ctx.spec.db.connection_secret_ref if ctx.spec.db else None
    kind = reference.kind if reference else "Secret"
    name = reference.name if reference else binding.app_secret
    if kind == "ExternalSecret":
        external = ctx.observed.objects.get(EXTERNAL_SECRET, ctx.primitive.namespace, name)
        if external is None:
            return _secret_missing("ExternalSecret", name, "create it")
        name = external_target(external)
    live = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, name)
    if live is None:
        return _secret_missing("Secret", name, "create it, or wait for what creates it")
    missing = sorted(set(KEY_OF_VARIABLE.values()) - OPTIONAL_KEYS - set(live["digests"]))
    if missing:
        return Stage(
            DB_READY,
            State.WAITING,
            Reason.SecretKeyMissing,
            f"Secret {name} of spec.db.connectionSecretRef lacks the keys {', '.join(missing)}",
            object=f"Secret {name}",
            remedy="add the keys; CloudNativePG's <cluster>-app Secrets have them all",
        )
    return done(DB_READY, Reason.DatabaseReady)


def _secret_missing(kind: str, name: str, remedy: str) -> Stage:
    return Stage(
        DB_READY,
        State.WAITING,
        Reason.SecretNotFound,
        f"spec.db.connectionSecretRef names {kind} {name}, which does not exist",
        object=f"{kind} {name}",
        remedy=remedy,
    )


def external_target(external: Manifest) -> str:
    """The name of the Secret that an ExternalSecret makes."""
    target = (external.get("spec") or {}).get("target") or {}
    return str(target.get("name") or external["metadata"]["name"])


def _condition_true(manifest: Manifest, condition: str) -> bool:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == condition and c.get("status") == "True" for c in conditions)
