"""The client scopes of a realm: those that are ours are made with their roles, looked after, and go with their last
client.

A scope without a role mapping goes to every user, so one is never attached before its role is mapped. Scopes are
shared by clients, and so is what is known of them: one listing, and one GET for each scope of ours, per interval.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

from uisurface_operator.keycloak.connection import Connection, Raced
from uisurface_operator.keycloak.diff import diff_scope
from uisurface_operator.keycloak.errors import NotOurs
from uisurface_operator.keycloak.model import (
    OWNER,
    LiveScope,
    Representation,
    RuleSettings,
    ScopeSpec,
    may_attach,
    may_back,
    role_owner,
)
from uisurface_operator.keycloak.operations import CreateScope, MapRole, ScopeOperation, UnmapRoles, UpdateScope

FRESH_SECONDS: Final = 5.0
"""How old what is known of scopes may be when something is written."""
_PAGE: Final = 200


class Scopes:
    """The scopes of one connection's realm. Writers take turns: `ensure` and `collect` are called by one at a time."""

    def __init__(
        self, connection: Connection, rules: RuleSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._clock = clock
        self._looking = asyncio.Lock()
        self._known: dict[str, LiveScope] = {}
        self._listed_at = float("-inf")
        self._mapped_at: dict[str, float] = {}  # by id

    async def drift(self, scope: ScopeSpec, max_age: float) -> tuple[str, ...]:
        """What is not as it should be with a scope of ours, as it was at most `max_age` seconds ago."""
        live = await self._find(scope.name, max_age)
        return tuple(what for step in diff_scope(scope, self._rules, live) for what in step.fields)

    async def ensure(self, scope: ScopeSpec) -> tuple[str, ...]:
        """Make a scope of ours as it should be; what was changed. Raises Raced or KeycloakError."""
        changes: list[str] = []
        for step in diff_scope(scope, self._rules, await self._find(scope.name, FRESH_SECONDS)):
            await self._do(step)
            changes += step.fields
        return tuple(changes)

    async def ids(self) -> dict[str, str]:
        """The ids of all scopes of the realm by name."""
        await self._list(FRESH_SECONDS)
        return {name: scope.id for name, scope in self._known.items()}

    def doubt(self) -> None:
        """Believe nothing that was known: somebody else changes scopes too."""
        self._listed_at = float("-inf")
        self._mapped_at.clear()

    async def collect(self, names: Collection[str]) -> bool:
        """Remove those scopes that are ours and that no client has any more, with their roles; whether any was."""
        rules = self._rules
        candidates = {name for name in names if name not in rules.base_scopes and not may_attach(rules, name)}
        if not candidates:
            return False
        await self._list(0.0)
        candidates -= {name for name in candidates & self._known.keys() if self._known[name].owner != rules.cluster_id}
        if candidates & self._known.keys():
            candidates -= await self._used()
        removed = False
        for name in sorted(candidates):
            if name in self._known:
                removed |= await self._remove("client-scopes", self._known.pop(name).id)
            if not rules.retain_roles:
                role = await self._connection.get("roles", name)
                if role is not None and role_owner(role) == rules.cluster_id:
                    removed |= await self._remove("roles", name)
        return removed

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _list(self, max_age: float) -> None:
        async with self._looking:
            at = self._clock()
            if at - self._listed_at < max_age:
                return
            found: Collection[Representation] = await self._connection.get("client-scopes") or ()
            before = {scope.id: scope.roles for scope in self._known.values()}
            self._known = {
                str(item["name"]): LiveScope(str(item["id"]), item, before.get(str(item["id"]))) for item in found
            }
            self._listed_at = at

    async def _find(self, name: str, max_age: float) -> LiveScope | None:
        """A scope; if it is ours, with its roles. Neither is known for longer than `max_age` seconds."""
        await self._list(max_age)
        async with self._looking:
            live = self._known.get(name)
            if live is None or live.owner != self._rules.cluster_id:
                return live
            at = self._clock()
            if live.roles is None or at - self._mapped_at.get(live.id, float("-inf")) >= max_age:
                found = await self._connection.get("client-scopes", live.id, "scope-mappings", "realm") or ()
                live = replace(live, roles={str(role["name"]): str(role["id"]) for role in found})
                self._known[name] = live
                self._mapped_at[live.id] = at
            return live

    async def _used(self) -> set[str]:
        """The names of all scopes that clients of the realm have."""
        used: set[str] = set()
        first = 0
        while True:
            page = await self._connection.get("clients", first=first, max=_PAGE) or ()
            for client in page:
                used.update(client.get("defaultClientScopes") or (), client.get("optionalClientScopes") or ())
            if len(page) < _PAGE:
                return used
            first += _PAGE

    # --- writing ----------------------------------------------------------------------------------------------------

    async def _do(self, step: ScopeOperation) -> None:
        match step:
            case CreateScope(scope, body):
                # The role first: if it is somebody else's, no scope shall be left behind.
                role = await self._role(scope)
                answer = await self._connection.send("POST", "client-scopes", body=body)
                identifier = str(answer.headers["location"].rsplit("/", 1)[1])
                self._remember(LiveScope(identifier, body, {}))
                await self._map(identifier, role)
                self._remember(LiveScope(identifier, body, {role["name"]: role["id"]}))
            case MapRole(identifier, scope):
                role = await self._role(scope)
                await self._map(identifier, role)
                live = self._known[scope.name]
                self._remember(replace(live, roles={**(live.roles or {}), role["name"]: role["id"]}))
            case UnmapRoles(identifier, name, roles):
                surplus = [{"id": role_id, "name": role_name} for role_name, role_id in roles.items()]
                await self._connection.send(
                    "DELETE", "client-scopes", identifier, "scope-mappings", "realm", body=surplus
                )
                live = self._known[name]
                kept = {key: value for key, value in (live.roles or {}).items() if key not in roles}
                self._remember(replace(live, roles=kept))
            case UpdateScope(identifier, body):
                await self._connection.send("PUT", "client-scopes", identifier, body=body)
                self._remember(replace(self._known[str(body["name"])], representation=body))

    def _remember(self, scope: LiveScope) -> None:
        self._known[str(scope.representation["name"])] = scope
        self._mapped_at[scope.id] = self._clock()

    async def _map(self, scope: str, role: dict[str, str]) -> None:
        await self._connection.send("POST", "client-scopes", scope, "scope-mappings", "realm", body=[role])

    async def _role(self, scope: ScopeSpec) -> dict[str, str]:
        """The realm role behind a scope, made if it is not there; its id and name."""
        found: Any = await self._connection.get("roles", scope.name)
        if found is None:
            body = {
                "name": scope.name,
                "description": f"Whoever has it gets the scope {scope.name}",
                "attributes": {OWNER: [self._rules.cluster_id]},
            }
            await self._connection.send("POST", "roles", body=body)
            found = await self._connection.get("roles", scope.name)
            if found is None:
                raise Raced(f"role {scope.name}")
        elif role_owner(found) != self._rules.cluster_id and not may_back(self._rules, scope.name):
            raise NotOurs(
                f"realm role {scope.name} exists in Keycloak without our marker, and is not used for the scope of "
                "the same name",
                "ask for another scope, have the operator's settings list the role (keycloak.existingRoles), or set "
                f"its attribute {OWNER} to {self._rules.cluster_id!r}",
                role_owner(found),
            )
        return {"id": str(found["id"]), "name": scope.name}

    async def _remove(self, *path: str) -> bool:
        try:
            await self._connection.send("DELETE", *path)
        except Raced:
            return False  # gone already
        return True
