"""What the Process operator does in Temporal on behalf of a plan, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ameide_shared.external import ExternalError
from ameide_shared.external import Hands as SharedHands
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call
from ameide_shared.reasons import Reason
from process_operator.plan.deletion import CLOSE_WORKFLOWS, PAUSE_SCHEDULES
from process_operator.plan.temporal import REGISTER_NAMESPACE
from process_operator.temporal.closing import close_open, pause_schedules
from process_operator.temporal.errors import TemporalDenied, TemporalError, TemporalUnreachable
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Batch, BatchOperation, SchedulesPaused, Target

_RETRY_SECONDS: Final = 5.0


class Hands:
    """Carries out Calls; what came of pausing and closing is remembered by the uid of the Process until it is gone."""

    def __init__(self, gateway: TemporalGateway) -> None:
        self._gateway = gateway
        self._paused: dict[str, SchedulesPaused] = {}
        self._batches: dict[str, Batch] = {}
        self.on_registered: Callable[[Manifest], None] = lambda manifest: None

    @property
    def by_operation(self) -> SharedHands:
        """The hands as a kind presents them."""
        return {
            REGISTER_NAMESPACE: self._register,
            PAUSE_SCHEDULES: self._pause,
            CLOSE_WORKFLOWS: self._close,
        }

    def closing_of(self, uid: str) -> tuple[SchedulesPaused | None, Batch | None]:
        """How far the closing of a Process's queue is."""
        return self._paused.get(uid), self._batches.get(uid)

    def forget(self, uid: str) -> None:
        """The Process has gone."""
        self._paused.pop(uid, None)
        self._batches.pop(uid, None)

    async def _register(self, manifest: Manifest, call: Call) -> bool:
        arguments = call.arguments
        try:
            done = await self._gateway.register_namespace(
                arguments["connection"], arguments["namespace"], arguments["description"]
            )
        except TemporalError as error:
            raise explained(error) from error
        self.on_registered(manifest)
        return done

    async def _pause(self, manifest: Manifest, call: Call) -> bool:
        note = f"{call.arguments['process']} is being deleted"
        try:
            paused = await pause_schedules(self._gateway, _target(call), note)
        except TemporalError as error:
            raise explained(error) from error
        self._paused[call.arguments["uid"]] = paused
        if paused.failed:
            names = ", ".join(f"{name} ({why})" for name, why in paused.failed)
            raise ExternalError(
                Reason.DeletionBlocked,
                f"Temporal Schedules could not be paused: {names}",
                remedy="pause or delete them by hand",
                retry_after=_RETRY_SECONDS,
            )
        return True

    async def _close(self, manifest: Manifest, call: Call) -> bool:
        operation = BatchOperation(call.arguments["policy"])
        reason = f"{call.arguments['process']} is being deleted"
        try:
            batch = await close_open(self._gateway, _target(call), operation, call.arguments["uid"], reason)
        except TemporalError as error:
            raise explained(error) from error
        self._batches[call.arguments["uid"]] = batch
        return False


def _target(call: Call) -> Target:
    return Target(call.arguments["connection"], call.arguments["namespace"], call.arguments["queue"])


def explained(error: TemporalError) -> ExternalError:
    """An error of Temporal's in the words of a status."""
    if isinstance(error, TemporalDenied):
        return ExternalError(Reason.TemporalDenied, str(error), remedy=error.remedy, retry_after=_RETRY_SECONDS)
    reason = Reason.TemporalUnreachable if isinstance(error, TemporalUnreachable) else Reason.ApplyFailed
    return ExternalError(reason, str(error), remedy=error.remedy, retry_after=_RETRY_SECONDS)
