"""The seven steps with a kind of the test's own, the real cache, converger and API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from ameide_dev.client import ApiError, KubeClient
from ameide_dev.operators import install_identities
from ameide_dev.processes import wait_until
from ameide_shared.confidential import Confidential, keep, take_up
from ameide_shared.external import ExternalError, Hands
from ameide_shared.failures import DENIED_SECONDS
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.errors import Forbidden, ServerUnavailable, Unauthorized
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import DOMAIN, SECRET, Manifest, ObjectKey, ResourceType
from ameide_shared.logging import FIELDS, bind
from ameide_shared.plan import AddFinalizer, Call, Ensure, Outcome, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.reconcile import CONFLICT_SECONDS, Reconciler, Result, is_paused
from ameide_shared.redact import fingerprint
from ameide_shared.stages import Stage, State, done
from ameide_shared.status import compose, failure_stage, parse_time

if TYPE_CHECKING:
    from ameide_dev.platform import Platform

Written = list[tuple[str, str]]
WAITING = Stage("DBReady", State.WAITING, Reason.ClusterNotFound, "no Cluster", remedy="create it")
BROKEN = Stage("DBReady", State.STALLED, Reason.MigrationFailed, "failed", remedy="mend it")


async def silent(manifest: Manifest, call: Call) -> bool:
    """A system outside that is away."""
    raise ExternalError(Reason.TemporalUnreachable, "no answer", remedy="start it", retry_after=30.0)


class Sample:
    """A kind that plans what the test says, and keeps what it was asked."""

    resource: ResourceType = DOMAIN
    hands: Hands = MappingProxyType({"ask": silent})

    def __init__(self) -> None:
        self.next = Plan(stages=(done("DBReady", Reason.DatabaseReady),))
        self.fields: dict[str, Any] = {}
        self.outcomes: list[Outcome] = []
        self.events: list[tuple[str, str]] = []

    async def observe(self, manifest: Manifest) -> str:
        return str(manifest["metadata"]["name"])

    def plan(self, manifest: Manifest, observed: str, now: datetime) -> Plan:
        return self.next

    def status(self, manifest: Manifest, observed: str, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
        self.outcomes.append(outcome)
        failures = [failure_stage(failure, now) for failure in outcome.failures]
        return compose(manifest, [*failures, *plan.stages], now, fields=self.fields)

    def event(self, resource: Manifest, type: str, reason: str, message: str) -> None:
        self.events.append((type, reason))


class Site:
    """A Domain of the test's own, and a reconciler of it with a clock that the test moves."""

    def __init__(self, client: ApiClient, kube: KubeClient, requests: Written, namespace: str) -> None:
        self.kind, self.cache, self.kube, self.requests = Sample(), Cache(), kube, requests
        self.key = ObjectKey(namespace, "orders")
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.reconciler = Reconciler(self.kind, client, self.cache, self.kind, clock=lambda: self.now)
        metadata = {"name": "orders", "namespace": namespace}
        spec = {"image": "ghcr.io/ameide/orders:1"}
        self.see(kube.create({"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": spec}))

    def see(self, manifest: Manifest) -> None:
        """What the watch would tell."""
        self.cache.store(DOMAIN).put(manifest)

    def patch(self, patch: dict[str, Any]) -> None:
        self.see(self.kube.merge_patch("ameide.io/v1", "Domain", "orders", patch, self.key.namespace))

    async def run(self, *stages: Stage, plan: Plan | None = None, after: float = 0.0) -> Result:
        """Reconcile once, `after` seconds later."""
        self.now += timedelta(seconds=after)
        self.kind.next = plan if plan is not None else Plan(stages=stages)
        return await self.reconciler(self.key)

    @property
    def status(self) -> dict[str, Any]:
        live = self.kube.get("ameide.io/v1", "Domain", "orders", self.key.namespace)
        return dict(live.get("status") or {})

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        return {condition["type"]: condition for condition in self.status["conditions"]}

    def config_map(self, name: str = "made") -> dict[str, Any]:
        live = self.kube.get("ameide.io/v1", "Domain", "orders", self.key.namespace)
        owner = {"apiVersion": "ameide.io/v1", "kind": "Domain", "name": "orders", "uid": live["metadata"]["uid"]}
        metadata = {"name": name, "namespace": self.key.namespace, "ownerReferences": [{**owner, "controller": True}]}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


@contextmanager
def denied(kube: KubeClient, namespace: str, name: str) -> Iterator[None]:
    """While a policy of the cluster denies ConfigMaps of a name in a namespace; until it is gone again."""
    api, of_cluster = "admissionregistration.k8s.io/v1", {"name": f"no-{name}-in-{namespace}"}
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]
    match = {"resourceRules": rules, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    validation = {"expression": f"object.metadata.name != '{name}'", "message": "it names no friend of ours"}
    policy = {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": of_cluster}
    binding = {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": of_cluster}
    kube.create(policy | {"spec": {"matchConstraints": match, "validations": [validation], "failurePolicy": "Fail"}})
    kube.create(binding | {"spec": {"policyName": of_cluster["name"], "validationActions": ["Deny"]}})
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}

    def passes() -> bool:
        try:
            kube.create(probe)
        except ApiError:
            return False
        kube.delete("v1", "ConfigMap", name, namespace)
        return True

    try:
        wait_until("The policy", lambda: not passes(), (), timeout=30)
        yield
    finally:
        for each in (policy, binding):
            kube.delete(api, each["kind"], of_cluster["name"], wait=30)
        wait_until("The end of the policy", passes, (), timeout=30)


@pytest.fixture(scope="module")
def domain_kind(platform: Platform) -> None:
    """The Domain CRD, as the chart has it."""
    install_identities(platform.client)


@pytest.fixture
async def site(
    domain_kind: None, platform: Platform, kube: KubeClient, make_namespace: Callable[..., str]
) -> AsyncIterator[Site]:
    requests: Written = []
    async with connect(platform.kubeconfig) as connection:
        client = ApiClient(
            connection,
            field_manager="domain-operator",
            limiter=Limiter(0),
            on_request=lambda verb, resource, code, _: requests.append((verb, resource)),
        )
        yield Site(client, kube, requests, make_namespace(prefix="own-reconcile"))


async def test_status_is_written_once_and_at_rest_nothing_is_asked(site: Site) -> None:
    result = await site.run(done("DBReady", Reason.DatabaseReady))
    assert (result, len(site.requests)) == (Result(), 1)
    assert site.conditions["Ready"]["status"] == "True"
    for _ in range(3):
        assert await site.run(done("DBReady", Reason.DatabaseReady), after=600) == Result()
    assert len(site.requests) == 1


async def test_what_is_logged_meanwhile_has_the_generation(site: Site) -> None:
    with bind(name="orders"):
        await site.run(WAITING)
        assert FIELDS.get() == {"name": "orders", "generation": site.status["observedGeneration"]}
    assert "generation" not in FIELDS.get({})


async def test_whatever_a_stage_says_status_has_no_secret_value_of_the_resource(site: Site) -> None:
    """Also where the reconcile itself fails; and what is the same but for the value is not written again."""

    async def observe(manifest: Manifest) -> str:
        take_up(Confidential())
        keep("the-password")
        return ""

    site.kind.observe = observe  # type: ignore[method-assign]
    told = Stage("DBReady", State.FAILED, Reason.DatabaseRefused, "it said the-password", remedy="not the-password")
    with bind(name="orders"):
        await site.run(told)
        await site.run(told, after=600)
        await site.reconciler.on_failure(site.key, TimeoutError("the-password"))
    assert "the-password" not in str(site.status)
    with bind(name="orders"):
        await site.run(told, after=600)
    mark = fingerprint("the-password")
    assert site.conditions["DBReady"]["message"] == f"it said {mark}; not {mark}"
    assert len(site.requests) == 3


async def test_a_resource_that_is_gone_is_nothing_to_do(site: Site) -> None:
    assert await site.reconciler(ObjectKey("nowhere", "nothing")) == Result()
    assert not site.requests


async def test_each_transition_is_one_write_and_one_event(site: Site) -> None:
    await site.run(WAITING)
    await site.run(BROKEN)
    await site.run(BROKEN, after=60)
    await site.run(done("DBReady", Reason.DatabaseReady))
    assert len(site.requests) == 3
    told = [event for event in site.kind.events if event[1] in ("MigrationFailed", "AllResourcesHealthy")]
    assert told == [("Warning", "MigrationFailed"), ("Normal", "AllResourcesHealthy")]
    assert site.status.keys() == {"observedGeneration", "conditions"}  # the blocker is gone


async def test_counters_wait_a_few_seconds_and_are_then_written_together(site: Site) -> None:
    site.kind.fields = {"workload": {"readyReplicas": 1}}
    await site.run(WAITING)
    site.kind.fields = {"workload": {"readyReplicas": 2}}
    first = await site.run(WAITING)
    assert first.requeue_after is not None
    assert first.requeue_after > 0
    site.kind.fields = {"workload": {"readyReplicas": 3}}
    second = await site.run(WAITING, after=first.requeue_after / 2)
    assert second.requeue_after == pytest.approx(first.requeue_after / 2)
    assert len(site.requests) == 1
    assert await site.run(WAITING, after=first.requeue_after / 2) == Result()
    assert (len(site.requests), site.status["workload"]["readyReplicas"]) == (2, 3)


async def test_a_counter_that_went_back_is_forgotten(site: Site) -> None:
    for ready in (1, 2, 1):
        site.kind.fields = {"workload": {"readyReplicas": ready}}
        result = await site.run(WAITING)
    assert (result, len(site.requests)) == (Result(), 1)


async def test_children_are_made_and_looked_at_again_at_once(site: Site) -> None:
    """Our own writes cause no events here, and the next step may stand on them."""
    plan = Plan((AddFinalizer("domain.ameide.io/finalizer", "why"), Ensure(site.config_map(), "why")), (WAITING,))
    assert (await site.run(plan=plan)).requeue_after == 0.0
    assert site.kind.outcomes[-1].written == 2
    assert await site.run(plan=plan) == Result()
    assert site.kind.outcomes[-1].written == 0
    await site.run(plan=Plan((RemoveFinalizer("domain.ameide.io/finalizer", "why"),), (WAITING,)))


async def test_paused_writes_status_and_nothing_else(site: Site) -> None:
    site.patch({"metadata": {"annotations": {"ameide.io/paused": "true"}}})
    await site.run(plan=Plan((Ensure(site.config_map(), "why"),), (WAITING,)))
    assert [verb for verb, _ in site.requests] == ["patch"]
    assert site.conditions["Ready"]["reason"] == "ClusterNotFound"
    assert site.kube.find("v1", "ConfigMap", "made", site.key.namespace) is None


async def test_deletion_works_while_paused(site: Site) -> None:
    finalizers = ["domain.ameide.io/finalizer"]
    site.patch({"metadata": {"annotations": {"ameide.io/paused": "true"}, "finalizers": finalizers}})
    site.kube.delete("ameide.io/v1", "Domain", "orders", site.key.namespace)
    site.see(site.kube.get("ameide.io/v1", "Domain", "orders", site.key.namespace))
    result = await site.run(plan=Plan((RemoveFinalizer(finalizers[0], "why"),), (WAITING,)))
    assert not result.failed
    assert site.kube.find("ameide.io/v1", "Domain", "orders", site.key.namespace) is None


@pytest.mark.parametrize(
    ("annotations", "deleting", "paused"),
    [
        ({"ameide.io/paused": "true"}, False, True),
        ({"ameide.io/paused": "true"}, True, False),
        ({"ameide.io/paused": "True"}, False, False),
        ({"ameide.io/paused": "false"}, False, False),
        (None, False, False),
    ],
)
def test_only_the_word_true_pauses_and_only_what_is_not_deleted(annotations: Any, deleting: bool, paused: bool) -> None:
    metadata = {"annotations": annotations} | ({"deletionTimestamp": "2026-03-01T12:00:00Z"} if deleting else {})
    assert is_paused({"metadata": metadata}) is paused


async def test_a_child_that_is_refused_shows_in_status_and_is_not_retried_in_a_hurry(site: Site) -> None:
    bad = site.config_map() | {"data": {"not a key!": "x"}}
    result = await site.run(plan=Plan((Ensure(bad, "why"),), (WAITING,)))
    assert result == Result()  # the same request would be refused again: its next event decides
    assert site.conditions["Ready"]["reason"] == "ApplyFailed"
    assert "ConfigMap" in site.status["blocker"]["object"]


async def test_what_is_refused_for_good_does_not_keep_the_next_step_waiting(site: Site) -> None:
    bad = site.config_map("bad") | {"data": {"not a key!": "x"}}
    plan = Plan((Ensure(bad, "why"), Ensure(site.config_map(), "why")), (WAITING,))
    assert await site.run(plan=plan) == Result(0.0)
    assert await site.run(plan=plan) == Result()  # nothing was written: there is no next step


async def test_what_is_refused_for_now_is_retried_once_nothing_else_is_left_to_write(site: Site) -> None:
    site.kube.create(site.config_map("theirs") | {"metadata": {"name": "theirs", "namespace": site.key.namespace}})
    plan = Plan((Ensure(site.config_map("theirs"), "why"), Ensure(site.config_map(), "why")), (WAITING,))
    assert await site.run(plan=plan) == Result(0.0)
    result = await site.run(plan=plan)
    assert (result.requeue_after, "theirs" in result.failed) == (None, True)


async def test_who_does_not_answer_is_not_asked_again_in_a_hurry_whatever_was_written(site: Site) -> None:
    plan = Plan((Ensure(site.config_map(), "why"), Call("ask", {}, "why")), (WAITING,))
    assert await site.run(plan=plan) == Result(30.0)
    assert site.kind.outcomes[-1].written == 1


async def test_what_a_policy_denies_is_told_as_such_and_made_soon_after_the_policy_is_lifted(site: Site) -> None:
    plan = Plan((Ensure(site.config_map("denied"), "why"), Ensure(site.config_map(), "why")), (WAITING,))
    with denied(site.kube, site.key.namespace, "denied"):
        assert await site.run(plan=plan) == Result(0.0)
        assert await site.run(plan=plan) == Result(DENIED_SECONDS)
        blocker, stalled = site.status["blocker"], site.conditions["Stalled"]
        assert (blocker["reason"], stalled["status"]) == ("ApplyFailed", "True")
        assert "ValidatingAdmissionPolicy" in blocker["message"]
        assert "names no friend of ours" in blocker["message"]
        assert "policy" in blocker["remedy"]
        assert "retryAt" not in blocker
        asked = len(site.requests)
        assert await site.run(plan=plan, after=DENIED_SECONDS) == Result(DENIED_SECONDS)
        assert len(site.requests) == asked + 1  # the child; status says already what there is to say
    assert await site.run(plan=plan, after=DENIED_SECONDS) == Result(0.0)
    assert site.conditions["Ready"]["reason"] == "ClusterNotFound"


async def test_a_transient_failure_is_retried_with_backoff(site: Site) -> None:
    site.kube.create(site.config_map() | {"metadata": {"name": "made", "namespace": site.key.namespace}})
    result = await site.run(plan=Plan((Ensure(site.config_map(), "why"),), (WAITING,)))
    assert "made" in result.failed
    assert result.requeue_after is None
    assert site.conditions["Ready"]["reason"] == "ChildConflict"


async def test_the_earliest_time_that_anybody_asks_for_is_when_it_is_looked_at_again(site: Site) -> None:
    at = site.now + timedelta(seconds=7)
    stage = Stage("DBReady", State.WAITING, Reason.ClusterNotReady, "soon", retry_at=at)
    assert (await site.run(plan=Plan((), (stage,), requeue_after=30.0))).requeue_after == pytest.approx(7.0)
    assert (await site.run(plan=Plan((), (stage,), requeue_after=2.0))).requeue_after == pytest.approx(2.0)
    assert (await site.run(plan=Plan((), (stage,)), after=60)).requeue_after == pytest.approx(0.1)
    assert parse_time(site.status["blocker"]["retryAt"]) == at


async def test_a_resource_deleted_meanwhile_is_no_error(site: Site) -> None:
    site.kube.delete("ameide.io/v1", "Domain", "orders", site.key.namespace)
    assert await site.run(WAITING) == Result()
    assert not site.kind.events


async def test_the_status_of_a_namesake_is_left_alone(site: Site) -> None:
    """Deleted and made anew between our look and our write: the version in the patch protects the new one."""
    site.kube.delete("ameide.io/v1", "Domain", "orders", site.key.namespace)
    metadata = {"name": "orders", "namespace": site.key.namespace}
    spec = {"image": "ghcr.io/ameide/orders:2"}
    site.kube.create({"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": spec})
    result = await site.run(BROKEN)
    assert "conditions" not in site.status
    assert (result.requeue_after, result.failed) == (CONFLICT_SECONDS, "")  # by then the watch has told us


async def test_an_error_of_our_own_is_told_and_what_was_known_stays(site: Site) -> None:
    site.kind.fields = {"workload": {"name": "orders-domain"}}
    await site.run(done("DBReady", Reason.DatabaseReady))
    await site.reconciler.on_failure(site.key, ZeroDivisionError("password=hunter2"))
    status, conditions = site.status, site.conditions
    assert status["workload"] == {"name": "orders-domain"}
    assert (conditions["Ready"]["reason"], conditions["Degraded"]["status"]) == ("InternalError", "True")
    assert (conditions["DBReady"]["status"], conditions["DBReady"]["reason"]) == ("Unknown", "Blocked")
    assert status["blocker"]["remedy"]
    assert "hunter2" not in str(status)
    await site.run(done("DBReady", Reason.DatabaseReady))
    assert site.conditions["Ready"]["status"] == "True"


async def test_a_right_that_is_lacking_is_told_in_the_servers_words(site: Site, platform: Platform) -> None:
    kubeconfig = platform.control_plane.kubeconfig_for_user("without-rights")
    async with connect(kubeconfig) as connection:
        stranger = ApiClient(connection, field_manager="domain-operator", limiter=Limiter(0))
        with pytest.raises(Forbidden) as caught:
            await stranger.get(SECRET, ObjectKey(site.key.namespace, "their-connection"))
    await site.reconciler.on_failure(site.key, caught.value)
    blocker = site.status["blocker"]
    assert blocker["reason"] == "ApplyFailed"
    for word in ('"their-connection"', 'cannot get resource "secrets"', 'User "without-rights"', site.key.namespace):
        assert word in blocker["message"]
    assert "rbac" in blocker["remedy"]
    await site.reconciler.on_failure(site.key, Unauthorized("who are you?", status=401))
    assert "who are you?" in site.status["blocker"]["message"]
    assert "rbac" not in site.status["blocker"]["remedy"]


async def test_a_timeout_is_told_as_such(site: Site) -> None:
    class ReconcileTimeout(Exception):  # noqa: N818 - the name is the reason
        pass

    await site.reconciler.on_failure(site.key, ReconcileTimeout("took more than 60 s"))
    assert site.status["blocker"]["reason"] == "ReconcileTimeout"
    assert site.status["blocker"]["message"] == "took more than 60 s"
    assert site.status["blocker"]["remedy"]


async def test_while_the_server_is_away_there_is_nobody_to_tell(site: Site) -> None:
    await site.reconciler.on_failure(site.key, ServerUnavailable("busy", status=503))
    await site.reconciler.on_failure(ObjectKey("nowhere", "nothing"), ValueError())
    assert not site.requests
