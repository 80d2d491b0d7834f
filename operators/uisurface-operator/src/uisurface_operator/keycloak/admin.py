"""Bring clients of a realm to what surfaces want, with few requests, and take them away again.

At rest a check is one GET for the client, and what `Scopes` asks for all clients together.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ameide_shared.logging import register_secret
from uisurface_operator.keycloak.connection import Connection, Raced
from uisurface_operator.keycloak.diff import diff_client, own_scopes
from uisurface_operator.keycloak.errors import KeycloakUnavailable, ScopeNotFound
from uisurface_operator.keycloak.model import ClientSpec, LiveClient, RuleSettings
from uisurface_operator.keycloak.operations import (
    AttachScope,
    ClientOperation,
    CreateClient,
    DetachScope,
    RemoveMapper,
    RotateSecret,
    UpdateClient,
    WriteMapper,
)
from uisurface_operator.keycloak.scopes import Scopes

_PASSES: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """How a client and its scopes are. `drift` names what differs from what is wanted; empty: nothing does."""

    exists: bool
    drift: tuple[str, ...]
    id: str = ""
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ensured:
    """A client that is as wanted. `changes` names what was written; empty: nothing."""

    id: str
    secret: str | None = field(repr=False)
    changes: tuple[str, ...]


class RealmAdmin:
    """Looks after the clients of one connection. `scope_seconds`: how long a look at the scopes is good for checks."""

    def __init__(
        self,
        connection: Connection,
        rules: RuleSettings,
        *,
        scope_seconds: float = 54.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._scope_seconds = scope_seconds
        self._scopes = Scopes(connection, rules, clock=clock)
        # Scopes have many users: one at a time makes, changes or removes them.
        self._writing = asyncio.Lock()

    async def check(self, spec: ClientSpec) -> Check:
        """Look, and change nothing. Raises KeycloakError."""
        live = await self._client(spec.client_id)
        drift = [what for operation in diff_client(spec, self._rules, live) for what in operation.fields]
        if live is not None:  # while there is no client, its scopes are nobody's concern
            for scope in own_scopes(spec, self._rules):
                drift += await self._scopes.drift(scope, self._scope_seconds)
        return Check(live is not None, tuple(drift), live.id if live else "", live.secret if live else None)

    async def ensure(self, spec: ClientSpec) -> Ensured:
        """Make the client and its scopes as wanted; safe to do again at any point. Raises KeycloakError."""
        changes: list[str] = []  # of all passes: what was done before somebody interfered was done
        for _ in range(_PASSES):
            try:
                async with self._writing:
                    identifier, secret = await self._pass(spec, changes)
            except Raced:
                self._scopes.doubt()
                continue
            return Ensured(identifier, secret, tuple(dict.fromkeys(changes)))
        raise KeycloakUnavailable(
            f"client {spec.client_id} or its scopes are being changed in Keycloak by somebody else all the time",
            "see the realm's admin events for who does it",
        )

    async def delete(self, client_id: str, owner: str, scopes: Iterable[str] = ()) -> bool:
        """Remove a client if it bears the marker `owner`, and those of its scopes, and of `scopes`, that are ours and
        that no other client has. Whether anything was there to remove. Raises KeycloakError."""
        async with self._writing:
            live = await self._client(client_id)
            names, removed = set(scopes), False
            if live is not None and live.owner == owner:
                found = live.representation
                names.update(found.get("defaultClientScopes") or (), found.get("optionalClientScopes") or ())
                try:
                    await self._connection.send("DELETE", "clients", live.id)
                    removed = True
                except Raced:
                    removed = False  # somebody else was quicker
            return await self._scopes.collect(names) or removed

    async def _pass(self, spec: ClientSpec, changes: list[str]) -> tuple[str, str | None]:
        live = await self._client(spec.client_id)
        operations = diff_client(spec, self._rules, live)  # refuses a foreign client before anything is made
        await self._require_scopes(spec, operations)
        for scope in own_scopes(spec, self._rules):
            changes += await self._scopes.ensure(scope)
        identifier, secret = (live.id, live.secret) if live else ("", None)
        for operation in operations:
            identifier, secret = await self._do(operation, identifier, secret, spec.confidential)
            changes += operation.fields
        await self._scopes.collect({operation.name for operation in operations if isinstance(operation, DetachScope)})
        return identifier, secret if spec.confidential else None

    async def _client(self, client_id: str) -> LiveClient | None:
        found = await self._connection.get("clients", clientId=client_id)
        for representation in found or ():
            if representation.get("clientId") == client_id:
                live = LiveClient(str(representation["id"]), representation)
                if live.secret:
                    register_secret(live.secret)
                return live
        return None

    async def _do(
        self, operation: ClientOperation, client: str, secret: str | None, confidential: bool
    ) -> tuple[str, str | None]:
        """Do one operation; the client's id and secret after it."""
        send = self._connection.send
        match operation:
            case CreateClient(body):
                secret = _new_secret() if confidential else None
                answer = await send("POST", "clients", body={**body, "secret": secret} if secret else body)
                client = str(answer.headers["location"].rsplit("/", 1)[1])
            case UpdateClient(body):
                if confidential and "publicClient" in body:  # it has none, and would get one that we do not know
                    secret = _new_secret()
                    body = {**body, "secret": secret}
                await send("PUT", "clients", client, body=body)
            case RotateSecret():
                secret = str((await send("POST", "clients", client, "client-secret")).json()["value"])
                register_secret(secret)
            case AttachScope(name, optional):
                identifier = (await self._scopes.ids()).get(name)
                if identifier is None:
                    raise Raced(f"scope {name}")
                await send("PUT", "clients", client, _kind(optional), identifier)
            case DetachScope(name, optional):
                identifier = (await self._scopes.ids()).get(name)
                if identifier:  # else it has gone with all that it was attached to
                    await send("DELETE", "clients", client, _kind(optional), identifier)
            case WriteMapper(body, mapper):
                way = ("PUT", mapper) if mapper else ("POST",)
                await send(way[0], "clients", client, "protocol-mappers", "models", *way[1:], body=body)
            case RemoveMapper(mapper):
                await send("DELETE", "clients", client, "protocol-mappers", "models", mapper)
        return client, secret

    async def _require_scopes(self, spec: ClientSpec, operations: Iterable[ClientOperation]) -> None:
        """Scopes that are not ours must exist: Keycloak passes silently over those that it does not have."""
        names: set[str] = set()
        for operation in operations:
            if isinstance(operation, CreateClient):
                names.update(operation.body["defaultClientScopes"], operation.body["optionalClientScopes"])
            elif isinstance(operation, AttachScope):
                names.add(operation.name)
        names -= {scope.name for scope in own_scopes(spec, self._rules)}
        missing = sorted(names - (await self._scopes.ids()).keys()) if names else []
        if missing:
            what = "base" if missing[0] in self._rules.base_scopes else "existing"
            raise ScopeNotFound(
                f"realm {self._connection.settings.realm} has no client scope {', '.join(missing)}",
                f"create it there, or take it out of the operator's settings (keycloak.{what}Scopes)",
            )


def _kind(optional: bool) -> str:
    return "optional-client-scopes" if optional else "default-client-scopes"


def _new_secret() -> str:
    secret = secrets.token_urlsafe(32)
    register_secret(secret)
    return secret
