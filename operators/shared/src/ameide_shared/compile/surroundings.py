"""What stands around the pods: ServiceAccount, Service, NetworkPolicy, autoscaler, disruption budget, monitor."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from ameide_shared.builders.hpa import hpa
from ameide_shared.builders.identity import is_owned
from ameide_shared.builders.inputs import Fields, PodProfile
from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import endpoint_egress, network_policy, profile_problem
from ameide_shared.builders.pdb import pdb, wants_pdb
from ameide_shared.builders.service import service
from ameide_shared.builders.serviceaccount import service_account, service_account_name
from ameide_shared.builders.servicemonitor import service_monitor
from ameide_shared.compile.acceptance import network_profile
from ameide_shared.compile.context import Compiling, Owning
from ameide_shared.kube.resources import (
    CRON_JOB,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    ResourceType,
    key_of,
)
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.revisions import PodTemplate
from ameide_shared.spec import CommonSpec
from ameide_shared.workload import JobPhase, job_state, workload_state

Context = Compiling[CommonSpec]


def before_pods(
    ctx: Context,
    pods: PodProfile,
    profile: NetworkProfile | None,
    template: PodTemplate | None,
    egress: Sequence[Fields] = (),
    *,
    border: Ensure | None = None,
) -> list[Action]:
    """What must be there before the first pod, pods of Jobs included: identity, address and borders.

    `template` is what runs, which may be older than the spec. No profile means that the spec is refused: then the
    borders stay as they are, or come back if somebody deleted them, and only what runs gets its identity. `egress` are
    the ways that the kind needs open.
    `border` is the NetworkPolicy of a kind that makes its own.
    """
    actions: list[Action] = []
    wanted = {service_account_name(ctx.primitive, ctx.spec)} if profile is not None else set()
    for account in sorted(wanted | _account_of(template)):
        live = ctx.observed.objects.get(SERVICE_ACCOUNT, ctx.primitive.namespace, account)
        if live is None or is_owned(ctx.primitive, live):
            actions.append(Ensure(service_account(ctx.primitive, account), "identity of the pods", required=True))
    actions.append(Ensure(service(ctx.primitive, pods), "address of the pods"))
    if border is not None:
        actions.append(border)
    elif profile is not None:
        actions.append(_border(ctx, pods, profile, egress, f"network profile {ctx.spec.security.network_profile}"))
    elif template is not None and not _has_border(ctx):
        # Without any, everybody would get to the pods.
        actions.append(_border(ctx, pods, _usable_profile(ctx), egress, "what runs is not left without borders"))
    return actions


def _has_border(ctx: Context) -> bool:
    return ctx.observed.objects.get(NETWORK_POLICY, ctx.primitive.namespace, ctx.primitive.child_name) is not None


def _usable_profile(ctx: Context) -> NetworkProfile:
    """The profile that the spec names, where that is not what the spec is refused for; else one that lets nobody in."""
    name, internet = ctx.spec.security.network_profile, ctx.spec.security.allow_internet
    profile = network_profile(ctx)
    if profile is None or profile_problem(name, profile, allow_internet=internet) is not None:
        return NetworkProfile()
    return profile


def _border(ctx: Context, pods: PodProfile, profile: NetworkProfile, egress: Sequence[Fields], reason: str) -> Ensure:
    ports = [port.number for port in pods.ports]
    policy = network_policy(ctx.primitive, profile, ports, extra_egress=[*egress, *telemetry_egress(ctx)])
    return Ensure(policy, reason, required=True)


def telemetry_egress(ctx: Context) -> list[dict[str, Any]]:
    """The way to the telemetry collector, where settings name one that a NetworkPolicy can express."""
    if not ctx.settings.otel.endpoint:
        return []
    way = endpoint_egress(ctx.settings.otel.endpoint, ctx.primitive.namespace)
    return [way] if way is not None else []


def beside_pods(ctx: Context, pods: PodProfile, *, scaled_elsewhere: bool = False) -> list[Action]:
    """What goes with running pods, and goes away when the spec no longer asks for it.

    `scaled_elsewhere`: another autoscaler than the HorizontalPodAutoscaler does what `spec.autoscaling` asks for.
    """
    actions: list[Action] = []
    if ctx.spec.autoscaling is not None and not scaled_elsewhere:
        actions.append(Ensure(hpa(ctx.primitive, ctx.spec), "spec.autoscaling"))
    else:
        why = "another autoscaler does its work" if scaled_elsewhere else "spec.autoscaling is not set"
        actions += unwanted(ctx, HORIZONTAL_POD_AUTOSCALER, why)
    if wants_pdb(ctx.spec):
        actions.append(Ensure(pdb(ctx.primitive), "more than one replica"))
    else:
        actions += unwanted(ctx, POD_DISRUPTION_BUDGET, "a single replica cannot be spared")
    monitor = ctx.settings.service_monitor
    if SERVICE_MONITOR in ctx.observed.apis:
        if monitor.enabled and ctx.spec.observability.metrics.enabled:
            manifest = service_monitor(
                ctx.primitive,
                pods,
                labels=monitor.labels,
                interval_seconds=monitor.interval_seconds,
                path=ctx.spec.observability.metrics.path,
            )
            actions.append(Ensure(manifest, "metrics"))
        else:
            actions += unwanted(ctx, SERVICE_MONITOR, "metrics are switched off")
    return actions


def other_service_accounts(ctx: Context, template: PodTemplate | None) -> list[Action]:
    """ServiceAccounts that we made for an earlier spec.security.serviceAccountName, once no pod is made with them.

    While a rollout is under way the old ReplicaSet may still have to replace pods.
    """
    main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    if not workload_state(main).rolled_out:
        return []
    jobs = [job for job in ctx.observed.children(JOB) if job_state(job).phase is JobPhase.RUNNING]
    workloads = [*ctx.observed.children(DEPLOYMENT), *jobs]
    schedules = [
        ((live.get("spec") or {}).get("jobTemplate") or {}).get("spec") or {}
        for live in ctx.observed.children(CRON_JOB)
    ]
    specs = [*((live.get("spec") or {}) for live in workloads), *schedules]
    templates = [template, *(spec.get("template") for spec in specs)]
    used = {service_account_name(ctx.primitive, ctx.spec), *(name for each in templates for name in _account_of(each))}
    return unwanted(ctx, SERVICE_ACCOUNT, "another ServiceAccount is used now", keep=used)


def unwanted(ctx: Owning, resource: ResourceType, reason: str, keep: AbstractSet[str] = frozenset()) -> list[Action]:
    """Delete the resource's own children of a type, but for those named in `keep`."""
    return [
        Delete(resource, key_of(live), live["metadata"]["uid"], reason)
        for live in ctx.observed.objects.list(resource, ctx.primitive.namespace)
        if live["metadata"]["name"] not in keep
        and is_owned(ctx.primitive, live)
        and not live["metadata"].get("deletionTimestamp")
    ]


def _account_of(template: PodTemplate | None) -> set[str]:
    """The ServiceAccount of a pod template, if it names one."""
    name = ((template or {}).get("spec") or {}).get("serviceAccountName")
    return {name} if name else set()
