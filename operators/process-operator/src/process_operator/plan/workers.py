"""The pods that run workers: image, definitions, where Temporal is, and what they may call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ameide_shared.builders.environment import literal
from ameide_shared.builders.inputs import BACKEND, Extras
from ameide_shared.builders.pod import job_template, pod_template
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import DEPLOYMENT, Manifest
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.rollout import RUNNING, Proven, with_config
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.status import parse_time
from ameide_shared.transformation import children as definitions
from ameide_shared.transformation.children import Resolved
from ameide_shared.vocabulary import ANNOTATION_REVISION
from process_operator.plan.context import Context
from process_operator.plan.definition import TABLE
from process_operator.plan.dependencies import references
from process_operator.plan.temporal import TEMPORAL_READY, polling
from process_operator.spec import Schedule
from process_operator.temporal.settings import credentials

WORKERS_READY: Final = "WorkersReady"
DEFINITIONS: Final = "definitions"
DEFINITIONS_PATH: Final = "/etc/ameide/process"
DRAIN_PATH: Final = "/etc/ameide/drain"
TEMPORAL_PATH: Final = "/etc/ameide/temporal"
DRAIN_KEY: Final = "drain"


def drain_name(ctx: Context) -> str:
    """The ConfigMap whose coming tells workers to refuse new workflows."""
    return f"{ctx.primitive.child_name}-drain"


def worker_template(ctx: Context, resolved: Resolved, current: PodTemplate | None) -> PodTemplate:
    """The pod template of workers that run `resolved`; `current` is the one that was released last."""
    return pod_template(
        ctx.primitive,
        ctx.spec,
        profile=BACKEND,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        service_account=service_account_name(ctx.primitive, ctx.spec),
        extras=_extras(ctx, resolved, current),
    )


def schedule_template(ctx: Context, resolved: Resolved, current: PodTemplate | None, schedule: Schedule) -> PodTemplate:
    """The pod template of a scheduled job: the worker image with the same wiring and another command."""
    extras = _extras(ctx, resolved, current, args=("job", schedule.purpose, *schedule.args))
    return job_template(
        ctx.primitive,
        ctx.spec,
        name=ctx.primitive.primitive,
        image=ctx.spec.image,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        service_account=service_account_name(ctx.primitive, ctx.spec),
        extras=extras,
    )


def workers_stage(ctx: Context, workload: Stage, pods: Sequence[Manifest]) -> Stage:
    """Whether the workers are heard of on their task queue, once they are ready and Temporal can tell."""
    if workload.state is State.BLOCKED:
        return replace(workload, condition=WORKERS_READY)
    if not workload.done:
        return blocked(WORKERS_READY, workload)
    if workload.reason is Reason.ScaledToZero or not ctx.observed.pods():
        return done(WORKERS_READY, Reason.ScaledToZero, "no workers are asked for")
    heard = polling(ctx, pods)
    what = f"Deployment {ctx.primitive.child_name}"
    if heard is None:
        # What Temporal says is the question of the stage before; workers are left alone.
        return Stage(WORKERS_READY, State.BLOCKED, Reason.Blocked, "Temporal cannot tell who polls the task queue")
    if heard:
        return done(WORKERS_READY, Reason.WorkersPolling)
    if not pods:
        message = "no ready pod is seen, though the Deployment says that there are"
        return Stage(WORKERS_READY, State.PROGRESSING, Reason.WorkersNotPolling, message, object=what)
    queue = ctx.spec.temporal.task_queue
    message = f"of {len(pods)} ready workers not all poll task queue {queue!r}"
    since = max((_ready_since(pod) for pod in pods), default="")
    limit = ctx.settings.workers_expected.polling_seconds
    if since and (ctx.now - parse_time(since)).total_seconds() < limit:
        return Stage(WORKERS_READY, State.PROGRESSING, Reason.WorkersNotPolling, message, object=what)
    return Stage(
        WORKERS_READY,
        State.FAILED,
        Reason.WorkersNotPolling,
        message,
        object=what,
        remedy="see the workers' logs: which address, namespace and queue they connect to, and whether the network "
        "lets them",
    )


def canary_proof(ctx: Context, live: Manifest, pods: Sequence[Manifest]) -> Proven:
    """A canary must poll the task queue; one that does not, though Temporal answers, has failed after a while."""
    heard = polling(ctx, pods)
    if heard:
        return Proven()
    if heard is None:
        return Proven("Temporal cannot tell whether it polls the task queue")
    message = f"it does not poll task queue {ctx.spec.temporal.task_queue!r}"
    since = max((_ready_since(pod) for pod in pods), default="")
    limit = ctx.settings.workers_expected.polling_seconds
    return Proven(message, failed=bool(since) and (ctx.now - parse_time(since)).total_seconds() >= limit)


def awaits_pollers(manifest: Manifest) -> bool:
    """Whether, by what status says, somebody waits for pollers, so that it pays to look for them often."""
    status = manifest.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    canary = (status.get("canary") or {}).get("state") == RUNNING
    return canary or (conditions.get(WORKERS_READY) != "True" and conditions.get(TEMPORAL_READY) == "True")


def _extras(ctx: Context, resolved: Resolved, current: PodTemplate | None, args: Sequence[str] = ()) -> Extras:
    volumes = [_definitions_volume(ctx, resolved, current), _drain_volume(ctx)]
    mounts = [
        {"name": DEFINITIONS, "mountPath": DEFINITIONS_PATH, "readOnly": True},
        {"name": "drain", "mountPath": DRAIN_PATH, "readOnly": True},
    ]
    files = credentials(ctx.connection)
    if files and ctx.connection is not None:
        items = [{"key": file.key, "path": file.key} for file in files]
        volumes.append({"name": "temporal", "secret": {"secretName": ctx.connection.worker_secret, "items": items}})
        mounts.append({"name": "temporal", "mountPath": TEMPORAL_PATH, "readOnly": True})
    annotations = definitions.annotations_of(ctx, resolved)
    return Extras(env=_env(ctx, resolved), volumes=volumes, mounts=mounts, annotations=annotations, args=args)


def _env(ctx: Context, resolved: Resolved) -> list[dict[str, Any]]:
    temporal, reference = ctx.spec.temporal, ctx.spec.definition_ref
    env = {
        "AMEIDE_PROCESS_DEFINITION_ID": reference.id,
        "AMEIDE_PROCESS_DEFINITION_VERSION": str(resolved.version),
        "AMEIDE_PROCESS_DEFINITION_CHECKSUM": resolved.checksum,
        "TASK_QUEUE": temporal.task_queue,
        "TEMPORAL_TASK_QUEUE": temporal.task_queue,
    }
    if ctx.spec.rollout.strategy != "Versioned":  # else the worker controller sets these
        env["TEMPORAL_ADDRESS"] = ctx.connection.address if ctx.connection is not None else ""
        env["TEMPORAL_NAMESPACE"] = temporal.namespace
        env |= _tls_env(ctx)
    if ctx.spec.rollout.max_concurrency_per_tenant is not None:
        env["AMEIDE_MAX_CONCURRENCY_PER_TENANT"] = str(ctx.spec.rollout.max_concurrency_per_tenant)
    if ctx.spec.observability.metrics_tags:
        env["AMEIDE_METRICS_TAGS"] = json.dumps(dict(sorted(ctx.spec.observability.metrics_tags.items())))
    env |= _dependency_env(ctx)
    return [{"name": name, "value": literal(value)} for name, value in env.items()]


def _tls_env(ctx: Context) -> dict[str, str]:
    connection = ctx.connection
    if connection is None or (connection.tls is None and connection.api_key_file is None):
        return {}
    env = {"TEMPORAL_TLS": "true"}
    if connection.tls is not None and connection.tls.server_name:
        env["TEMPORAL_TLS_SERVER_NAME"] = connection.tls.server_name
    return env | {file.variable: f"{TEMPORAL_PATH}/{file.key}" for file in credentials(connection)}


def _dependency_env(ctx: Context) -> dict[str, str]:
    """The address of each dependency: together as JSON, and one by one for people and other runtimes."""
    together: dict[str, dict[str, str]] = {}
    env: dict[str, str] = {}
    for reference in references(ctx.spec, ctx.primitive.namespace):
        kind, (namespace, name) = reference.resource.kind.lower(), reference.key
        host = f"{name}-{kind}.{namespace}.svc"
        together[reference.title] = {"grpc": f"{host}:50051", "http": f"http://{host}:8080"}
        variable = f"AMEIDE_DEPENDENCY_{reference.title.replace('/', '__').replace('-', '_').upper()}"
        variable = variable.replace(f"{kind.upper()}__", f"{kind.upper()}_", 1)
        env |= {f"{variable}_{protocol.upper()}": url for protocol, url in together[reference.title].items()}
    return {"AMEIDE_DEPENDENCIES": json.dumps(together, sort_keys=True), **env} if together else {}


def _definitions_volume(ctx: Context, resolved: Resolved, current: PodTemplate | None) -> dict[str, Any]:
    """The definition to run, and the older ones that open workflows may run on, by checksum.

    As long as a template runs the same definition it mounts the same older ones: that one of them is dropped must roll
    no pod. They are optional, so that pods start without it.
    """
    mounted = _mounted(current) if current is not None else []
    same = current is not None and annotation(current, definitions.ANNOTATION_CHECKSUM) == resolved.checksum
    older = mounted if same else [_source(ctx, checksum, optional=True) for checksum in sorted(definitions.stored(ctx))]
    own = _source(ctx, resolved.checksum, optional=False)
    others = [source for source in older if source["configMap"]["name"] != own["configMap"]["name"]]
    return {"name": DEFINITIONS, "projected": {"sources": [own, *others]}}


def with_needed(ctx: Context, template: PodTemplate | None, candidate: str) -> PodTemplate | None:
    """The template, with every definition that open workflows run on: those of a canary that was rejected may go on.

    What the Deployment mounts beyond its revision stays until the next release, so that pods roll once for it. The
    definition of a `candidate` under trial is left to its canary.
    """
    if template is None:
        return None
    mounted = {source["configMap"]["name"] for source in _mounted(template)}
    usage = ctx.observed.temporal.usage if ctx.observed.temporal is not None else None
    in_use = set(usage.checksums) - {candidate} if usage is not None else set()
    needed = {
        source["configMap"]["name"]: source
        for source in (
            *_mounted_beyond(ctx, template),
            *(_source(ctx, checksum, optional=True) for checksum in definitions.stored(ctx) if checksum in in_use),
        )
        if source["configMap"]["name"] not in mounted
    }
    if not needed:
        return template
    more = [needed[name] for name in sorted(needed)]
    volumes = [
        {"name": each["name"], "projected": {"sources": [*each["projected"]["sources"], *more]}}
        if each["name"] == DEFINITIONS
        else each
        for each in template["spec"]["volumes"]
    ]
    digest = hashlib.sha256("\n".join(sorted(needed)).encode()).hexdigest()[:10]
    return with_config({**template, "spec": {**template["spec"], "volumes": volumes}}, digest)


def _mounted_beyond(ctx: Context, template: PodTemplate) -> list[Mapping[str, Any]]:
    """What the live Deployment mounts, where it runs the same revision."""
    live = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    running = ((live or {}).get("spec") or {}).get("template") or {}
    same = annotation(running, ANNOTATION_REVISION) == annotation(template, ANNOTATION_REVISION)
    return _mounted(running) if running and same else []


def _source(ctx: Context, checksum: str, *, optional: bool) -> dict[str, Any]:
    path = f"{checksum.removeprefix('sha256:')}/{TABLE}"
    source: dict[str, Any] = {
        "name": definitions.config_map_name(ctx.primitive, checksum),
        "items": [{"key": TABLE, "path": path}],
    }
    return {"configMap": source | ({"optional": True} if optional else {})}


def _mounted(template: PodTemplate) -> list[Mapping[str, Any]]:
    """The definitions that a template mounts."""
    for volume in template["spec"].get("volumes") or ():
        if volume["name"] == DEFINITIONS:
            return list(volume["projected"]["sources"])
    return []


def _drain_volume(ctx: Context) -> dict[str, Any]:
    return {"name": "drain", "configMap": {"name": drain_name(ctx), "optional": True}}


def _ready_since(pod: Manifest) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((str(c.get("lastTransitionTime") or "") for c in conditions if c.get("type") == "Ready"), "")
