"""What stands around the pods: ServiceAccount, Service, NetworkPolicy, autoscaler, disruption budget, monitor."""

from __future__ import annotations

from ameide_shared.builders.hpa import hpa
from ameide_shared.builders.identity import is_owned
from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import database_egress, endpoint_egress, network_policy
from ameide_shared.builders.pdb import pdb, wants_pdb
from ameide_shared.builders.pod import BACKEND
from ameide_shared.builders.service import service
from ameide_shared.builders.serviceaccount import service_account, service_account_name
from ameide_shared.builders.servicemonitor import service_monitor
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    POD_DISRUPTION_BUDGET,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    ResourceType,
    key_of,
)
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.revisions import PodTemplate
from ameide_shared.tenancy import reference_problem
from ameide_shared.workload import JobPhase, job_state, workload_state
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context


def before_pods(
    ctx: Context, binding: Binding | None, profile: NetworkProfile | None, template: PodTemplate | None
) -> list[Action]:
    """What must be there before the first pod, migration pods included: identity, address and borders.

    `template` is what runs, which may be older than the spec. No profile means that the spec is refused: then the
    borders stay as they are, and only what runs gets its identity.
    """
    actions: list[Action] = []
    wanted = {service_account_name(ctx.primitive, ctx.spec)} if profile is not None else set()
    for account in sorted(wanted | _account_of(template)):
        live = ctx.observed.objects.get(SERVICE_ACCOUNT, ctx.primitive.namespace, account)
        if live is None or is_owned(ctx.primitive, live):
            actions.append(Ensure(service_account(ctx.primitive, account), "identity of the pods", required=True))
    actions.append(Ensure(service(ctx.primitive, BACKEND), "address of the pods"))
    egress = []
    if binding is not None and _may_reach(ctx, binding):
        egress.append(database_egress(binding.cluster.namespace, binding.cluster.name))
    if ctx.settings.otel.endpoint:
        telemetry = endpoint_egress(ctx.settings.otel.endpoint, ctx.primitive.namespace)
        if telemetry is not None:
            egress.append(telemetry)
    if profile is not None:
        ports = [port.number for port in BACKEND.ports]
        policy = network_policy(ctx.primitive, profile, ports, extra_egress=egress)
        actions.append(Ensure(policy, f"network profile {ctx.spec.security.network_profile}", required=True))
    return actions


def beside_pods(ctx: Context) -> list[Action]:
    """What goes with running pods, and goes away when the spec no longer asks for it."""
    actions: list[Action] = []
    if ctx.spec.autoscaling is not None:
        actions.append(Ensure(hpa(ctx.primitive, ctx.spec), "spec.autoscaling"))
    else:
        actions += _unwanted(ctx, HORIZONTAL_POD_AUTOSCALER, "spec.autoscaling is not set")
    if wants_pdb(ctx.spec):
        actions.append(Ensure(pdb(ctx.primitive), "more than one replica"))
    else:
        actions += _unwanted(ctx, POD_DISRUPTION_BUDGET, "a single replica cannot be spared")
    monitor = ctx.settings.service_monitor
    if SERVICE_MONITOR in ctx.observed.apis:
        if monitor.enabled and ctx.spec.observability.metrics.enabled:
            manifest = service_monitor(
                ctx.primitive,
                BACKEND,
                labels=monitor.labels,
                interval_seconds=monitor.interval_seconds,
                path=ctx.spec.observability.metrics.path,
            )
            actions.append(Ensure(manifest, "metrics"))
        else:
            actions += _unwanted(ctx, SERVICE_MONITOR, "metrics are switched off")
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
    templates = [template, *((live.get("spec") or {}).get("template") for live in workloads)]
    used = {service_account_name(ctx.primitive, ctx.spec), *(name for each in templates for name in _account_of(each))}
    return [
        Delete(SERVICE_ACCOUNT, key_of(live), live["metadata"]["uid"], "another ServiceAccount is used now")
        for live in ctx.observed.objects.list(SERVICE_ACCOUNT, ctx.primitive.namespace)
        if live["metadata"]["name"] not in used
        and is_owned(ctx.primitive, live)
        and not live["metadata"].get("deletionTimestamp")
    ]


def _account_of(template: PodTemplate | None) -> set[str]:
    """The ServiceAccount of a pod template, if it names one."""
    name = ((template or {}).get("spec") or {}).get("serviceAccountName")
    return {name} if name else set()


def _unwanted(ctx: Context, resource: ResourceType, reason: str) -> list[Action]:
    return [
        Delete(resource, key_of(live), live["metadata"]["uid"], reason)
        for live in ctx.observed.objects.list(resource, ctx.primitive.namespace)
        if is_owned(ctx.primitive, live) and not live["metadata"].get("deletionTimestamp")
    ]


def _may_reach(ctx: Context, binding: Binding) -> bool:
    """Whether the policy opens the way to the Cluster that clusterRef names: one of another namespace must consent."""
    if binding.cluster.namespace == ctx.primitive.namespace:
        return True
    cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
    if cluster is None:
        return False
    return reference_problem(ctx.primitive.namespace, cluster, ctx.settings.references.allowed) is None
