"""The seven steps: load → deletion → observe → plan → converge → status → requeue.

A kind supplies `observe` (the only reader), `plan` and `status` (both pure); everything that all kinds do alike is
here: pausing, writing status once per visible phase, Events on transitions, and when to look again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from ameide_shared import vocabulary as v
from ameide_shared.confidential import cleaned
from ameide_shared.converge import Converger, Recorder
from ameide_shared.external import Hands
from ameide_shared.failures import remedy_for
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ApiError, Conflict, NotFound
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of
from ameide_shared.logging import add_field
from ameide_shared.plan import Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, blocked
from ameide_shared.status import compose, paused_condition, significant, status_patch

log = logging.getLogger(__name__)

MINOR_STATUS_SECONDS = {True: 5.0, False: 10.0}
"""How long counters and messages may lag in status, by whether the resource is Ready: a rollout of many pods is one
write per phase, not one per pod."""

MINOR_WRITE_SECONDS = 0.2
"""What each resource adds to that lag whose counters wait too: however many roll out, and however long that takes,
their counters cost the API server no more than five writes a second."""

STEPS = frozenset(
    {
        Reason.CanaryInProgress,
        Reason.DatabaseProvisioning,
        Reason.DefinitionFetching,
        Reason.Deleting,
        Reason.DeploymentNotReady,
        Reason.MigrationPending,
        Reason.MigrationRunning,
        Reason.NamespaceRegistering,
        Reason.PasswordRotating,
        Reason.RolloutInProgress,
        Reason.RuntimeOutdated,
        Reason.SecretsSyncing,
        Reason.TemporalChecking,
        Reason.WorkersNotPolling,
    }
)
"""Reasons of a resource that is on its way."""
CONFLICT_SECONDS = 1.0
"""When to look again after the resource changed between our look and our write; its event mostly comes first."""

_FOLDED = ("observedGeneration", "conditions", "blocker")
_OF_EVERY_FOLD = (v.READY, v.PROGRESSING, v.DEGRADED, v.RECONCILING, v.STALLED, v.PAUSED)
O = TypeVar("O")  # noqa: E741 - the observed type of a kind


class Kind(Protocol[O]):
    """What an operator supplies for its resource. `plan` and `status` read nothing but their arguments."""

    @property
    def resource(self) -> ResourceType: ...

    @property
    def hands(self) -> Hands: ...

    @property
    def observe(self) -> Callable[[Manifest], Awaitable[O]]: ...

    def plan(self, manifest: Manifest, observed: O, now: datetime) -> Plan: ...

    @property
    def status(self) -> Callable[[Manifest, O, Plan, Outcome, datetime], dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class PlannedKind(Generic[O]):
    """A Kind put together from its reader and its pure functions, which are given the operator's `settings`."""

    resource: ResourceType
    observe: Callable[[Manifest], Awaitable[O]]
    planned: Callable[[Manifest, O, Any, datetime], Plan]
    status: Callable[[Manifest, O, Plan, Outcome, datetime], dict[str, Any]]
    settings: Any
    hands: Hands = field(default_factory=dict)

    def plan(self, manifest: Manifest, observed: O, now: datetime) -> Plan:
        return self.planned(manifest, observed, self.settings, now)


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended. `failed`: retry with backoff; `requeue_after` (seconds): look again at that time."""

    requeue_after: float | None = None
    failed: str = ""


def utc_now() -> datetime:
    """The wall clock, for `now` arguments; UTC."""
    return datetime.now(UTC)


class Reconciler(Generic[O]):
    """Reconciles one key at a time; the queue sees to it that no key is in two hands."""

    def __init__(
        self,
        kind: Kind[O],
        client: ApiClient,
        cache: Cache,
        recorder: Recorder,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kind = kind
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._converger = Converger(client, cache, recorder, kind.hands)
        self._clock = clock
        self._deferred: dict[ObjectKey, datetime] = {}  # since when a minor status change waits

    async def __call__(self, key: ObjectKey) -> Result:
        """Bring one resource to where its spec says, as far as this pass can."""
        manifest = self._cache.store(self._kind.resource).get(key)
        if manifest is None:
            self._deferred.pop(key, None)
            return Result()
        if manifest["metadata"].get("deletionTimestamp") and not manifest["metadata"].get("finalizers"):
            return Result()
        add_field("generation", manifest["metadata"].get("generation"))
        now = self._clock()
        observed = await self._kind.observe(manifest)
        plan = self._kind.plan(manifest, observed, now)
        if is_paused(manifest):
            plan = replace(plan, actions=())
        outcome = await self._converger.run(manifest, plan) if plan.actions else Outcome()
        wait = await self._report(manifest, observed, plan, outcome, now)
        return _requeue(plan, outcome, wait, now)

    async def on_failure(self, key: ObjectKey, error: Exception) -> None:
        """Report a reconcile that ended in an exception; the queue tries it again."""
        manifest = self._cache.store(self._kind.resource).get(key)
        if manifest is None or (isinstance(error, ApiError) and error.transient):
            return  # while the API server is away nothing can be reported either
        stage = _stage_of(error)
        previous: Mapping[str, Any] = manifest.get("status") or {}
        told = {name: value for name, value in previous.items() if name not in _FOLDED}
        # What the kind's own stages are now is not known; that they exist is.
        unknown = [
            blocked(condition["type"], stage)
            for condition in previous.get("conditions") or ()
            if condition["type"] not in _OF_EVERY_FOLD
        ]
        paused = paused_condition(manifest)
        status = compose(manifest, [stage, *unknown], self._clock(), more_conditions=paused, fields=told)
        await self._write(key, manifest, cleaned(status))

    async def _report(
        self, planned: Manifest, observed: O, plan: Plan, outcome: Outcome, now: datetime
    ) -> float | None:
        """Write status if it differs; seconds until a minor change is due, if one was put off.

        The status is of the spec that was planned: where another has come meanwhile, the next pass reports.
        """
        key = key_of(planned)
        manifest = self._cache.store(self._kind.resource).get(key)  # converging may have changed its metadata
        if manifest is None:
            return None
        if any(manifest["metadata"].get(what) != planned["metadata"].get(what) for what in ("uid", "generation")):
            return 0.0
        previous: Mapping[str, Any] = manifest.get("status") or {}
        status = cleaned(self._kind.status(manifest, observed, plan, outcome, now))
        patch = status_patch(previous, status)
        if not patch:
            self._deferred.pop(key, None)
            return None
        if significant(previous) == significant(status):
            waited = (now - self._deferred.setdefault(key, now)).total_seconds()
            ready = ready_of(status)
            least = MINOR_STATUS_SECONDS[ready is not None and ready["status"] == "True"]
            lag = max(least, MINOR_WRITE_SECONDS * len(self._deferred))
            if waited < lag:
                return lag - waited
        self._deferred.pop(key, None)
        return None if await self._write(key, manifest, status) else CONFLICT_SECONDS

    async def _write(self, key: ObjectKey, manifest: Manifest, status: Mapping[str, Any]) -> bool:
        """Whether the status is there now; not if the resource changed, or became another one, since we read it."""
        previous: Mapping[str, Any] = manifest.get("status") or {}
        patch = status_patch(previous, status)
        if not patch:
            return True
        metadata = manifest["metadata"]
        # The version guards it: the API server does not look at a uid in a write to the status subresource.
        identity = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"metadata": identity, "status": patch}
        try:
            written = await self._client.merge_patch(self._kind.resource, key, body, subresource="status")
        except NotFound:
            return True  # nobody is left to be told
        except Conflict as changed:
            log.debug("status of %s not written: %s", key, changed)
            return False
        self._cache.store(self._kind.resource).put(written)
        self._announce(manifest, previous, status)
        return True

    def _announce(self, manifest: Manifest, previous: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """One Event where Ready, or the reason for not being Ready, changed.

        Steps on the way (a rollout, a migration that runs) are not told: their Deployments and Jobs have Events.
        """
        old, new = ready_of(previous), ready_of(status)
        if new is None or (old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])):
            return
        conditions = status.get("conditions", ())
        broken = any(c["type"] == v.DEGRADED and c["status"] == "True" for c in conditions)
        if not broken and new["status"] != "True" and new["reason"] in STEPS:
            return
        kind = "Warning" if broken else "Normal"
        self._recorder.event(manifest, kind, new["reason"], new["message"] or "everything that is asked for is there")


def ready_of(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The Ready condition of a status, if it has one."""
    return next((c for c in status.get("conditions") or () if c["type"] == v.READY), None)


def is_paused(manifest: Manifest) -> bool:
    """Whether the annotation `ameide.io/paused` holds the operator's hands. Deletion works all the same."""
    metadata = manifest["metadata"]
    if metadata.get("deletionTimestamp"):
        return False
    return (metadata.get("annotations") or {}).get(v.ANNOTATION_PAUSED) == "true"


def _stage_of(error: Exception) -> Stage:
    """What an exception that ended a reconcile means to its resource."""
    if isinstance(error, ApiError):
        # Mostly a right that is lacking: the server's words name the object, the verb and who asked.
        message = f"the API server refused what the operator asked of it: {error.message}"
        return Stage("", State.FAILED, Reason.ApplyFailed, message, remedy=remedy_for(error))
    if type(error).__name__ == Reason.ReconcileTimeout:
        remedy = "it is repeated; if it stays, look at the latencies of the API server and the operator"
        return Stage("", State.FAILED, Reason.ReconcileTimeout, str(error), remedy=remedy)
    remedy = "see the operator's log, and report it to its maintainers"
    return Stage("", State.FAILED, Reason.InternalError, f"{type(error).__name__} in the operator", remedy=remedy)


def _requeue(plan: Plan, outcome: Outcome, deferred: float | None, now: datetime) -> Result:
    """When to look again: the earliest of what the plan, its stages and a deferred status ask for."""
    failures = outcome.failures
    if outcome.written and not any(failure.unanswered for failure in failures):
        # Our own writes cause no events here, and the next step may stand on them. What was refused waits until nothing
        # else is left to write, which comes soon: a write without effect does not count.
        return Result(0.0)
    waits = [wait for wait in (plan.requeue_after, deferred) if wait is not None]
    waits += [max(0.1, (stage.retry_at - now).total_seconds()) for stage in plan.stages if stage.retry_at]
    waits += [failure.retry_after for failure in failures if failure.retry_after is not None]
    unbounded = [failure.message for failure in failures if not failure.terminal and failure.retry_after is None]
    return Result(min(waits) if waits else None, unbounded[0] if unbounded else "")
