"""Reads `grants.json`: what this Agent may use, and where. What it does not say is not granted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

VERSION: Final = "grants.ameide.io/v1"
KINDS: Final = ("domain", "process", "agent", "primitive")


class GrantsError(ValueError):
    """The document is none of grants; the message names the field and what was expected there."""


@dataclass(frozen=True, slots=True)
class ToolKey:
    """A tool; `namespace` is empty for primitives."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True)
class ToolGrant:
    """A tool that may be used: its address by protocol, patterns of operations, credentials by name."""

    key: ToolKey
    address: Mapping[str, str]
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    credentials: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether everything may be done with it, whatever its name."""
        return "*" in self.allow and not self.deny

    def permits(self, operation: str) -> bool:
        """Whether an operation may be called."""
        return any(_matches(one, operation) for one in self.allow) and not any(
            _matches(one, operation) for one in self.deny
        )


@dataclass(frozen=True, slots=True)
class ModelGrant:
    """The model that may be used."""

    provider: str
    name: str
    address: str
    credentials: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """Where one value of a credential is: in a file, or in a variable."""

    key: str
    file: str
    env: str


@dataclass(frozen=True, slots=True)
class Grants:
    """The whole document. `model` is None for an Agent from which all has been taken."""

    namespace: str
    name: str
    tenant: str
    risk_tier: str
    model: ModelGrant | None
    tools: Mapping[ToolKey, ToolGrant]
    pending: frozenset[ToolKey]
    credentials: Mapping[str, tuple[Value, ...]]


def parse(text: str) -> Grants:
    """Read a document. Raises GrantsError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise GrantsError(f"it is no JSON: {error}") from None
    top = _object(data, "it")
    if top.get("version") != VERSION:
        raise GrantsError(f"version is {top.get('version')!r}, and this runtime reads {VERSION!r}")
    agent = _object(top.get("agent"), "agent")
    tools = [
        _tool(_object(each, f"tools[{index}]"), f"tools[{index}]")
        for index, each in enumerate(_list(top.get("tools"), "tools"))
    ]
    credentials = _object(top.get("credentials"), "credentials")
    return Grants(
        namespace=_text(agent, "namespace", "agent"),
        name=_text(agent, "name", "agent"),
        tenant=_text(agent, "tenantId", "agent", empty=True),
        risk_tier=_text(top, "riskTier", ""),
        model=None if top.get("model") is None else _model(_object(top["model"], "model")),
        tools={tool.key: tool for tool in tools},
        pending=frozenset(
            _key(_object(each, f"pending[{index}]"), f"pending[{index}]")
            for index, each in enumerate(_list(top.get("pending"), "pending"))
        ),
        credentials={name: _values(each, f"credentials.{name}") for name, each in credentials.items()},
    )


def tool_key(text: str, own_namespace: str) -> ToolKey | None:
    """The tool that `domain/orders`, `domain/shop/orders` or `primitive/name` means; None for anything else."""
    kind, *parts = text.strip().split("/")
    if kind not in KINDS or not all(parts):
        return None
    if kind == "primitive":
        return ToolKey(kind, "", parts[0]) if len(parts) == 1 else None
    if len(parts) == 1:
        return ToolKey(kind, own_namespace, parts[0])
    return ToolKey(kind, parts[0], parts[1]) if len(parts) == 2 else None


def _model(data: Mapping[str, Any]) -> ModelGrant:
    return ModelGrant(
        provider=_text(data, "provider", "model"),
        name=_text(data, "name", "model"),
        address="" if data.get("address") is None else _text(data, "address", "model").rstrip("/"),
        credentials=_texts(data.get("credentials", []), "model.credentials"),
    )


def _tool(data: Mapping[str, Any], field: str) -> ToolGrant:
    operations = _object(data.get("operations"), f"{field}.operations")
    address = _object(data.get("address"), f"{field}.address")
    return ToolGrant(
        key=_key(data, field),
        address={protocol: _text(address, protocol, f"{field}.address") for protocol in address},
        allow=_texts(operations.get("allow"), f"{field}.operations.allow"),
        deny=_texts(operations.get("deny", []), f"{field}.operations.deny"),
        credentials=_texts(data.get("credentials", []), f"{field}.credentials"),
    )


def _key(data: Mapping[str, Any], field: str) -> ToolKey:
    kind = _text(data, "kind", field)
    if kind not in KINDS:
        raise GrantsError(f"{field}.kind is {kind!r}, and there are {', '.join(KINDS)}")
    return ToolKey(kind, "" if kind == "primitive" else _text(data, "namespace", field), _text(data, "name", field))


def _values(data: Any, field: str) -> tuple[Value, ...]:
    values = []
    for index, each in enumerate(_list(_object(data, field).get("values"), f"{field}.values")):
        here = f"{field}.values[{index}]"
        one = _object(each, here)
        file, env = one.get("file"), one.get("env")
        if (file is None) == (env is None) or not isinstance(file or env, str):
            raise GrantsError(f"{here} must have either file or env, as text")
        values.append(Value(_text(one, "key", here), file or "", env or ""))
    return tuple(values)


def _object(data: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise GrantsError(f"{field} must be an object")
    return data


def _list(data: Any, field: str) -> list[Any]:
    if not isinstance(data, list):
        raise GrantsError(f"{field} must be a list")
    return data


def _texts(data: Any, field: str) -> tuple[str, ...]:
    found = _list(data, field)
    if not all(isinstance(each, str) for each in found):
        raise GrantsError(f"{field} must be a list of texts")
    return tuple(found)


def _text(data: Mapping[str, Any], name: str, field: str, *, empty: bool = False) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not (value or empty):
        raise GrantsError(f"{field}{'.' if field else ''}{name} must be a text{'' if empty else ' that is not empty'}")
    return value


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(each) or re.escape(each) for each in pattern), re.DOTALL)


def _matches(pattern: str, operation: str) -> bool:
    return _compiled(pattern).fullmatch(operation) is not None
