"""What the Agent operator does in the grants service on behalf of a plan."""

from __future__ import annotations

from agent_operator.grantsservice import GrantsService
from agent_operator.plan.grants import PUBLISH_GRANTS, REVOKE_GRANTS
from ameide_shared.external import Hands as SharedHands
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call


class Hands:
    """Carries out Calls. Nothing is remembered: what was acknowledged stands in status."""

    def __init__(self, service: GrantsService) -> None:
        self._service = service

    @property
    def by_operation(self) -> SharedHands:
        """The hands as a kind presents them."""
        return {PUBLISH_GRANTS: self._publish, REVOKE_GRANTS: self._revoke}

    async def _publish(self, manifest: Manifest, call: Call) -> bool:
        told = call.arguments
        await self._service.publish(told["tenant"], told["namespace"], told["agent"], told["document"], told["digest"])
        return True

    async def _revoke(self, manifest: Manifest, call: Call) -> bool:
        told = call.arguments
        await self._service.revoke(told["tenant"], told["namespace"], told["agent"])
        return True
