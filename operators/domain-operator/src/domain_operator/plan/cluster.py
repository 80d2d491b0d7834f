"""The Cluster that a Domain refers to: is it there, does it consent, is it Ready, and what has it made for itself?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ameide_shared.kube.resources import CNPG_CLUSTER, Manifest, ObjectKey
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.tenancy import reference_problem
from domain_operator.plan.binding import DB_READY, Binding, Name
from domain_operator.plan.context import Context

_OF_POSTGRES: Final = ("postgres", "template0", "template1")


def find_cluster(ctx: Context, binding: Binding) -> Manifest | Stage:
    """The Cluster; or why there is none, or none that this Domain may refer to."""
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
    if consent is None:
        return cluster
    return Stage(
        DB_READY, State.WAITING, Reason.ReferenceNotPermitted, consent.message, object=what, remedy=consent.remedy
    )


def unready(binding: Binding, cluster: Manifest) -> Stage | None:
    """What the Cluster says of itself while it is not Ready; None when it is."""
    status: Mapping[str, Any] = cluster.get("status") or {}
    if any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()):
        return None
    what = f"Cluster {binding.cluster}"
    return Stage(
        DB_READY,
        State.WAITING,
        Reason.ClusterNotReady,
        f"CloudNativePG {what} is not Ready: {status.get('phase') or 'no status yet'}",
        object=what,
        remedy=f"see kubectl describe clusters.postgresql.cnpg.io -n {binding.cluster.namespace} "
        f"{binding.cluster.name}",
    )


def application_of(cluster: Manifest) -> tuple[str, str]:
    """The database that a Cluster makes for itself, and the Secret of its owner, beside the Cluster."""
    method = _bootstrap(cluster)
    given = (method.get("secret") or {}).get("name")
    return str(method.get("database") or "app"), str(given or f"{cluster['metadata']['name']}-app")


def superuser_of(ctx: Context, cluster: ObjectKey) -> str:
    """The Secret of a Cluster's superuser, beside it: the one that its spec names, else CloudNativePG's own."""
    spec: Mapping[str, Any] = (ctx.observed.objects.get(CNPG_CLUSTER, *cluster) or {}).get("spec") or {}
    return str((spec.get("superuserSecret") or {}).get("name") or f"{cluster.name}-superuser")


def own_names(cluster: Manifest) -> dict[Name, str]:
    """What the Cluster has made for itself, each with a word on it: nobody else may have that."""
    managed = ((cluster.get("spec") or {}).get("managed") or {}).get("roles") or ()
    method = _bootstrap(cluster)
    database = str(method.get("database") or "app")
    roles = (str(method.get("owner") or database), *(str(role.get("name")) for role in managed))
    return {("database", name): "made by the Cluster's own bootstrap" for name in (database, *_OF_POSTGRES)} | {
        ("role", name): "one that the Cluster itself manages" for name in roles
    }


def _bootstrap(cluster: Manifest) -> Mapping[str, Any]:
    """What a Cluster's spec says of the method by which it is bootstrapped."""
    bootstrap: Mapping[str, Any] = (cluster.get("spec") or {}).get("bootstrap") or {}
    methods = ("initdb", "recovery", "pg_basebackup")
    return next((bootstrap[name] for name in methods if bootstrap.get(name)), {})
