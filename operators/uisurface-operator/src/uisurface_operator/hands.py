"""What the UISurface operator does in Keycloak on behalf of a plan."""

from __future__ import annotations

from collections.abc import Callable

from ameide_shared.external import ExternalError
from ameide_shared.external import Hands as SharedHands
from ameide_shared.kube.resources import Manifest, ObjectKey, key_of
from ameide_shared.plan import Call
from ameide_shared.reasons import Reason
from ameide_shared.spec import InvalidSpec
from uisurface_operator.keycloak.errors import KeycloakError
from uisurface_operator.keycloak.observation import Target
from uisurface_operator.keycloak.watcher import KeycloakWatcher, UnknownConnection
from uisurface_operator.plan.auth import DELETE_CLIENT, ENSURE_CLIENT, REASONS
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface
from uisurface_operator.target import target_of


class Hands:
    """Carries out Calls. `wake` is told of surfaces whose client has just been made: the plan then knows its secret."""

    def __init__(
        self, watcher: KeycloakWatcher, settings: UISurfaceSettings, wake: Callable[[ObjectKey], None]
    ) -> None:
        self._watcher = watcher
        self._settings = settings
        self._wake = wake

    @property
    def by_operation(self) -> SharedHands:
        """The hands as a kind presents them."""
        return {ENSURE_CLIENT: self._ensure, DELETE_CLIENT: self._delete}

    async def _ensure(self, manifest: Manifest, call: Call) -> bool:
        key = key_of(manifest)
        try:
            changed = await self._watcher.ensure(self._target(manifest), key)
        except (KeycloakError, UnknownConnection) as error:
            raise _external(error) from error
        self._wake(key)
        return changed

    async def _delete(self, manifest: Manifest, call: Call) -> bool:
        try:
            return await self._watcher.delete(self._target(manifest), key_of(manifest))
        except (KeycloakError, UnknownConnection) as error:
            raise _external(error) from error

    def _target(self, manifest: Manifest) -> Target:
        try:
            return target_of(UISurface.parse(manifest), self._settings)
        except InvalidSpec as error:  # a plan asks nothing for such a one
            raise ExternalError(Reason.InvalidSpec, str(error), terminal=True) from error


def _external(error: KeycloakError | UnknownConnection) -> ExternalError:
    if isinstance(error, UnknownConnection):
        message = f"the operator's settings have no Keycloak connection {error.args[0]!r}"
        return ExternalError(Reason.KeycloakConnectionUnknown, message, terminal=True)
    return ExternalError(REASONS[error.reason], error.message, remedy=error.remedy, terminal=error.terminal)
