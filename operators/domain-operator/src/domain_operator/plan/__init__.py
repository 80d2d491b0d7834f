"""What to do about a Domain: (resource, observed, settings, now) → Plan. Pure; the files beside this one are its parts.

The order of the stages is the order in which things stand in each other's way:
acceptance → database → migration → canary → workload.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.networkpolicy import database_egress
from ameide_shared.builders.pod import BACKEND, Extras, pod_template
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.acceptance import network_profile, refusal_of
from ameide_shared.compile.context import Part, primitive_for
from ameide_shared.compile.surroundings import before_pods, beside_pods, other_service_accounts
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    DEPLOYMENT,
    EXTERNAL_SECRET,
    SECRET,
    Manifest,
)
from ameide_shared.plan import Action, AddFinalizer, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate, Revision
from ameide_shared.rollout import Workload, main_deployment, plan_rollout, planned_replicas, released, workload_stage
from ameide_shared.spec import InvalidSpec
from ameide_shared.stages import Stage, awaits, blocked, done, first_blocker
from ameide_shared.tenancy import reference_problem
from ameide_shared.vocabulary import ANNOTATION_CONFIG_DIGEST, WORKLOAD_READY
from domain_operator.observed import Observed
from domain_operator.plan.acceptance import accept
from domain_operator.plan.attempts import ANNOTATION_KEY
from domain_operator.plan.binding import DB_READY, Binding, bind, connection_env
from domain_operator.plan.connection import is_outdated
from domain_operator.plan.context import Context
from domain_operator.plan.database import external_target, plan_database
from domain_operator.plan.deletion import FINALIZER, plan_deletion
from domain_operator.plan.endings import foreign_jobs
from domain_operator.plan.migration import MIGRATION_SUCCEEDED, Migration, plan_migration
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain

ASK_AGAIN_SECONDS: Final = 10.0
_SEEN_BY_ASKING: Final = frozenset(
    {
        Reason.ImageNotFound,
        Reason.RegistryUnavailable,
        Reason.SecretKeyMissing,
        Reason.SecretNotFound,
        Reason.ServiceAccountNotPermitted,
    }
)
"""What waits for something of somebody else that no watch shows."""


def plan(manifest: Manifest, observed: Observed, settings: DomainSettings, now: datetime) -> Plan:
    """Everything that is to be done about this Domain now, and how its stages stand."""
    primitive = primitive_for(manifest, observed)
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    try:
        domain = Domain.parse(manifest)
    except InvalidSpec as error:
        return _invalid(manifest, primitive, observed, error, deleting)
    ctx = Context(manifest, domain, primitive, observed, settings, now)
    binding = _binding(ctx)
    if deleting:
        return plan_deletion(ctx, binding)
    return _plan(ctx, binding)


def _plan(ctx: Context, binding: Binding | None) -> Plan:
    accepted = accept(ctx)
    pods = Workload(
        ctx.primitive,
        ctx.spec,
        ctx.observed.objects,
        recorded=ctx.manifest.get("status") or {},
        history=ctx.settings.history.revisions,
        canary=ctx.spec.rollout.canary,
        now=ctx.now,
    )
    revisions = released(pods)
    database = _database(ctx, binding, accepted)
    migration = _migration(ctx, binding, accepted, database.stage, revisions)
    gates = (accepted, database.stage, migration.stage)
    # A database that has gone away holds nothing back: its migration was done, and pods find it again by themselves.
    held = not accepted.done or not migration.passed
    rollout = plan_rollout(
        pods,
        _target(ctx, binding),
        revisions,
        annotations={ANNOTATION_KEY: migration.key} if migration.key else {},
        held=held,
        config=lambda template: config_digest(ctx, binding, template),
    )
    actions: list[Action] = []
    # A refused spec changes neither the borders of what runs nor what stands beside it.
    profile = network_profile(ctx) if accepted.done else None
    if accepted.done or rollout.template is not None:
        held_already = FINALIZER in (ctx.manifest["metadata"].get("finalizers") or ())
        if binding is not None and binding.provisioned and not held_already:
            actions.append(AddFinalizer(FINALIZER, "the database outlives the Domain's own children"))
        actions += before_pods(ctx, BACKEND, profile, rollout.template, _ways(ctx, binding, revisions))
        actions += database.actions
        actions += migration.actions
        actions += rollout.actions
        if rollout.template is not None:
            actions += main_deployment(pods, rollout.template, rollout.annotations, scaled=accepted.done)
        if accepted.done:
            actions += beside_pods(ctx, BACKEND)
            actions += other_service_accounts(ctx, rollout.template)
    workload = workload_stage(pods, rollout.template, planned_replicas(pods, actions), first_blocker(gates))
    stages = (*gates, *((rollout.stage,) if rollout.stage else ()), workload)
    facts: dict[str, Any] = {
        "binding": binding,
        "migration": migration.facts,
        "migrationFailed": migration.failed,
        "revision": {"current": rollout.current, "target": rollout.target},
        "canary": rollout.canary,
        "child": ctx.primitive.child_name,
    }
    asked = awaits(stages, _SEEN_BY_ASKING)
    return Plan(tuple(actions), stages, ASK_AGAIN_SECONDS if asked else None, facts)


def _binding(ctx: Context) -> Binding | None:
    binding = bind(ctx.primitive, ctx.domain, ctx.settings.database)
    if binding is None or ctx.spec.db is None:
        return None
    reference = ctx.spec.db.connection_secret_ref
    if reference is not None and reference.kind == "ExternalSecret":
        external = ctx.observed.objects.get(EXTERNAL_SECRET, ctx.primitive.namespace, reference.name)
        if external is not None:
            target = external_target(external)
            return replace(binding, app_secret=target, owner_secret=target)
    return binding


def _database(ctx: Context, binding: Binding | None, accepted: Stage) -> Part:
    if binding is None:
        return Part(done(DB_READY, Reason.NotRequired, "spec.db is not set"))
    if not accepted.done:
        return Part(blocked(DB_READY, accepted))
    return plan_database(ctx, binding)


def _migration(
    ctx: Context, binding: Binding | None, accepted: Stage, database: Stage, revisions: list[Revision]
) -> Migration:
    if binding is None:
        return Migration(done(MIGRATION_SUCCEEDED, Reason.NotRequired, "spec.db is not set"), passed=True)
    if not accepted.done:
        return Migration(blocked(MIGRATION_SUCCEEDED, accepted))
    return plan_migration(ctx, binding, database, revisions)


def _ways(ctx: Context, binding: Binding | None, revisions: Sequence[Revision]) -> list[Mapping[str, Any]]:
    """Egress to the Cluster that clusterRef names: one of another namespace must consent.

    Once something was released it keeps its way: consent that is taken back is reported, and stops nothing that runs.
    """
    if binding is None:
        return []
    if binding.cluster.namespace != ctx.primitive.namespace and not revisions:
        cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
        allowed = ctx.settings.references.allowed
        if cluster is None or reference_problem(ctx.primitive.namespace, cluster, allowed) is not None:
            return []
    return [database_egress(binding.cluster.namespace, binding.cluster.name)]


def _target(ctx: Context, binding: Binding | None) -> PodTemplate:
    """The pod template that the spec asks for."""
    annotations: dict[str, str] = {}
    env: list[Mapping[str, Any]] = []
    proto = ctx.spec.proto
    if proto is not None:
        annotations = {"ameide.io/proto-module": proto.module, "ameide.io/proto-version": proto.version}
        env += [
            {"name": "AMEIDE_PROTO_MODULE", "value": proto.module},
            {"name": "AMEIDE_PROTO_VERSION", "value": proto.version},
        ]
    if binding is not None:
        env += connection_env(binding, binding.app_secret)
    return pod_template(
        ctx.primitive,
        ctx.spec,
        profile=BACKEND,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        service_account=service_account_name(ctx.primitive, ctx.spec),
        extras=Extras(env=tuple(env), annotations=annotations),
    )


def config_digest(ctx: Context, binding: Binding | None, template: PodTemplate) -> str:
    """The digest (10 hex digits) of the connection Secret that a template refers to; empty if there is none.

    While the Secret is missing, unknown or not as it should be, the pods keep the digest that they have: it is about
    to be written, or is none of the current spec's.
    """
    name = _connection_of(template)
    if binding is None or not name:
        return ""
    secret = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, name)
    live = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    template = ((live or {}).get("spec") or {}).get("template") or {}
    kept = ((template.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_CONFIG_DIGEST, "")
    if secret is None or (kept and binding.provisioned and is_outdated(ctx, binding, secret)):
        return str(kept)
    return hashlib.sha256(json.dumps(secret["digests"], sort_keys=True).encode()).hexdigest()[:10]


def _connection_of(template: PodTemplate) -> str:
    """The connection Secret that the main container of a template reads; empty if it reads none."""
    for variable in template["spec"]["containers"][0].get("env") or ():
        if variable["name"] == "PGPASSWORD":
            return str(((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") or "")
    return ""


def _invalid(manifest: Manifest, primitive: Primitive, observed: Observed, error: InvalidSpec, deleting: bool) -> Plan:
    """A spec that cannot be compiled: nothing is touched, what runs goes on running."""
    stage = refusal_of(error)
    stages = (
        stage,
        blocked(DB_READY, stage),
        blocked(MIGRATION_SUCCEEDED, stage),
        blocked(WORKLOAD_READY, stage),
    )
    actions: tuple[Action, ...] = ()
    if deleting and FINALIZER in (manifest["metadata"].get("finalizers") or ()):
        message = "the spec cannot be read, so whatever it made outside its namespace is left behind"
        actions = (
            *foreign_jobs(primitive, observed),
            Notify("Warning", Reason.DataLeftBehind, message),
            RemoveFinalizer(FINALIZER, "deletion never hangs on a spec that cannot be read"),
        )
    return Plan(actions, stages, facts={"child": primitive.child_name})


__all__ = ["config_digest", "plan"]
