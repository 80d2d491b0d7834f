"""The database of a Domain: what CloudNativePG is asked for, and when it is there.

Two roles are made, because an owner bypasses row-level security: `<role>_owner` owns the schema and migrates it,
`<role>` serves the app. `names` and `freenames` say whether the names may be had, `connection` writes the Secrets that
pods read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import foreign_child_metadata
from ameide_shared.compile.context import Part
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    EXTERNAL_SECRET,
    SECRET,
    Manifest,
)
from ameide_shared.plan import Action, Ensure, EnsureSecret, Generated
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from domain_operator.plan import provisioner
from domain_operator.plan.binding import DB_READY, KEY_OF_VARIABLE, OPTIONAL_KEYS, Binding
from domain_operator.plan.claims import ANNOTATION_CLUSTER, ANNOTATION_DATABASE, ANNOTATION_ROLE, claims_on
from domain_operator.plan.cluster import find_cluster, unready
from domain_operator.plan.connection import connection_secrets
from domain_operator.plan.context import Context
from domain_operator.plan.freenames import names_are_free
from domain_operator.plan.names import refusal

RELOAD_LABEL: Final = {"cnpg.io/reload": "true"}


def plan_database(ctx: Context, binding: Binding) -> Part:
    """Everything between the spec and a connection Secret that works."""
    if not binding.provisioned:
        return Part(_given_cluster(ctx, binding) or _given_secret(ctx, binding))
    cluster = find_cluster(ctx, binding)
    if isinstance(cluster, Stage):
        return Part(cluster)
    claims = claims_on(ctx, binding)
    problem = refusal(ctx, binding, cluster, claims) or unready(binding, cluster)
    if problem is not None:
        return Part(problem)
    free = names_are_free(ctx, binding, cluster, claimed=any(claim.ours for claim in claims))
    if not free.stage.done:
        return free
    passwords = (*free.actions, *_password_secrets(ctx, binding))
    if binding.provisioning == "Job":
        part = provisioner.plan_provisioning(ctx, binding, cluster)
    else:
        part = _cnpg_objects(ctx, binding)
    actions: tuple[Action, ...] = (*passwords, *part.actions)
    if not part.stage.done:
        return Part(part.stage, actions)
    secrets, stage = connection_secrets(ctx, binding)
    return Part(stage, (*actions, *secrets))


# --- what CloudNativePG is asked for --------------------------------------------------------------------------------


def _password_secrets(ctx: Context, binding: Binding) -> list[Action]:
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
        for role, name in ((binding.owner, binding.made.owner), (binding.role, binding.made.app))
    ]


def _cnpg_objects(ctx: Context, binding: Binding) -> Part:
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
            for role, name in ((binding.owner, binding.made.owner), (binding.role, binding.made.app))
        ),
        {
            "apiVersion": CNPG_DATABASE.api_version,
            "kind": CNPG_DATABASE.kind,
            "metadata": foreign_child_metadata(ctx.primitive, namespace, binding.made.database),
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


def _given_cluster(ctx: Context, binding: Binding) -> Stage | None:
    """`provisioning: None`: what speaks against the Cluster, where there is CloudNativePG; nothing is made on it."""
    if CNPG_CLUSTER not in ctx.observed.apis:
        return None
    cluster = find_cluster(ctx, binding)
    return cluster if isinstance(cluster, Stage) else unready(binding, cluster)


def _given_secret(ctx: Context, binding: Binding) -> Stage:
    """`provisioning: None`: the Secret that the spec names is there, with the keys that containers read."""
    reference = ctx.spec.db.connection_secret_ref if ctx.spec.db else None
    kind = reference.kind if reference else "Secret"
    name = reference.name if reference else binding.app_secret
    if kind == "ExternalSecret":
        if EXTERNAL_SECRET not in ctx.observed.apis:
            return Stage(
                DB_READY,
                State.WAITING,
                Reason.APINotInstalled,
                f"spec.db.connectionSecretRef names ExternalSecret {name}, and the cluster has no ExternalSecrets",
                object=f"ExternalSecret {name}",
                remedy="install external-secrets, or name a Secret in spec.db.connectionSecretRef",
            )
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
