"""Looks after all clients of an operator in the background, so that no reconcile waits for a slow or absent Keycloak.

At rest each client is looked at once per interval. While a connection is down, nobody asks for anything over it but
one probe per step of a growing delay, however many clients it has; when it is back, they are looked at within two
seconds. The watcher reads; writing is `ensure` and `delete`, which reconciles call.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from ameide_shared.kube.resources import ObjectKey
from uisurface_operator.keycloak.admin import RealmAdmin
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.errors import KeycloakError, KeycloakUnavailable
from uisurface_operator.keycloak.observation import Fault, Observation, Target
from uisurface_operator.keycloak.settings import KeycloakSettings

log = logging.getLogger(__name__)

OnChange = Callable[[frozenset[ObjectKey]], None]
Connect = Callable[[str], Connection]

_FIRST_STEP: Final = 0.5
_LAST_STEP: Final = {False: 2.0, True: 30.0}  # by whether it mends by itself: a server that is back is soon noticed
_RETURN_SECONDS: Final = 2.0
_AT_ONCE: Final = 4  # checks of one connection
_SHARE: Final = 0.9  # of an interval after which scopes are looked at anew: the checks of an interval are spread
_SPREAD: Final = random.Random()  # noqa: S311 - spreads work over time, keeps no secrets


class UnknownConnection(KeyError):  # noqa: N818 - named for what it is
    """Settings have no connection of that name."""


@dataclass(slots=True)
class _Entry:
    """One client of one resource."""

    target: Target
    due: float
    seen: Observation = field(default_factory=Observation)
    first: asyncio.Task[None] | None = None
    busy: bool = False  # a look is under way
    awaited: bool = False  # somebody waits for the first look, and need not be told
    writes: int = 0  # odd while one is under way

    @property
    def idle(self) -> bool:
        return not self.busy and self.writes % 2 == 0


@dataclass(slots=True)
class _Link:
    """One connection: what hangs on it, and whether it is down."""

    connection: Connection
    admin: RealmAdmin
    entries: dict[ObjectKey, _Entry] = field(default_factory=dict)
    fault: Fault | None = None
    step: float = 0.0
    probe_at: float = 0.0
    probed_at: float = float("-inf")
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))


class KeycloakWatcher:
    """All clients of one operator process. Create it within the event loop; `run` must run for it to look again.

    `on_change` is told which resources have something new to report; it must not wait.
    """

    def __init__(
        self,
        settings: KeycloakSettings,
        on_change: OnChange,
        *,
        connect: Connect | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._connect = connect or (lambda name: Connection(name, settings.connections[name]))
        self._clock = clock
        self._links: dict[str, _Link] = {}
        self._users: dict[ObjectKey, _Link] = {}
        self._new_link = asyncio.Event()

    # --- for reconciles ---------------------------------------------------------------------------------------------

    async def observe(self, target: Target, user: ObjectKey) -> Observation:
        """What is known of a client, from memory; the first time, and when the target has changed, after a look that
        takes no longer than the connection's timeout. From then on the client is looked at until `forget`.

        Raises UnknownConnection.
        """
        link, entry = self._entry(target, user)
        if entry.seen.checked_at is None and entry.idle and link.fault is None:
            entry.busy = True
            entry.first = asyncio.create_task(self._look(link, user, entry))
        if entry.first is not None:
            entry.awaited = True
            await asyncio.wait({entry.first}, timeout=link.connection.settings.timeout)
            entry.awaited = False
        return entry.seen

    async def ensure(self, target: Target, user: ObjectKey) -> bool:
        """Make the client as wanted; whether anything was written. Raises KeycloakError, at once while the connection
        is down, or UnknownConnection."""
        link, entry = self._entry(target, user)
        with self._writing(link, user, entry):
            made = await link.admin.ensure(target.client)
            entry.seen = Observation(True, (), made.id, made.secret, None, _now())
            self._set_due(link, entry, self._settings.check_seconds)
            if made.changes:
                log.info("Keycloak client %s: wrote %s", target.client.client_id, ", ".join(made.changes))
        return bool(made.changes)

    async def delete(self, target: Target, user: ObjectKey) -> bool:
        """Remove the client, and its scopes if it was their last; whether anything was there to remove.

        It is then forgotten. Raises KeycloakError, at once while the connection is down, or UnknownConnection.
        """
        link, entry = self._entry(target, user)
        spec = target.client
        with self._writing(link, user, entry):
            names = [scope.name for scope in (*spec.scopes, *spec.optional_scopes)]
            removed = await link.admin.delete(spec.client_id, spec.owner, names)
        self.forget(user)
        return removed

    def last(self, user: ObjectKey) -> Observation | None:
        """What was known last; None if the resource's client is not looked at."""
        link = self._users.get(user)
        return link.entries[user].seen if link is not None else None

    def forget(self, user: ObjectKey) -> None:
        """Look after the resource's client no longer."""
        link = self._users.pop(user, None)
        if link is not None:
            entry = link.entries.pop(user)
            if entry.first is not None:
                entry.first.cancel()

    def expedite(self, user: ObjectKey) -> None:
        """Look at the resource's client now; while its connection is down, probe that soon, however many ask for it."""
        link = self._users.get(user)
        if link is not None:
            link.entries[user].due = self._clock()
            link.probe_at = min(link.probe_at, link.probed_at + _FIRST_STEP)
            link.wake.set()

    # --- in the background ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after everything until cancelled."""
        following: dict[str, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    for name in self._links.keys() - following.keys():
                        following[name] = group.create_task(self._follow(self._links[name]))
                    self._new_link.clear()
                    await self._new_link.wait()
        finally:
            for link in self._links.values():
                await link.connection.close()

    async def _follow(self, link: _Link) -> None:
        """Probe a connection that is down; look at the clients of one that is not."""
        async with asyncio.TaskGroup() as group:
            while True:
                link.wake.clear()
                now = self._clock()
                if link.fault is not None:
                    if now >= link.probe_at:
                        await self._probe(link)
                        continue
                    wait = link.probe_at - now
                else:
                    for user, entry in link.entries.items():
                        if entry.due <= now and entry.idle:
                            entry.busy = True
                            group.create_task(self._look(link, user, entry))
                    coming = [entry.due for entry in link.entries.values() if entry.idle]
                    wait = max(0.0, min(coming) - now) if coming else self._settings.check_seconds
                try:
                    async with asyncio.timeout(wait):
                        await link.wake.wait()
                except TimeoutError:
                    continue

    async def _look(self, link: _Link, user: ObjectKey, entry: _Entry) -> None:
        """One check of one client; few at a time, and none over a connection that has gone down meanwhile."""
        before, writes = entry.seen.matters(), entry.writes
        try:
            async with link.slots:
                if link.fault is not None or link.entries.get(user) is not entry:
                    return
                # All that are seen for the first time, at a start, are then looked at one after the other.
                share = _SPREAD.uniform(0.5, 1.0) if entry.first is not None else 1.0
                self._set_due(link, entry, self._settings.check_seconds * share)
                found = await link.admin.check(entry.target.client)
                before = entry.seen.matters()  # meanwhile it may have been told that the connection is down
                if entry.writes == writes:  # else what was seen is older than what was done
                    entry.seen = Observation(found.exists, found.drift, found.id, found.secret, None, _now())
        except KeycloakError as error:
            before = entry.seen.matters()
            self._failed(link, entry, error, silent={user})
        except Exception:
            log.exception("looking at Keycloak client %s", entry.target.client.client_id)
        finally:
            entry.busy, entry.first = False, None
            self._set_next(entry)
            link.wake.set()
        if not entry.awaited and link.entries.get(user) is entry and entry.seen.matters() != before:
            self._tell({user})

    async def _probe(self, link: _Link) -> None:
        try:
            await link.connection.probe()
        except KeycloakError as error:
            self._take_down(link, error)
            return
        except Exception as error:
            log.exception("probing Keycloak connection %s", link.connection.name)
            self._take_down(link, KeycloakUnavailable(f"probing failed: {type(error).__name__}", "see the log"))
            return
        assert link.fault is not None, "only what is down is probed"
        log.info("Keycloak connection %s is back", link.connection.name)
        link.fault, link.step = None, 0.0
        now = self._clock()
        for entry in link.entries.values():
            entry.due = now + _SPREAD.uniform(0.0, _RETURN_SECONDS)
            self._set_next(entry)

    # --- what goes wrong --------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, link: _Link, user: ObjectKey, entry: _Entry) -> Iterator[None]:
        """Report what goes wrong with a write, and write nothing over a connection that is down."""
        if link.fault is not None:
            raise _as_error(link.fault)
        entry.writes += 1
        try:
            yield
        except KeycloakError as error:
            self._failed(link, entry, error, silent={user})
            raise
        finally:
            entry.writes += 1
            link.wake.set()

    def _failed(self, link: _Link, entry: _Entry, error: KeycloakError, silent: Collection[ObjectKey]) -> None:
        if error.for_all:
            if link.fault is None:  # others that were under way fail for the same reason
                self._take_down(link, error, silent)
            self._down(link, entry)
        else:
            entry.seen = replace(entry.seen, fault=_fault(error, entry.seen.fault), checked_at=_now())

    def _take_down(self, link: _Link, error: KeycloakError, silent: Collection[ObjectKey] = ()) -> None:
        """Nobody asks over the connection any more, until a probe succeeds; everybody on it is told, but `silent`."""
        if link.fault is None:
            log.warning("Keycloak connection %s: %s", link.connection.name, error.message)
        link.fault = _fault(error, link.fault)
        link.probed_at = self._clock()
        link.step = min(max(link.step * 2, _FIRST_STEP), _LAST_STEP[error.terminal])
        link.probe_at = self._clock() + link.step * _SPREAD.uniform(0.8, 1.2)
        told: set[ObjectKey] = set()
        for user, entry in link.entries.items():
            before = entry.seen.matters()
            self._down(link, entry)
            if entry.seen.matters() != before and user not in silent:
                told.add(user)
        link.wake.set()
        self._tell(told)

    def _down(self, link: _Link, entry: _Entry) -> None:
        next_at = _now(link.probe_at - self._clock())
        entry.seen = replace(entry.seen, fault=link.fault, next_at=next_at)

    def _tell(self, users: Collection[ObjectKey]) -> None:
        if users:
            self._on_change(frozenset(users))

    # --- small things -----------------------------------------------------------------------------------------------

    def _link(self, name: str) -> _Link:
        link = self._links.get(name)
        if link is None:
            if name not in self._settings.connections:
                raise UnknownConnection(name)
            connection = self._connect(name)
            scope_seconds = self._settings.check_seconds * _SHARE
            admin = RealmAdmin(connection, self._settings, scope_seconds=scope_seconds, clock=self._clock)
            link = self._links[name] = _Link(connection, admin)
            self._new_link.set()
        return link

    def _entry(self, target: Target, user: ObjectKey) -> tuple[_Link, _Entry]:
        """The entry of a resource for a target, made if need be."""
        link = self._link(target.connection)
        if self._users.get(user, link) is not link:
            self.forget(user)
        entry = link.entries.get(user)
        if entry is not None and entry.target == target:
            return link, entry
        seen = Observation()
        if entry is not None and entry.target.client.client_id == target.client.client_id:
            # It is not known to be as is wanted now.
            seen = replace(entry.seen, drift=entry.seen.drift or ("specification",), checked_at=None)
        due = self._clock() + self._settings.check_seconds * _SPREAD.uniform(0.5, 1.0)
        entry = link.entries[user] = _Entry(target, due, seen)
        self._users[user] = link
        if link.fault is not None:
            self._down(link, entry)
        link.wake.set()
        return link, entry

    def _set_due(self, link: _Link, entry: _Entry, seconds: float) -> None:
        entry.due = self._clock() + seconds
        self._set_next(entry)
        link.wake.set()

    def _set_next(self, entry: _Entry) -> None:
        entry.seen = replace(entry.seen, next_at=_now(max(0.0, entry.due - self._clock())))


def _now(later: float = 0.0) -> datetime:
    return datetime.fromtimestamp(time.time() + later, UTC)


def _fault(error: KeycloakError, former: Fault | None) -> Fault:
    since = former.since if former is not None and former.reason == error.reason else _now()
    return Fault(error.reason, error.message, error.remedy, since, error.terminal)


def _as_error(fault: Fault) -> KeycloakError:
    kinds = {kind.reason: kind for kind in KeycloakError.__subclasses__()}
    return kinds.get(fault.reason, KeycloakUnavailable)(fault.message, fault.remedy)
