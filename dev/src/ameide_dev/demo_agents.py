"""The demo's Agents: the policy that they are held to, their definition, and sessions in which one uses its tool."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from ameide_dev.demo_domains import EXAMPLES, DemoError
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.transformation import TransformationServer

DEFINITION = "order-desk"
_SESSION_SECONDS = 20.0


def policy_text() -> str:
    """The policy of the examples, as the chart takes it."""
    return str(yaml.safe_load((EXAMPLES / "20-agent-policy.yaml").read_text())["data"]["policy.yaml"])


def fill_store(store: ExternalSecrets, tenant: str) -> None:
    """Put the key of the model, made up for this run, where the policy says that it is."""
    store.put(f"ameide/{tenant}/echo", secrets.token_urlsafe(24))


def publish(transformation: TransformationServer, tenant: str) -> None:
    """Publish the definition of the examples' Agents."""
    definition = json.loads((EXAMPLES / "definitions" / f"{DEFINITION}.json").read_text())
    transformation.put("agent", tenant, DEFINITION, definition)


@dataclass(frozen=True, slots=True)
class Session:
    """What was said to the Agent, what it answered, and the calls of tools that it was refused."""

    said: str
    answer: str
    refusals: tuple[Mapping[str, Any], ...]


def sessions(address: tuple[str, int], order: str) -> list[Session]:
    """Have the Agent use the tool that it is granted, and ask it for what it is not.

    The first answer must name `order`, the others must be refusals. Raises DemoError, httpx.HTTPError.
    """
    granted = _session(address, "call domain/orders ListOrders")
    if order not in granted.answer or granted.refusals:
        raise DemoError(f"the Agent should have listed order {order}, but said {granted.answer!r}")
    refused = [
        _session(address, f'call domain/orders DeleteOrder {{"id": "{order}"}}'),
        _session(address, "call domain/catalog GET /items"),
    ]
    for each in refused:
        if not each.refusals:
            raise DemoError(f"the Agent should have been refused {each.said!r}, but said {each.answer!r}")
    return [granted, *refused]


def _session(address: tuple[str, int], said: str) -> Session:
    url = f"http://{address[0]}:{address[1]}/v1/sessions"
    # trust_env: a proxy of this machine knows nothing of its loopback addresses.
    answer = httpx.post(url, json={"input": said}, timeout=_SESSION_SECONDS, trust_env=False)
    answer.raise_for_status()
    told = answer.json()
    return Session(said, str(told["output"]), tuple(told["refusals"]))
