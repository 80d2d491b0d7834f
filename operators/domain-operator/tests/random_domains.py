"""Hypothesis strategies: Domains within their schema, and clusters in which such a Domain may find itself."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain_golden import GOLDEN
from hypothesis import strategies as st

from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import Case, World, pod_of
from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.observed import ImageCheck
from ameide_shared.reasons import Reason
from domain_operator.main import DEFINITION
from domain_operator.settings import DomainSettings

NAMESPACE = {"base": "namespace"}
_rarely = st.integers(0, 15).map(lambda number: number == 15)
_labels = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
_names = st.builds(lambda head, tail: head + tail, st.sampled_from("abz"), st.text(string.ascii_lowercase, max_size=45))
_namespaces = st.builds(lambda name: name, st.sampled_from(["shop", "s", "a" * 63, "team-a-orders"]))
_images = st.sampled_from(
    [
        "ghcr.io/ameide/orders-domain:1.0.0",
        "ghcr.io/ameide/orders-domain:2.0.0",
        "ghcr.io/ameide/orders-domain@sha256:" + "ab" * 32,
        "ghcr.io/ameide/" + "x" * 80 + ":1.0.0-" + "rc" * 40,
        "orders",
    ]
)
_settings: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"tenancy": {"require_label": False}},
        {"service_monitor": {"labels": {"release": "prometheus"}}},
        {"history": {"jobs": 1, "revisions": 1}},
        {"service_monitor": {"enabled": False}},
        {"database": {"cluster_domain": "cluster.local", "ssl_mode": "verify-full"}},
        {"otel": {"endpoint": "http://collector.telemetry:4317"}},
        {"references": {"allowed": [{"from": "*", "to": "cnpg"}]}},
    ]
)
_spec = st.fixed_dictionaries(
    {"image": _images},
    optional={
        "replicas": st.integers(0, 5),
        "proto": st.just({"module": "github.com/ameide/apis", "version": "v1.0.0"}),
        "rollout": st.fixed_dictionaries(
            {},
            optional={
                "canary": st.booleans(),
                "strategy": st.just("RollingUpdate"),
                "revisionHistoryLimit": st.integers(1, 3),
                "canaryReadySeconds": st.integers(1, 100),
            },
        ),
        "observability": st.fixed_dictionaries({"metrics": st.fixed_dictionaries({"enabled": st.booleans()})}),
        "security": st.sampled_from(
            [{"serviceAccountName": "other"}, {"networkProfile": "isolated"}, {"networkProfile": "frontend"}]
        ),
        "env": st.lists(_labels, max_size=3, unique=True).map(lambda ns: [{"name": f"V_{n}", "value": n} for n in ns]),
        "podLabels": st.dictionaries(_labels, _labels, max_size=2),
    },
)
_autoscaling = st.fixed_dictionaries({"minReplicas": st.integers(1, 2), "maxReplicas": st.integers(2, 5)})
_db = st.fixed_dictionaries(
    {
        "clusterRef": st.sampled_from(["cnpg/main", "main"]),
        "schema": st.sampled_from(["orders", "o"]),
        "provisioning": st.sampled_from(["Database", "Database", "Job", "None"]),
    },
    optional={
        "database": st.sampled_from(["common", "app"]),
        "role": st.just("sales"),
        "migrations": st.sampled_from([{"onRollback": "Skip"}, {"timeoutSeconds": 30, "backoffLimit": 0}]),
    },
)


@st.composite
def manifests(draw: st.DrawFn, *, dropping: bool) -> dict[str, Any]:
    """A Domain that the CRD would take (mostly), with a database more often than not; `dropping`: to be dropped."""
    spec = draw(_spec)
    if "replicas" not in spec and draw(st.booleans()):
        spec["autoscaling"] = draw(_autoscaling)
    if dropping or draw(st.integers(0, 3)):
        db = draw(_db)
        db["migrationJobImage"] = draw(_images)
        if db["provisioning"] == "None":
            kind = draw(st.sampled_from(["Secret", "ExternalSecret"]))
            db["connectionSecretRef"] = {"kind": kind, "name": "orders-connection"}
        elif dropping or draw(st.booleans()):
            db["deletionPolicy"] = "Delete" if dropping else draw(st.sampled_from(["Retain", "Delete"]))
        spec["db"] = db
    names = {"name": draw(_names), "namespace": draw(_namespaces)}
    annotations = draw(
        st.dictionaries(
            st.sampled_from(["ameide.io/paused", "ameide.io/retry-migration", "ameide.io/rotate-password"]), _labels
        )
    )
    return merged(GOLDEN.based({"base": "domain"}), {"metadata": {**names, "annotations": annotations}, "spec": spec})


@st.composite
def worlds(draw: st.DrawFn, *, dropping: bool = False) -> World:
    """A Domain with a past: what it was before has settled, and its plan may have been begun again since."""
    domain = draw(manifests(dropping=dropping))
    apis = DEFINITION.apis if draw(st.integers(0, 9)) < 9 else frozenset()
    world = GOLDEN.world(domain, DomainSettings(**draw(_settings)), apis=apis)
    namespace = domain["metadata"]["namespace"]
    reference = domain["spec"].get("db", {}).get("clusterRef", "")
    home = "cnpg" if reference.startswith("cnpg/") else namespace
    enabled = {"enableSuperuserAccess": draw(st.integers(0, 4)) < 4}
    consent = {"ameide.io/allowed-namespaces": "*" if draw(st.integers(0, 7)) < 7 else ""}
    world.add([GOLDEN.based({**NAMESPACE, "metadata": {"name": namespace}})])
    around = [
        {"base": "cluster", "metadata": {"namespace": home, "annotations": consent}, "spec": enabled},
        {"base": "connection", "metadata": {"namespace": namespace}},
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": "orders-connection", "namespace": namespace},
            "spec": {},
        },
        {
            "base": "database",
            "metadata": {"name": "rival", "uid": "rival", "creationTimestamp": "2026-01-01T00:00:00Z"},
        },
    ]
    world.add(GOLDEN.based(manifest) for manifest in around if draw(st.integers(0, 9)) != 9)
    for _ in range(draw(st.integers(0, 2))):
        past = {"spec": {"image": draw(_images), "replicas": draw(st.sampled_from([None, 2]))}}
        world.settle(past if domain["spec"].get("autoscaling") is None else {"spec": {"image": draw(_images)}})
    world.passes(draw(st.integers(0, 2)))
    return world


def _delete(world: World) -> None:
    world.resource = merged(
        world.resource,
        {
            "metadata": {
                "deletionTimestamp": "2026-03-01T11:59:00Z",
                "finalizers": ["domain.ameide.io/finalizer"],
            }
        },
    )


@st.composite
def sane_clusters(draw: st.DrawFn, *, deleting: bool = False) -> Case:
    """A Domain whose children, some of them lost, are as controllers would leave them."""
    world = draw(worlds(dropping=deleting))
    for name, manifest in list(world.objects.items()):
        if manifest["metadata"].get("labels", {}).get("ameide.io/primitive") and draw(st.integers(0, 7)) == 7:
            del world.objects[name]
    if deleting:
        _delete(world)
    return Case(DEFINITION, world.resource, world.observed(), world.settings)


_odd: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"conditions": []}, {"message": "odd"}, {"observedGeneration": 99, "applied": False}]
)
_conditions = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "Available", "Complete", "Failed", "Progressing", "AbleToScale"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"reason": st.sampled_from(["ProgressDeadlineExceeded", "BackoffLimitExceeded", "Odd"])},
    ),
    max_size=2,
)
_counts = st.dictionaries(
    st.sampled_from(["replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "failed", "succeeded"]),
    st.integers(0, 9),
)
_states = st.sampled_from(
    [
        {},
        {"waiting": {}},
        {"waiting": {"reason": "CrashLoopBackOff"}},
        {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        {"running": {}},
        {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        {"terminated": {"exitCode": 1, "message": "password=hunter2 was refused"}},
        {"terminated": {"exitCode": 0, "message": '{"migrationVersion": null}'}},
        {"terminated": {"exitCode": 0, "message": '{"foreignSchemas": "x"}'}},
    ]
)


@st.composite
def odd_statuses(draw: st.DrawFn) -> Mapping[str, Any]:
    """A status such as a controller of another version, or halfway through, might leave."""
    return {**draw(_odd), **draw(_counts), "conditions": draw(_conditions)}


@st.composite
def pod_statuses(draw: st.DrawFn, container: str) -> Mapping[str, Any]:
    status: dict[str, Any] = {"phase": draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]))}
    if draw(st.booleans()):
        states = {"state": draw(_states), "lastState": draw(_states)}
        status["containerStatuses"] = [{"name": container, "ready": draw(st.booleans()), **states}]
    if draw(st.booleans()):
        status["startTime"] = "2026-03-01T11:59:55Z"
    return status


@st.composite
def domains_in_clusters(draw: st.DrawFn) -> Case:
    """A Domain among objects that are missing, being deleted, stripped of labels, or have odd statuses."""
    world = draw(worlds())
    for name, manifest in list(world.objects.items()):
        if manifest["kind"] in ("Deployment", "Job") and draw(st.booleans()):
            pod = pod_of(manifest)
            pod["status"] = draw(pod_statuses(pod["spec"]["containers"][0]["name"]))
            world.add([pod])
        match draw(st.integers(0, 11)) if manifest["kind"] not in ("Namespace", "Cluster") or draw(_rarely) else 11:
            case 0:
                del world.objects[name]
            case 1:
                world.objects[name] = {key: value for key, value in manifest.items() if key != "status"}
            case 2 | 3:
                world.objects[name] = {**manifest, "status": draw(odd_statuses())}
            case 4:
                going = {"deletionTimestamp": "2026-03-01T11:59:30Z"}
                world.objects[name] = merged(dict(manifest), {"metadata": going})
            case 5:
                bare = {"labels": None, "annotations": None, "ownerReferences": None, "creationTimestamp": None}
                world.objects[name] = merged(dict(manifest), {"metadata": bare})
            case 6 if manifest["kind"] not in ("Deployment", "Job", "ControllerRevision", "Secret"):
                world.objects[name] = {key: value for key, value in manifest.items() if key != "spec"}
            case _:
                pass
    if draw(st.integers(0, 3)) == 3:
        _delete(world)
    match draw(st.integers(0, 4)):
        case 0:
            world.resource.pop("status", None)
        case 1:
            world.resource = {**world.resource, "status": {"observedGeneration": -1}}
        case _:
            pass
    observed = replace(
        world.observed(),
        image=ImageCheck(
            ImageInfo("sha256:" + "0" * 64, {}) if draw(_rarely) else None,
            (Reason.RegistryUnavailable, "refused") if draw(_rarely) else None,
        ),
    )
    return Case(DEFINITION, world.resource, observed, world.settings)
