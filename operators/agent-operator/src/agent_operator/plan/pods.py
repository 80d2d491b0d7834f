"""The pods of an Agent: image, definition, grants, credentials, and what the runtime is told of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from agent_operator.plan import credentials, definition, grants
from agent_operator.plan.context import Context
from agent_operator.policy.verdict import Verdict
from ameide_shared.builders.environment import literal
from ameide_shared.builders.identity import label_value
from ameide_shared.builders.inputs import BACKEND, Extras
from ameide_shared.builders.pod import pod_template
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import Manifest
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.transformation.children import ANNOTATION_CHECKSUM, Resolved, annotations_of
from ameide_shared.vocabulary import LABEL_TENANT

RUNTIME_READY: Final = "RuntimeReady"
LABEL_RISK_TIER: Final = "ameide.io/risk-tier"
AGENT_PATH: Final = "/etc/ameide/agent"
AGENT: Final = replace(BACKEND, metric_labels=(LABEL_RISK_TIER, LABEL_TENANT))
"""Serves as Domains do; its metrics carry tier and tenant."""


def template(ctx: Context, resolved: Resolved, verdict: Verdict) -> PodTemplate:
    """The pod template of a runtime with a definition, and the credentials that the policy gives it."""
    return pod_template(
        ctx.primitive,
        ctx.spec,
        profile=AGENT,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        service_account=service_account_name(ctx.primitive, ctx.spec),
        extras=_extras(ctx, resolved, verdict),
    )


def runtime_stage(workload: Stage, pods: Sequence[Manifest], wanted: PodTemplate | None) -> Stage:
    """Whether all ready pods run the definition and the grants that are wanted."""
    if workload.state is State.BLOCKED:
        return replace(workload, condition=RUNTIME_READY)
    if not workload.done:
        return blocked(RUNTIME_READY, workload)
    if workload.reason is Reason.ScaledToZero or wanted is None:
        return done(RUNTIME_READY, Reason.ScaledToZero, "no pods are asked for")
    names = (ANNOTATION_CHECKSUM, grants.ANNOTATION_GRANTS)
    old = [pod["metadata"]["name"] for pod in pods if any(annotation(pod, n) != annotation(wanted, n) for n in names)]
    if old:
        message = f"{len(old)} of {len(pods)} ready pods still run an older definition or older grants"
        return Stage(RUNTIME_READY, State.PROGRESSING, Reason.RuntimeOutdated, message, object=f"Pod {min(old)}")
    return done(RUNTIME_READY, Reason.RuntimeReady)


def _extras(ctx: Context, resolved: Resolved, verdict: Verdict) -> Extras:
    sources = [definition.volume(ctx, resolved), grants.source(ctx.primitive)]
    volumes: list[dict[str, Any]] = [{"name": grants.VOLUME, "projected": {"sources": sources}}]
    mounts: list[dict[str, Any]] = [{"name": grants.VOLUME, "mountPath": AGENT_PATH, "readOnly": True}]
    secret_volumes, secret_mounts = credentials.volumes(ctx, verdict.credentials)
    secrets = credentials.variables(ctx, verdict.credentials)
    annotations = annotations_of(ctx, resolved)
    if secrets:
        annotations[credentials.ANNOTATION_VARIABLES] = ",".join(sorted(variable["name"] for variable in secrets))
    labels: dict[str, str] = {LABEL_RISK_TIER: ctx.spec.risk_tier}
    if ctx.primitive.tenant_id:
        labels[LABEL_TENANT] = label_value(ctx.primitive.tenant_id)
    return Extras(
        env=[*_env(ctx, resolved, verdict), *secrets],
        volumes=[*volumes, *secret_volumes],
        mounts=[*mounts, *secret_mounts],
        annotations=annotations,
        labels=labels,
    )


def _env(ctx: Context, resolved: Resolved, verdict: Verdict) -> list[dict[str, Any]]:
    spec = ctx.spec
    env = {
        "AGENT_DEFINITION_ID": spec.definition_ref.id,
        "AGENT_DEFINITION_VERSION": str(resolved.version),
        "AGENT_DEFINITION_CHECKSUM": resolved.checksum,
        "TENANT_ID": spec.definition_ref.tenant_id,
        "MODEL_PROVIDER": spec.model.provider,
        "MODEL_NAME": spec.model.name,
        "RISK_TIER": spec.risk_tier,
        "LOG_PROMPTS": spec.observability.log_prompts,
        "EMIT_TOKENS": str(spec.observability.emit_tokens).lower(),
    }
    if verdict.model is not None and verdict.model.address:
        env["MODEL_BASE_URL"] = verdict.model.address
    if spec.concurrency.max_parallel_sessions is not None:
        env["MAX_PARALLEL_SESSIONS"] = str(spec.concurrency.max_parallel_sessions)
    return [{"name": name, "value": literal(value)} for name, value in env.items()]
