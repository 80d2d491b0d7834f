"""The differ on its own: what counts as a difference and what does not."""

from __future__ import annotations

import copy
import timeit
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ameide_shared.kube.differ import Difference, differences
from ameide_shared.kube.fieldset import field_set_digest

from . import samples

CONTAINER = "spec/template/spec/containers/0"


@dataclass(frozen=True)
class Case:
    """A live object made from a sample by one change; which path is reported, or None where it must not matter."""

    reason: str
    kind: str
    path: str
    value: Any
    expect: str | None


CASES = (
    # Plain fields, maps and lists with keys.
    Case("an image changed", "deployment", f"{CONTAINER}/image", "evil:1",
         "spec.template.spec.containers[name=app].image"),
    Case("replicas changed", "deployment", "spec/replicas", 5, "spec.replicas"),
    Case("our label changed", "service", "metadata/labels/ameide.io~1name", "x", 'metadata.labels["ameide.io/name"]'),
    Case("our label is gone", "service", "metadata/labels/ameide.io~1name", None, 'metadata.labels["ameide.io/name"]'),
    Case("somebody's own label", "service", "metadata/labels/team", "x", None),
    Case("somebody's own annotation", "service", "metadata/annotations", {"a": "b"}, None),
    Case("a sidecar was injected", "deployment", "spec/template/spec/containers/1", {"name": "proxy",
         "image": "p"}, None),
    Case("a variable was added", "deployment", f"{CONTAINER}/env/13", {"name": "X", "value": "1"}, None),
    Case("a variable is gone", "deployment", f"{CONTAINER}/env/0", None,
         "spec.template.spec.containers[name=app].env[name=AMEIDE_PRIMITIVE_KIND]"),
    Case("a variable has another value", "deployment", f"{CONTAINER}/env/0/value", "Agent",
         "spec.template.spec.containers[name=app].env[name=AMEIDE_PRIMITIVE_KIND].value"),
    Case("an empty variable is stored without a value", "deployment", f"{CONTAINER}/env/2/value", None, None),
    Case("an empty variable got a value", "deployment", f"{CONTAINER}/env/2/value", "x",
         "spec.template.spec.containers[name=app].env[name=EMPTY].value"),
    Case("init containers change places", "deployment", "spec/template/spec/initContainers",
         list(reversed(samples.deployment()["spec"]["template"]["spec"]["initContainers"])),
         "spec.template.spec.initContainers.(order)"),
    Case("volumes change places", "deployment", "spec/template/spec/volumes",
         list(reversed(samples.deployment()["spec"]["template"]["spec"]["volumes"])), None),
    Case("a volume became something else", "deployment", "spec/template/spec/volumes/1",
         {"name": "work", "hostPath": {"path": "/"}}, "spec.template.spec.volumes[name=work].emptyDir"),
    Case("a port has its default protocol", "deployment", f"{CONTAINER}/ports/0/protocol", "TCP", None),
    Case("a port has another protocol", "deployment", f"{CONTAINER}/ports/0/protocol", "UDP",
         "spec.template.spec.containers[name=app].ports[containerPort=50051,protocol=TCP]"),
    Case("a service port was added", "service", "spec/ports/2", {"name": "x", "port": 1, "protocol": "TCP"}, None),
    Case("a service port leads elsewhere", "service", "spec/ports/0/targetPort", 22,
         "spec.ports[port=50051,protocol=TCP].targetPort"),
    Case("the controller reference is gone", "service", "metadata/ownerReferences", None,
         f"metadata.ownerReferences[uid={samples.OWNER_UID}]"),
    Case("blockOwnerDeletion changed", "service", "metadata/ownerReferences/0/blockOwnerDeletion", False,
         f"metadata.ownerReferences[uid={samples.OWNER_UID}]"),
    # False and absent.
    Case("the token is mounted again", "deployment", "spec/template/spec/automountServiceAccountToken", None,
         "spec.template.spec.automountServiceAccountToken"),
    Case("escalation is allowed again", "deployment", f"{CONTAINER}/securityContext/allowPrivilegeEscalation", None,
         "spec.template.spec.containers[name=app].securityContext.allowPrivilegeEscalation"),
    Case("false is stored as absent", "deployment", "spec/template/spec/hostNetwork", None, None),
    Case("the host's network", "deployment", "spec/template/spec/hostNetwork", True, "spec.template.spec.hostNetwork"),
    # Quantities.
    Case("half a core", "deployment", f"{CONTAINER}/resources/requests/cpu", "500m", None),
    Case("one core", "deployment", f"{CONTAINER}/resources/limits/cpu", "1", None),
    Case("a gibibyte in bytes", "deployment", f"{CONTAINER}/resources/limits/memory", "1073741824", None),
    Case("a gigabyte is no gibibyte", "deployment", f"{CONTAINER}/resources/limits/memory", "1G",
         "spec.template.spec.containers[name=app].resources.limits.memory"),
    Case("another limit", "deployment", f"{CONTAINER}/resources/limits/ephemeral-storage", "1G", None),
    Case("no limits at all", "deployment", f"{CONTAINER}/resources/limits", None,
         "spec.template.spec.containers[name=app].resources.limits"),
    Case("a quantity in a metric", "autoscaler", "spec/metrics/1/resource/target/averageValue", "1Gi", None),
    Case("another metric", "autoscaler", "spec/metrics/2", {"type": "Resource", "resource": {"name": "x"}},
         "spec.metrics"),
    # What is replaced whole.
    Case("a selector got narrower", "service", "spec/selector/extra", "x", "spec.selector"),
    Case("a node selector got narrower", "deployment", "spec/template/spec/nodeSelector/zone", "a",
         "spec.template.spec.nodeSelector"),
    Case("a toleration was added", "deployment", "spec/template/spec/tolerations/1", {"operator": "Exists"},
         "spec.template.spec.tolerations"),
    Case("a capability was added back", "deployment", f"{CONTAINER}/securityContext/capabilities/drop/0", "KILL",
         "spec.template.spec.containers[name=app].securityContext.capabilities.drop"),
    Case("a capability was added", "deployment", f"{CONTAINER}/securityContext/capabilities/add", ["SYS_ADMIN"], None),
    Case("arguments change places", "deployment", "spec/template/spec/initContainers/0/args", ["5432", "db"],
         "spec.template.spec.initContainers[name=wait].args"),
    Case("a field reference has its default", "deployment", f"{CONTAINER}/env/3/valueFrom/fieldRef/apiVersion",
         "v1", None),
    Case("a resource reference has its default", "deployment", f"{CONTAINER}/env/5/valueFrom/resourceFieldRef/divisor",
         "0", None),
    Case("a resource reference has a divisor", "deployment",
         f"{CONTAINER}/env/5/valueFrom/resourceFieldRef/divisor", "1m",
         "spec.template.spec.containers[name=app].env[name=CPUS].valueFrom.resourceFieldRef"),
    Case("a secret reference names another key", "deployment", f"{CONTAINER}/env/6/valueFrom/secretKeyRef/key", "x",
         "spec.template.spec.containers[name=app].env[name=PGHOST].valueFrom.secretKeyRef"),
    # Network policies: every addition has a meaning.
    Case("a rule has its default protocol", "network_policy", "spec/ingress/0/ports/0/protocol", "TCP", None),
    Case("a rule has another protocol", "network_policy", "spec/ingress/0/ports/0/protocol", "UDP", "spec.ingress"),
    Case("a peer reaches all namespaces", "network_policy", "spec/ingress/0/from/0/namespaceSelector", {},
         "spec.ingress"),
    Case("a peer's selector is gone", "network_policy", "spec/ingress/0/from/0/podSelector", None, "spec.ingress"),
    Case("everything may enter", "network_policy", "spec/ingress/1", {}, "spec.ingress"),
    Case("no rule is left", "network_policy", "spec/ingress", None, "spec.ingress"),
    Case("an exception is gone", "network_policy", "spec/egress/1/to/0/ipBlock/except", None, "spec.egress"),
    Case("a port range", "network_policy", "spec/egress/0/ports/0/endPort", 65535, "spec.egress"),
    Case("it selects more pods", "network_policy", "spec/podSelector", {}, "spec.podSelector"),
    Case("a direction is no longer policed", "network_policy", "spec/policyTypes/1", None, "spec.policyTypes"),
    # Others.
    Case("a Job's selector belongs to its controller", "job", "spec/selector", {"matchLabels": {"a": "b"}}, None),
    Case("a pattern has its default", "job", "spec/podFailurePolicy/rules/0/onPodConditions/0/status", "True", None),
    Case("exit codes are a set", "job", "spec/podFailurePolicy/rules/1/onExitCodes/values", [42, 7], None),
    Case("another exit code", "job", "spec/podFailurePolicy/rules/1/onExitCodes/values", [42, 8],
         "spec.podFailurePolicy.rules"),
    Case("a ConfigMap's key changed", "config_map", "data/app.yaml", "a: 2\n", 'data["app.yaml"]'),
    Case("a ConfigMap's empty key is gone", "config_map", "data/empty", None, "data.empty"),
    Case("a ConfigMap got a key", "config_map", "data/new", "x", None),
    Case("the path of a rule changed", "ingress", "spec/rules/0/http/paths/0/path", "/x", "spec.rules"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_one_change(case: Case) -> None:
    desired = samples.BUILT_IN[case.kind]()
    live = samples.changed(desired, case.path, case.value)
    assert live != desired, "the case must change something"
    assert [difference.path for difference in differences(desired, live)] == ([case.expect] if case.expect else [])


@pytest.mark.parametrize("kind", samples.BUILT_IN)
def test_equal(kind: str) -> None:
    desired = samples.BUILT_IN[kind]()
    live = copy.deepcopy(desired)
    if kind == "secret":
        live = {**{k: v for k, v in live.items() if k != "stringData"}, "data": {"PGPASSWORD": "czNjcmV0LXZhbHVl",
                "PGUSER": "b3JkZXJz"}}  # fmt: skip
    assert differences(desired, live) == []


def test_empty_and_absent() -> None:
    desired = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "labels": {}, "annotations": None, "ownerReferences": []},
        "spec": {"selector": {}, "ports": [], "externalIPs": []},
    }
    assert differences(desired, {"metadata": {"name": "a"}, "spec": {}}) == []
    live = {"metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "externalIPs": ["10.0.0.1"]}}
    assert [d.path for d in differences(desired, live)] == ["spec.selector", "spec.externalIPs"]


def test_unknown_kinds_are_tolerant_of_what_is_empty_but_not_of_additions() -> None:
    desired = {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": "a"},
        "spec": {"match": {}, "list": [], "deep": {"deeper": {"none": {}}}, "items": [{"a": 1, "b": {}}]},
    }
    assert differences(desired, {"metadata": {"name": "a"}, "spec": {"items": [{"a": 1}], "status": 1}}) == []
    assert [d.path for d in differences(desired, {**desired, "spec": {"items": [{"a": 1, "c": 2}]}})] == ["spec.items"]


def test_custom_resources_know_their_defaults() -> None:
    database: dict[str, Any] = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Database",
        "metadata": {"name": "a"},
        "spec": {"name": "orders", "cluster": {"name": "orders"}, "schemas": [{"name": "orders", "owner": "o"}]},
    }
    live = copy.deepcopy(database)
    live["spec"]["schemas"][0]["ensure"] = "present"
    assert differences(database, live) == []
    live["spec"]["schemas"][0]["ensure"] = "absent"
    assert [d.path for d in differences(database, live)] == ["spec.schemas"]


def test_secret_values_are_never_shown() -> None:
    desired = samples.secret()
    live = {**desired, "data": {"PGPASSWORD": "b2xkLXZhbHVl", "PGUSER": "b3JkZXJz"}}
    (found,) = differences(desired, live)
    assert found.path == "data.PGPASSWORD"
    text = f"{found} {found!r}"
    assert "s3cret" not in text
    assert "old-value" not in text
    assert "czNjcmV0" not in text
    assert "b2xkLXZhbHVl" not in text
    assert found.desired.startswith("<redacted sha256:")
    assert found.desired != found.live


def test_words() -> None:
    assert str(Difference("spec.replicas", 2, None)) == "spec.replicas: absent should be 2"
    assert len(str(Difference("data.x", "y" * 1000, "z" * 1000))) < 300


# --- properties -----------------------------------------------------------------------------------------------------

scalars = st.one_of(st.text(min_size=1, max_size=5), st.integers(1, 9), st.just(True))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(st.sampled_from("abcdefg"), inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)
specs = st.dictionaries(st.sampled_from("abcdefg"), trees, min_size=1, max_size=5)


def thing(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}


def merged(left: Any, right: Any) -> Any:
    """`left` with what only `right` has, map by map: what a server-side apply of `left` over `right` gives."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {**right, **{k: merged(v, right[k]) if k in right else v for k, v in left.items()}}
    return left


@settings(deadline=None)
@given(specs, specs)
def test_after_an_apply_nothing_differs(wanted: dict[str, Any], existing: dict[str, Any]) -> None:
    assert differences(thing(wanted), thing(merged(wanted, existing))) == []


@settings(deadline=None)
@given(specs, specs)
def test_no_difference_means_that_an_apply_changes_nothing(wanted: dict[str, Any], existing: dict[str, Any]) -> None:
    if merged(wanted, existing) != existing:
        assert differences(thing(wanted), thing(existing))


@settings(deadline=None)
@given(specs, specs)
def test_digest_depends_on_paths_alone(left: dict[str, Any], right: dict[str, Any]) -> None:
    def paths(value: Any, prefix: str = "") -> set[str]:
        if isinstance(value, dict):
            return {path for key, inner in value.items() for path in paths(inner, f"{prefix}/{key}")}
        return {prefix}

    same = field_set_digest(thing(left)) == field_set_digest(thing(right))
    assert same == (paths(left) == paths(right))


def test_digest_of_lists_with_keys() -> None:
    base = samples.deployment()
    digest = field_set_digest(base)
    assert len(digest) == 10
    assert field_set_digest(samples.changed(base, f"{CONTAINER}/image", "other:2")) == digest
    assert field_set_digest(samples.changed(base, f"{CONTAINER}/env/0", None)) != digest
    assert field_set_digest(samples.changed(base, f"{CONTAINER}/env/0/name", "RENAMED")) != digest
    assert field_set_digest(samples.changed(base, f"{CONTAINER}/ports/0/protocol", "TCP")) != digest
    assert field_set_digest(samples.changed(base, "metadata/uid", "x")) == digest
    assert field_set_digest(samples.changed(base, "metadata/annotations", {"ameide.io/field-set": "x"})) == digest
    volumes = base["spec"]["template"]["spec"]["volumes"]
    assert field_set_digest(samples.changed(base, "spec/template/spec/volumes", volumes[::-1])) == digest


def test_fast_enough() -> None:
    desired = samples.deployment()
    live = samples.changed(desired, f"{CONTAINER}/imagePullPolicy", "Always")
    fastest = min(timeit.repeat(lambda: differences(desired, live), number=20, repeat=10)) / 20
    # 20 to 60 µs on an idle core: the limit leaves room for slow machines, not for another order of growth.
    assert fastest < 500e-6
