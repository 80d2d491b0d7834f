"""Agents as the tests on the local platform write them, the operator that they are for, and what is around it."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.testing.resources import Resources, merged
from ameide_dev.testing.subject import Subject
from ameide_dev.testing.waiting import until
from ameide_dev.transformation import TransformationServer

SUBJECT = Subject("agent")
TENANT = "t123"
RUNTIME = "ghcr.io/ameide/agent-langgraph:2.1.0"
"""Pods of this image are only played: Ready at once."""
STORE = "shared-store"
CHILD = "coder-agent"
"""The name of most children of the Agent that a test makes where it does not care for names."""

BASE: Mapping[str, Any] = {
    "version": "policy.ameide.io/v1",
    "onTightening": "KeepLast",
    "tools": [{"allow": ["domain/*/*", "process/*/*"]}],
    "tiers": {
        "low": {"availableTo": [{"tenants": ["*"]}]},
        "high": {
            "availableTo": [{"tenants": [TENANT]}],
            "onTightening": "Quarantine",
            "tools": [{"allow": ["agent/*/*", "primitive/code-runner"]}],
            "limits": {"maxParallelSessions": 50},
        },
    },
    "models": [{"allow": ["echo/*", "openai/*"]}],
    "providers": {
        "echo": {
            "address": "http://echo-model.models.svc:8080",
            "egress": [{"peers": [{"namespaceNames": ["models"]}], "ports": [8080]}],
        },
        "openai": {"credentials": ["openai"]},
    },
    "credentials": {
        "openai": {"remoteKey": "{namespace}/openai", "keys": [{"key": "api-key", "property": "apiKey"}]},
        "ledger": {
            "secretName": "{agent}-ledger",
            "keys": [{"key": "token", "env": "LEDGER_TOKEN"}],
            "delivery": "Env",
        },
    },
    "toolCredentials": [{"tools": ["domain/*/ledger"], "credentials": ["ledger"]}],
    "primitives": {
        "code-runner": {
            "address": "https://code-runner.tools.svc:8443",
            "egress": [{"peers": [{"namespaceNames": ["tools"]}], "ports": [8443]}],
        }
    },
    "roles": {"clerk": {"minTier": "low"}, "coder": {"minTier": "high"}},
    "secrets": [{"allow": ["*-flags"]}],
}
"""Agents of tier high are quarantined when the policy is tightened; those of tier low keep what they have."""


@dataclass
class Policy:
    """The policy's file. Tests share it, threads too, so each adds only rules for its own namespace."""

    file: Path
    rules: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def allow(self) -> None:
        """Back to the base."""
        self.rules.clear()
        self._write()

    def deny(self, namespace: str, *patterns: str) -> None:
        """Deny tools to the Agents of a namespace."""
        self.rules.setdefault(namespace, []).append({"namespaces": [namespace], "deny": list(patterns)})
        self._write()

    def forgive(self, namespace: str) -> None:
        """Take back what was denied to a namespace."""
        self.rules.pop(namespace, None)
        self._write()

    def text(self, text: str) -> None:
        """Write anything at all."""
        with self.lock:
            self._put(text)

    def _write(self) -> None:
        with self.lock:
            more = [rule for rules in list(self.rules.values()) for rule in rules]
            self._put(yaml.safe_dump({**BASE, "tools": [*BASE["tools"], *more]}))

    def _put(self, text: str) -> None:
        draft = self.file.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.file)


@dataclass(frozen=True, slots=True)
class Around:
    """What the operator knows besides the cluster: the Transformation API with its token, and the policy."""

    transformation: TransformationServer
    token_file: Path
    policy: Policy

    def settings(self) -> dict[str, str]:
        """`AMEIDE_*` variables."""
        return {
            "AMEIDE_TRANSFORMATION__URL": self.transformation.url,
            "AMEIDE_TRANSFORMATION__TOKEN_FILE": str(self.token_file),
            "AMEIDE_TRANSFORMATION__POLL_SECONDS": "1",
            "AMEIDE_POLICY__FILE": str(self.policy.file),
            "AMEIDE_POLICY__POLL_SECONDS": "0.3",
            "AMEIDE_SECRET_STORE__NAME": STORE,
        }


@contextmanager
def made_around(directory: Path) -> Iterator[Around]:
    """A Transformation API that asks for a token, and a policy's file."""
    token = secrets.token_urlsafe(24)
    token_file = directory / "token"
    token_file.write_text(token)
    policy = Policy(directory / "policy.yaml")
    policy.allow()
    with TransformationServer(token=token) as transformation:
        yield Around(transformation, token_file, policy)


class Agents(Resources):
    """Agents of one namespace; the least one has a definition of that namespace's own, and no tools."""

    kind = "Agent"
    name = "coder"
    spec = {  # noqa: RUF012 - never changed
        "image": RUNTIME,
        "resources": {"cpu": "50m", "memory": "64Mi"},
        "model": {"provider": "echo", "name": "parrot-1"},
        "riskTier": "low",
        "concurrency": {"maxParallelSessions": 5},
    }

    def __init__(self, kube: KubeClient, namespace: str, around: Around) -> None:
        super().__init__(kube, namespace)
        self.around = around

    @property
    def definition_id(self) -> str:
        """The id of the definition of this namespace's Agents."""
        return self.namespace

    def manifest(self, name: str | None = None, **spec: Any) -> dict[str, Any]:
        """A valid Agent; `spec` is merged over the least one."""
        own = {"definitionRef": {"id": self.definition_id, "tenantId": TENANT}}
        return super().manifest(name, **merged(own, spec))

    def publish(self, **definition: Any) -> int:
        """Publish the next version of the definition of this namespace's Agents; its number."""
        content = {"prompt": "Be brief.", **definition}
        return self.around.transformation.put("agent", TENANT, self.definition_id, content, version=None)

    def uses(self, *tools: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a spec that asks for these tools."""
        return {"tools": {"allowed": [dict(tool) for tool in tools]}}

    def tool(self, name: str, kind: str = "Domain", namespace: str | None = None, **annotations: str) -> None:
        """Make a Domain or Process that no operator looks after."""
        metadata = {"name": name, "namespace": namespace or self.namespace, "annotations": annotations}
        self.kube.create({"apiVersion": "ameide.io/v1", "kind": kind, "metadata": metadata, "spec": _SPECS[kind]})

    def pods(self, name: str | None = None, track: str = "stable") -> list[dict[str, Any]]:
        """The pods of an Agent that are not going."""
        selector = f"ameide.io/name={name or self.name},ameide.io/track={track}"
        found = self.kube.list("v1", "Pod", self.namespace, label_selector=selector)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def uids(self, name: str | None = None) -> set[str]:
        """What tells whether pods were replaced."""
        return {pod["metadata"]["uid"] for pod in self.pods(name)}

    def wait_rolled(self, before: set[str], timeout: float = 30) -> None:
        """Wait until other pods than those of these uids run, and none of those."""
        until("other pods", lambda: len(self.uids()) == len(before) and not self.uids() & before, timeout)

    def deployment(self, name: str | None = None) -> dict[str, Any]:
        """The live Deployment."""
        return self.kube.get("apps/v1", "Deployment", f"{name or self.name}-agent", self.namespace)

    def container(self, name: str | None = None) -> dict[str, Any]:
        """The runtime's container, as the Deployment has it."""
        container: dict[str, Any] = self.deployment(name)["spec"]["template"]["spec"]["containers"][0]
        return container

    def egress(self, name: str | None = None) -> list[dict[str, Any]]:
        """What the pods may reach."""
        policy = self.kube.get("networking.k8s.io/v1", "NetworkPolicy", f"{name or self.name}-agent", self.namespace)
        assert "Egress" in policy["spec"]["policyTypes"], "without this type, all is open"
        return list(policy["spec"].get("egress") or ())

    def grants(self, name: str | None = None) -> dict[str, Any]:
        """grants.json, as the pods of the Deployment are given it."""
        volumes = self.deployment(name)["spec"]["template"]["spec"]["volumes"]
        sources = next(each for each in volumes if each["name"] == "agent")["projected"]["sources"]
        maps = [each["configMap"]["name"] for each in sources if each["configMap"]["items"][0]["key"] == "grants.json"]
        held = self.kube.get("v1", "ConfigMap", maps[0], self.namespace)
        assert held["immutable"] is True
        grants: dict[str, Any] = json.loads(held["data"]["grants.json"])
        return grants

    def everything_of(self, operator: OperatorProcess) -> dict[str, str]:
        """Wherever people and programs without the right to read Secrets look, as text."""
        texts = {"log": operator.logs, "metrics": operator.metrics()}
        assert all(texts.values())
        for api_version, kind in _SEEN:
            texts[kind] = json.dumps(self.kube.list(api_version, kind, self.namespace))
        return texts

    def wait_event(self, reason: str) -> list[str]:
        """Wait for Events with a reason; their messages."""
        return until(f"an Event {reason}", lambda: self._events(reason))

    def _events(self, reason: str) -> list[str]:
        found = self.kube.list("v1", "Event", self.namespace)
        return [event.get("message") or event.get("note", "") for event in found if event.get("reason") == reason]


_SEEN = (
    ("ameide.io/v1", "Agent"),
    ("v1", "Event"),
    ("v1", "ConfigMap"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "ControllerRevision"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("external-secrets.io/v1", "ExternalSecret"),
)
_SPECS: Mapping[str, Mapping[str, Any]] = {
    "Domain": {"image": "ghcr.io/ameide/orders-domain:1.0.0"},
    "Process": {
        "image": "ghcr.io/ameide/l2o-process:1.0.0",
        "definitionRef": {"id": "l2o", "tenantId": TENANT},
        "temporal": {"namespace": "sales", "taskQueue": "l2o"},
    },
}


def environment(container: Mapping[str, Any]) -> dict[str, str | None]:
    """Variables of a container that have values of their own."""
    return {each["name"]: each.get("value") for each in container["env"]}


def reaches(egress: Iterable[Mapping[str, Any]], words: str) -> bool:
    """Whether a way has these words in it, such as the name of a namespace or of a primitive."""
    return any(words in json.dumps(way) for way in egress)
