"""What a cluster has of one resource, by a few LISTs: what a plan is given when no operator's caches are at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import Trouble
from ameide_shared.confidential import quiet, quieted
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.errors import NotFound
from ameide_shared.kube.resources import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    CRON_JOB,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    JOB,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.snapshot import redacted_secret
from ameide_shared.vocabulary import API_VERSION, LABEL_MANAGED_BY, LABEL_NAME, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE

_CHILDREN: Final = (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    CRON_JOB,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    JOB,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
"""Built-in kinds that operators write, and pods."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The live resource (None: there is none), the objects around it, and installed APIs.

    Values of Secrets are neither in these nor in what others say in any status.
    """

    live: Manifest | None
    objects: tuple[Manifest, ...]
    apis: frozenset[ResourceType]


def with_client(
    definition: Definition,
    kubeconfig: str | None,
    context: str | None,
    work: Callable[[ApiClient, str], Coroutine[Any, Any, int]],
) -> int:
    """Run `work(client, default namespace)` against the chosen cluster."""

    async def go() -> int:
        async with connect(kubeconfig, context) as connection:
            client = ApiClient(connection, field_manager=definition.operator)
            return await work(client, connection.default_namespace or "default")

    return asyncio.run(go())


async def require_api(client: ApiClient, definition: Definition) -> None:
    """Raise Trouble where the cluster does not know the operator's kind at all."""
    try:
        served = (await client.raw_get(f"/apis/{API_VERSION}")).get("resources") or ()
    except NotFound:
        served = ()
    if not any(entry.get("name") == definition.resource.plural for entry in served):
        raise Trouble(
            f"the cluster does not know {definition.resource}; install the CRD: "
            f"{definition.operator} crd | kubectl apply --server-side -f -"
        )


async def find(client: ApiClient, resource: ResourceType, key: ObjectKey) -> dict[str, Any] | None:
    """An object, or None. Raises ApiError where the API server refuses."""
    try:
        return await client.get(resource, key)
    except NotFound:
        return None


async def gather(client: ApiClient, definition: Definition, manifest: Manifest) -> Gathered:
    """Read what concerns a resource: its children and pods, its namespace, and what it expects of others.

    Objects of optional APIs (CloudNativePG's, say) are read whole in the namespaces concerned: they may be rivals.
    """
    await require_api(client, definition)
    key = key_of(manifest)
    live = await find(client, definition.resource, key)
    discovery = Discovery(definition.apis)
    await discovery.refresh(client)
    apis = frozenset(resource for resource in definition.apis if discovery.installed(resource))
    expected = list(definition.assumed(manifest))
    children = ((live or {}).get("status") or {}).get("children") or ()
    namespaces = {key.namespace}
    namespaces |= {str(item["metadata"]["namespace"]) for item in expected if item["metadata"].get("namespace")}
    namespaces |= {str(child["namespace"]) for child in children if child.get("namespace")}
    found: list[Manifest] = []
    for resource in (*_CHILDREN, *sorted(apis, key=str), definition.resource):
        for namespace in sorted(namespaces):
            if resource in _CHILDREN:
                for selector in _selectors(definition.operator, key, namespace):
                    found += (await client.list(resource, namespace, label_selector=selector)).items
            else:
                found += (await client.list(resource, namespace)).items
    for resource, name in _expected(expected, namespaces):
        item = await find(client, resource, name) if resource not in definition.apis or resource in apis else None
        found += [item] if item is not None else []
    for name in _read_by_pods(found, key.namespace):
        item = await find(client, SECRET, name)
        found += [item] if item is not None else []
    found = quieted(found, definition.credentials)
    return Gathered(quiet(live) if live is not None else None, tuple(_without_values(found)), apis)


def _selectors(operator: str, key: ObjectKey, namespace: str) -> list[str]:
    """How children are found: by owner labels, and by name in the resource's own namespace.

    There they may bear either: what stands beside a Cluster is made alike wherever that is.
    """
    ours = f"{LABEL_MANAGED_BY}={operator}"
    owner = f"{ours},{LABEL_OWNER_NAMESPACE}={key.namespace},{LABEL_OWNER_NAME}={key.name}"
    return [f"{ours},{LABEL_NAME}={key.name}", owner] if namespace == key.namespace else [owner]


def _expected(objects: Iterable[Manifest], namespaces: Iterable[str]) -> list[tuple[ResourceType, ObjectKey]]:
    named = [(resource_of(item), key_of(item)) for item in objects]
    return [*named, *((NAMESPACE, ObjectKey("", namespace)) for namespace in sorted(namespaces))]


def _read_by_pods(objects: Iterable[Manifest], namespace: str) -> list[ObjectKey]:
    """The Secrets that pods of a namespace read and that are not among the objects: what the pods say may hold them."""
    pods = [item for item in objects if resource_of(item) is POD and item["metadata"]["namespace"] == namespace]
    named = {ObjectKey(namespace, name) for pod in pods for name in _secrets_in(pod.get("spec") or {})}
    return sorted(named - {key_of(item) for item in objects if resource_of(item) is SECRET})


def _secrets_in(spec: Any) -> Iterator[str]:
    """The Secrets that a pod's variables and volumes name."""
    if isinstance(spec, list):
        for item in spec:
            yield from _secrets_in(item)
    elif isinstance(spec, Mapping):
        for key, value in spec.items():
            if key in ("secretKeyRef", "secretRef", "secret") and isinstance(value, Mapping):
                yield str(value.get("name") or value.get("secretName") or "")
            else:
                yield from _secrets_in(value)


def _without_values(objects: Iterable[Manifest]) -> list[Manifest]:
    return [redacted_secret(item) if resource_of(item) is SECRET else item for item in objects]
