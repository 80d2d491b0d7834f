"""Ensuring children against a real API server: one request to create, none at rest, one to repair."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_shared.kube import apply, resources
from ameide_shared.kube.apply import Done, ensure
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.differ import differences
from ameide_shared.kube.errors import ChildConflict, Conflict, ImmutableField, Invalid, NotFound
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.vocabulary import ANNOTATION_FIELD_SET, ANNOTATION_OWNER_UID

from . import samples
from .conftest import Requests

UID = samples.OWNER_UID
CONTAINER = "spec/template/spec/containers/0"

CUSTOM: dict[str, dict[str, Any]] = {
    "Database": {
        "apiVersion": "postgresql.cnpg.io/v1",
        "spec": {
            "name": "orders",
            "owner": "orders_owner",
            "cluster": {"name": "orders"},
            "schemas": [{"name": "orders", "owner": "orders_owner"}],
            "extensions": [{"name": "pgcrypto"}],
        },
    },
    "DatabaseRole": {
        "apiVersion": "postgresql.cnpg.io/v1",
        "spec": {
            "name": "orders",
            "cluster": {"name": "orders"},
            "login": True,
            "superuser": False,
            "passwordSecret": {"name": "orders"},
        },
    },
    "ExternalSecret": {
        "apiVersion": "external-secrets.io/v1",
        "spec": {
            "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"},
            "target": {"name": "key"},
            "data": [{"secretKey": "key", "remoteRef": {"key": "a/b", "property": "c"}}],
        },
    },
    "ServiceMonitor": {
        "apiVersion": "monitoring.coreos.com/v1",
        "spec": {
            "selector": {"matchLabels": {"ameide.io/name": "orders"}},
            "namespaceSelector": {},
            "endpoints": [
                {
                    "port": "http",
                    "path": "/metrics",
                    "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "pod"}],
                }
            ],
        },
    },
}


def custom(kind: str, namespace: str) -> dict[str, Any]:
    body = CUSTOM[kind]
    metadata = samples.metadata("orders", namespace)
    return {"apiVersion": body["apiVersion"], "kind": kind, "metadata": metadata, "spec": body["spec"]}


def desired_children(namespace: str) -> list[dict[str, Any]]:
    return [make(namespace) for make in samples.BUILT_IN.values()] + [custom(kind, namespace) for kind in CUSTOM]


def content(manifest: Manifest) -> dict[str, Any]:
    """All but what the API server and controllers keep books in."""
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}


async def test_created_with_one_request_then_left_alone(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests
) -> None:
    """What the server adds is no difference, for any kind, whether just created or read again after a restart."""
    for desired in desired_children(namespace):
        resource, key = resource_of(desired), key_of(desired)
        requests.clear()
        result = await ensure(client, cache, desired, UID)
        assert result.done is Done.CREATED
        assert requests == [("create", str(resource), "201")]
        assert cache.store(resource).residues == {}, "the known defaults are not complete"
        assert (await ensure(client, cache, desired, UID)).done is Done.UNCHANGED

        # Nothing differs either in what an apply leaves, and the apply itself changes nothing.
        before = await client.get(resource, key)
        after = await client.apply(apply.with_field_set(desired), dry_run=True)
        assert differences(desired, after) == []
        assert content(after) == content(before)

        restarted = Cache()
        restarted.on_event(resource, None, before)
        requests.clear()
        assert (await ensure(client, restarted, desired, UID)).done is Done.UNCHANGED
        assert requests == []


async def edited(client: ApiClient, resource: ResourceType, key: ObjectKey, path: str, value: Any) -> dict[str, Any]:
    """What `kubectl edit` does; again where a controller writes status at the same time."""
    while True:
        drifted = samples.changed(await client.get(resource, key), path, value)
        try:
            return await client.update(drifted, field_manager="kubectl-edit")
        except Conflict:
            continue


DRIFT: tuple[tuple[str, str, Any], ...] = (
    ("deployment", f"{CONTAINER}/image", "evil:1"),
    ("deployment", f"{CONTAINER}/env/0/value", "Agent"),
    ("deployment", f"{CONTAINER}/resources/limits/cpu", "8"),
    ("deployment", "spec/replicas", 7),
    ("deployment", "metadata/labels/ameide.io~1tier", None),
    ("deployment", "spec/template/spec/automountServiceAccountToken", None),
    ("deployment", "spec/template/spec/tolerations/1", {"operator": "Exists"}),
    ("service", "spec/selector/extra", "x"),
    ("service", "spec/ports/0/targetPort", 22),
    ("network_policy", "spec/ingress/0/from/0/namespaceSelector", {}),
    ("network_policy", "spec/egress", [{}]),
    ("autoscaler", "spec/maxReplicas", 50),
    ("autoscaler", "spec/metrics/0/resource/target/averageUtilization", 5),
    ("disruption_budget", "spec/maxUnavailable", "100%"),
    ("service_account", "automountServiceAccountToken", True),
    ("config_map", "data/app.yaml", "a: 2\n"),
    ("secret", "data/PGUSER", "cm9vdA=="),
    ("cron_job", "spec/suspend", True),
    ("ingress", "spec/rules/0/http/paths/0/path", "/stolen"),
)


@pytest.mark.parametrize(("kind", "path", "value"), DRIFT, ids=lambda value: str(value)[:60])
async def test_drift_is_repaired_with_one_request(
    client: ApiClient,
    cache: Cache,
    kube: KubeClient,
    namespace: str,
    requests: Requests,
    kind: str,
    path: str,
    value: Any,
) -> None:
    desired = samples.BUILT_IN[kind](namespace)
    resource, key = resource_of(desired), key_of(desired)
    created = (await ensure(client, cache, desired, UID)).object
    answer = await edited(client, resource, key, path, value)
    assert cache.on_event(resource, "MODIFIED", answer)
    requests.clear()
    result = await ensure(client, cache, desired, UID)
    assert result.done is Done.APPLIED
    assert result.differences
    assert requests == [("patch", str(resource), "200")]
    live = await client.get(resource, key)
    assert differences(desired, live) == []
    assert content(live) == content(created)
    assert (await ensure(client, cache, desired, UID)).done is Done.UNCHANGED


RESHAPED: tuple[tuple[str, str, Any], ...] = (
    ("deployment", f"{CONTAINER}/env/0", None),
    ("deployment", f"{CONTAINER}/ports/0", None),
    ("deployment", "metadata/finalizers", ["example.org/hold"]),
)


@pytest.mark.parametrize(("kind", "path", "value"), RESHAPED, ids=lambda value: str(value)[:60])
async def test_items_that_are_missing_are_brought_back_by_apply(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests, kind: str, path: str, value: Any
) -> None:
    desired = samples.BUILT_IN[kind](namespace)
    if path == "metadata/finalizers":
        desired = samples.changed(desired, path, ["example.org/ours"])
    resource, key = resource_of(desired), key_of(desired)
    await ensure(client, cache, desired, UID)
    assert cache.on_event(resource, "MODIFIED", await edited(client, resource, key, path, value))
    requests.clear()
    assert (await ensure(client, cache, desired, UID)).done is Done.APPLIED
    assert requests == [("apply", str(resource), "200")]
    assert differences(desired, await client.get(resource, key)) == []


async def test_changed_values_leave_one_manager_of_ours(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests
) -> None:
    """Two, by create and by apply, would be read and written by each writer of the Deployment's status."""
    desired = samples.deployment(namespace)
    await ensure(client, cache, desired, UID)
    requests.clear()
    for image in ("app:2", "app:3"):
        await ensure(client, cache, samples.changed(desired, f"{CONTAINER}/image", image), UID)
    assert requests == [("patch", str(resources.DEPLOYMENT), "200")] * 2
    entries = (await client.get(resources.DEPLOYMENT, key_of(desired)))["metadata"]["managedFields"]
    assert [entry["operation"] for entry in entries if entry["manager"] == "domain-operator"] == ["Update"]


async def test_values_are_not_written_into_an_item_that_took_anothers_place(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests
) -> None:
    """The cache is behind: where it has our container there is another one now."""
    desired = samples.deployment(namespace)
    await ensure(client, cache, desired, UID)
    key = key_of(desired)
    await edited(client, resources.DEPLOYMENT, key, f"{CONTAINER}/env/0", {"name": "OTHERS", "value": "1"})
    requests.clear()
    await ensure(client, cache, samples.changed(desired, f"{CONTAINER}/env/0/value", "new"), UID)
    assert [(verb, code) for verb, _, code in requests] == [("patch", "422"), ("apply", "200")]
    env = (await client.get(resources.DEPLOYMENT, key))["spec"]["template"]["spec"]["containers"][0]["env"]
    values = {variable["name"]: variable.get("value") for variable in env}
    assert values["OTHERS"] == "1"
    assert values[desired["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"]] == "new"


async def test_what_others_add_stays(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.deployment(namespace)
    await ensure(client, cache, desired, UID)
    metadata = {"name": desired["metadata"]["name"], "namespace": namespace, "labels": {"team": "a"}}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}},
    }
    cache.put(await client.apply(patch, field_manager="mesh"))
    assert (await ensure(client, cache, desired, UID)).done is Done.UNCHANGED
    result = await ensure(client, cache, samples.changed(desired, "spec/replicas", 4), UID)
    assert result.done is Done.APPLIED
    assert result.object["metadata"]["labels"]["team"] == "a"
    assert [c["name"] for c in result.object["spec"]["template"]["spec"]["containers"]] == ["app", "proxy"]


async def test_dropped_fields_disappear_at_the_first_apply(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests
) -> None:
    """Also those set by the create, which server-side apply alone would leave."""
    desired = samples.deployment(namespace)
    created = (await ensure(client, cache, desired, UID)).object
    smaller = samples.changed(desired, f"{CONTAINER}/env/2", None)
    smaller = samples.changed(smaller, "spec/template/spec/nodeSelector", None)
    smaller = samples.changed(smaller, "spec/template/spec/volumes/2", None)
    smaller = samples.changed(smaller, f"{CONTAINER}/volumeMounts/1", None)
    smaller = samples.changed(smaller, "metadata/labels/app.kubernetes.io~1part-of", None)
    requests.clear()
    result = await ensure(client, cache, smaller, UID)
    assert [verb for verb, _, _ in requests] == ["get", "patch", "apply"]
    pod = result.object["spec"]["template"]["spec"]
    assert "EMPTY" not in [variable["name"] for variable in pod["containers"][0]["env"]]
    assert "nodeSelector" not in pod
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp", "work", "identity"]
    assert "app.kubernetes.io/part-of" not in result.object["metadata"]["labels"]
    assert result.object["metadata"]["uid"] == created["metadata"]["uid"]

    # From now on all is owned by apply.
    live = await client.get(resources.DEPLOYMENT, key_of(desired))
    ours = [e for e in live["metadata"]["managedFields"] if e["manager"] == "domain-operator"]
    assert [entry["operation"] for entry in ours] == ["Apply"]
    requests.clear()
    again = samples.changed(smaller, f"{CONTAINER}/env/0", None)
    result = await ensure(client, cache, again, UID)
    assert [verb for verb, _, _ in requests] == ["get", "apply"]
    names = [v["name"] for v in result.object["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "AMEIDE_PRIMITIVE_KIND" not in names


async def test_dropped_field_after_a_plain_apply(client: ApiClient, cache: Cache, namespace: str) -> None:
    """After a repair both an Update and an Apply entry are ours; what both own still goes when dropped."""
    desired = samples.config_map(namespace)
    await ensure(client, cache, desired, UID)
    changed = samples.changed(desired, "data/app.yaml", "a: 3\n")
    assert (await ensure(client, cache, changed, UID)).done is Done.APPLIED
    result = await ensure(client, cache, samples.changed(changed, "data/empty", None), UID)
    assert result.object["data"] == {"app.yaml": "a: 3\n"}


async def test_foreign_objects_are_never_taken_over(client: ApiClient, cache: Cache, namespace: str) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "orders-config",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
        },
        "data": {"theirs": "yes"},
    }
    await client.create(foreign, field_manager="helm")
    desired = samples.config_map(namespace)
    for create_only in (False, True):
        with pytest.raises(ChildConflict, match=r"ConfigMap .*/orders-config exists and belongs to Helm") as caught:
            await ensure(client, cache, desired, UID, create_only=create_only)
        assert caught.value.key == key_of(desired)
    assert (await client.get(resources.CONFIG_MAP, key_of(desired)))["data"] == {"theirs": "yes"}

    # Another resource's child of the same name is as foreign.
    other = {**samples.service(namespace, uid="99999999-2222-3333-4444-555555555555")}
    await client.create(other, field_manager="domain-operator")
    with pytest.raises(ChildConflict, match="belongs to Sample orders"):
        await ensure(client, cache, samples.service(namespace), UID)


async def test_our_own_object_is_found_again(
    client: ApiClient, cache: Cache, namespace: str, requests: Requests
) -> None:
    """The answer to a create was lost, or somebody removed the label that our watch selects by."""
    desired = samples.config_map(namespace)
    await client.create(samples.changed(desired, "metadata/labels", None), field_manager="domain-operator")
    requests.clear()
    result = await ensure(client, cache, desired, UID)
    assert result.done is Done.APPLIED
    assert result.object["metadata"]["labels"] == samples.LABELS
    assert [verb for verb, _, _ in requests][:2] == ["create", "get"]


async def test_a_kept_value_is_not_made_anew(client: ApiClient, cache: Cache, namespace: str) -> None:
    """A Secret that the cache has lost keeps its password: what depends on the live object is asked for again."""
    desired = samples.secret(namespace)
    await client.create(desired, field_manager="domain-operator")

    def rebuilt() -> Manifest:
        live = cache.get(resources.SECRET, key_of(desired))
        assert live is not None
        rest = {name: value for name, value in desired.items() if name != "stringData"}
        return {**rest, "data": live["data"]}

    fresh = samples.changed(desired, "stringData/PGPASSWORD", "a-new-password")
    result = await ensure(client, cache, fresh, UID, rebuild=rebuilt)
    assert result.object["data"]["PGPASSWORD"] == "czNjcmV0LXZhbHVl"


async def test_replicas_that_are_handed_over_stay(client: ApiClient, cache: Cache, namespace: str) -> None:
    """Dropping a field that nobody else owns resets it; given to another manager first, it keeps its value."""
    desired = samples.changed(samples.deployment(namespace), "spec/replicas", 4)
    await ensure(client, cache, desired, UID)
    handed = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": desired["metadata"]["name"], "namespace": namespace},
        "spec": {"replicas": 4},
    }
    cache.put(await client.apply(handed, field_manager="domain-operator-replicas"))
    without = samples.changed(desired, "spec/replicas", None)
    assert (await ensure(client, cache, without, UID)).object["spec"]["replicas"] == 4
    await client.merge_patch(resources.DEPLOYMENT, key_of(desired), {"spec": {"replicas": 6}}, field_manager="scaler")
    assert (await ensure(client, cache, without, UID)).done is Done.UNCHANGED

    other = samples.changed(desired, "metadata/name", "not-handed-over")
    await ensure(client, cache, other, UID)
    reset = await ensure(client, cache, samples.changed(other, "spec/replicas", None), UID)
    assert reset.object["spec"]["replicas"] == 1


async def test_children_elsewhere_are_ours_by_annotation(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.config_map(namespace)
    desired["metadata"] = {
        "name": "elsewhere",
        "namespace": namespace,
        "labels": {
            "ameide.io/primitive": "domain",
            "ameide.io/owner-namespace": "shop",
            "ameide.io/owner-name": "orders",
        },
        "annotations": {ANNOTATION_OWNER_UID: UID},
    }
    assert (await ensure(client, cache, desired, UID)).done is Done.CREATED
    assert (await ensure(client, Cache(), desired, UID)).done is Done.UNCHANGED
    other = samples.changed(desired, "metadata/labels/ameide.io~1owner-name", "billing")
    with pytest.raises(ChildConflict, match="domain shop/orders"):
        await ensure(client, Cache(), other, "another-uid")

    # What outlived its owner goes to whoever bears the name again: the labels are the claim.
    heir = samples.changed(desired, "metadata/annotations/ameide.io~1owner-uid", "another-uid")
    result = await ensure(client, Cache(), heir, "another-uid")
    assert result.done is Done.APPLIED
    assert result.object["metadata"]["annotations"][ANNOTATION_OWNER_UID] == "another-uid"


async def test_create_only(client: ApiClient, cache: Cache, namespace: str, requests: Requests) -> None:
    desired = samples.job(namespace)
    assert (await ensure(client, cache, desired, UID, create_only=True)).done is Done.CREATED
    requests.clear()
    other = samples.changed(desired, "spec/backoffLimit", 3)
    assert (await ensure(client, cache, other, UID, create_only=True)).done is Done.UNCHANGED
    assert requests == []


async def test_immutable_fields_are_named(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.deployment(namespace)
    await ensure(client, cache, desired, UID)
    moved = samples.changed(desired, "spec/selector/matchLabels/ameide.io~1track", "canary")
    moved = samples.changed(moved, "spec/template/metadata/labels/ameide.io~1track", "canary")
    with pytest.raises(ImmutableField, match=r"Deployment .*spec.selector cannot be changed in place") as caught:
        await ensure(client, cache, moved, UID)
    assert caught.value.fields == ("spec.selector",)


async def test_invalid_objects_name_the_field(client: ApiClient, cache: Cache, namespace: str) -> None:
    with pytest.raises(Invalid) as caught:
        await ensure(client, cache, samples.changed(samples.deployment(namespace), "spec/replicas", -1), UID)
    assert [cause.field for cause in caught.value.causes] == ["spec.replicas"]
    with pytest.raises(Invalid, match="unknown field"):
        await ensure(client, cache, samples.changed(samples.deployment(namespace), "spec/replica", 1), UID)


async def test_objects_on_their_way_out_are_waited_for(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.config_map(namespace)
    desired["metadata"]["finalizers"] = ["example.com/hold"]
    created = (await ensure(client, cache, desired, UID)).object
    key, uid = key_of(desired), created["metadata"]["uid"]
    await apply.delete(client, cache, resources.CONFIG_MAP, key, uid)
    live = cache.get(resources.CONFIG_MAP, key)
    assert live is not None
    assert live["metadata"]["deletionTimestamp"]
    result = await ensure(client, cache, desired, UID)
    assert (result.pending, result.changed) == (True, False)
    gone = await client.merge_patch(resources.CONFIG_MAP, key, {"metadata": {"finalizers": None}})
    cache.on_event(resources.CONFIG_MAP, "DELETED", gone)
    assert (await ensure(client, cache, desired, UID)).done is Done.CREATED


async def test_delete_spares_a_successor(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.config_map(namespace)
    key = key_of(desired)
    first = (await ensure(client, cache, desired, UID)).object["metadata"]["uid"]
    await apply.delete(client, cache, resources.CONFIG_MAP, key, first)
    assert cache.get(resources.CONFIG_MAP, key) is None
    second = (await ensure(client, cache, desired, UID)).object["metadata"]["uid"]
    await apply.delete(client, cache, resources.CONFIG_MAP, key, first)
    assert cache.get(resources.CONFIG_MAP, key) is not None
    assert (await client.get(resources.CONFIG_MAP, key))["metadata"]["uid"] == second
    await apply.delete(client, cache, resources.CONFIG_MAP, key, second)
    await apply.delete(client, cache, resources.CONFIG_MAP, key, second)
    with pytest.raises(NotFound):
        await client.get(resources.CONFIG_MAP, key)


async def test_apply_never_recreates_a_deleted_object(client: ApiClient, cache: Cache, namespace: str) -> None:
    """The uid keeps a stale cache from bringing back what somebody deleted, under a new identity, or from changing
    its successor."""
    desired = samples.config_map(namespace)
    for change in (samples.changed(desired, "data/app.yaml", "new"), samples.changed(desired, "data/more", "new")):
        await ensure(client, cache, desired, UID)
        await client.delete(resources.CONFIG_MAP, key_of(desired))
        with pytest.raises(Conflict, match=r"deleted meanwhile|uid mismatch|Precondition|not found"):
            await ensure(client, cache, change, UID)
        await client.create(desired)
        with pytest.raises(Conflict, match=r"uid mismatch|Precondition|replaced"):
            await ensure(client, cache, change, UID)
        live = await client.get(resources.CONFIG_MAP, key_of(desired))
        assert live["data"] == desired["data"]
        await client.delete(resources.CONFIG_MAP, key_of(desired))
        cache.remove(
            resources.CONFIG_MAP,
            key_of(desired),
            str((cache.get(resources.CONFIG_MAP, key_of(desired)) or desired)["metadata"].get("uid")),
        )


async def test_a_server_that_insists_is_not_fought(
    client: ApiClient, cache: Cache, kube: KubeClient, platform: Platform, namespace: str, requests: Requests
) -> None:
    """Admission that rewrites our field: one write, then peace, until something else differs."""
    policy: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": f"insist-{namespace}"},
        "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["configmaps"],
                    }
                ],
            },
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": 'Object{data: {"app.yaml": "insisted"}}'},
                }
            ],
        },
    }
    binding: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": f"insist-{namespace}"},
        "spec": {"policyName": f"insist-{namespace}"},
    }
    kube.create(policy)
    kube.create(binding)
    try:
        desired = samples.config_map(namespace)
        async with asyncio.timeout(20):  # admission policies come into force a moment later
            while True:
                probe = samples.changed(desired, "metadata/name", "probe")
                if (await client.create(probe, dry_run=True))["data"]["app.yaml"] == "insisted":
                    break
                await asyncio.sleep(0.2)
        result = await ensure(client, cache, desired, UID)
        assert result.object["data"]["app.yaml"] == "insisted"
        requests.clear()
        assert (await ensure(client, cache, desired, UID)).done is Done.UNCHANGED
        assert requests == []
        edited = await client.merge_patch(
            resources.CONFIG_MAP, key_of(desired), {"data": {"empty": "drift"}}, field_manager="kubectl-edit"
        )
        cache.on_event(resources.CONFIG_MAP, "MODIFIED", edited)
        assert (await ensure(client, cache, desired, UID)).done is Done.APPLIED
        assert (await ensure(client, cache, desired, UID)).done is Done.UNCHANGED
    finally:
        kube.delete(binding["apiVersion"], binding["kind"], f"insist-{namespace}")
        kube.delete(policy["apiVersion"], policy["kind"], f"insist-{namespace}")


async def test_diff_for_the_command_line(client: ApiClient, cache: Cache, namespace: str) -> None:
    desired = samples.deployment(namespace)
    live, after = await apply.diff(client, desired)
    assert live is None
    assert after["metadata"]["annotations"][ANNOTATION_FIELD_SET]
    await ensure(client, cache, desired, UID)
    live, after = await apply.diff(client, samples.changed(desired, "spec/replicas", 9))
    assert live is not None
    assert (live["spec"]["replicas"], after["spec"]["replicas"]) == (2, 9)
    assert (await client.get(resources.DEPLOYMENT, key_of(desired)))["spec"]["replicas"] == 2
