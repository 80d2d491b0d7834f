"""The central grants service: told before anybody relies on it, told again after an outage, and asked to forget."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from agents import Agents, Around

from ameide_dev.client import KubeClient
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

TOKEN = "a-token-for-the-grants-service"
FINALIZER = "agent.ameide.io/finalizer"


class Service:
    """A grants service in this process: what it knows, by path, and what it was asked. `answer`: 0 is to be well."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.answer = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
                if self._refused() or digest != self.headers["Digest"]:
                    return self._say(service.answer or 400)
                service.known[self.path] = body
                return self._say(204)

            def do_DELETE(self) -> None:
                if self._refused():
                    return self._say(service.answer or 401)
                found = service.known.pop(self.path, None)
                return self._say(404 if found is None else 204)

            def _refused(self) -> bool:
                service.asked.append(f"{self.command} {self.path}")
                return bool(service.answer) or self.headers["Authorization"] != f"Bearer {TOKEN}"

            def _say(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is written to the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture
def told(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    service: Service,
    tmp_path: Path,
) -> Agents:
    """Agents whose operator tells the service."""
    agents = Agents(kube, make_namespace("own-told"), around)
    agents.publish()
    token = tmp_path / "grants-token"
    token.write_text(TOKEN)
    start_operator(
        agents.namespace,
        **{
            **around.settings(),
            "AMEIDE_GRANTS_SERVICE__URL": service.url,
            "AMEIDE_GRANTS_SERVICE__TOKEN_FILE": str(token),
            "AMEIDE_GRANTS_SERVICE__TIMEOUT": "2",
            "AMEIDE_DELETION_TIMEOUT": "8",
        },
    )
    return agents


def path(agents: Agents) -> str:
    return f"/v1/tenants/t123/agents/{agents.namespace}.coder/grants"


def test_service_knows_what_pods_hold_until_the_agent_goes(told: Agents, service: Service) -> None:
    told.create(**told.uses({"domain": "orders"}))
    agent = told.ready()
    assert FINALIZER in agent["metadata"]["finalizers"]
    assert agent["status"]["grants"]["published"] == agent["status"]["grants"]["digest"]
    assert json.loads(service.known[path(told)]) == told.grants()
    told.tool("orders")
    until("it is told of the tool", lambda: len(json.loads(service.known[path(told)])["tools"]) == 1)
    told.ready()
    count = len(service.asked)
    told.annotate(reconcile_at="now")
    told.patch(podAnnotations={"example.org/colour": "red"})
    told.ready()
    assert len(service.asked) == count  # what it has acknowledged is not told again
    told.delete(wait=20)
    assert service.known == {}
    assert service.asked[-1] == f"DELETE {path(told)}"


def test_quarantine_is_told_before_pods_go(told: Agents, service: Service) -> None:
    told.tool("orders")
    told.create(riskTier="high", **told.uses({"domain": "orders"}))
    told.ready()
    told.around.policy.deny(told.namespace, "domain/*/orders")
    try:
        told.until("Ready", "False", reason="Quarantined", timeout=10)
        until("it is told", lambda: json.loads(service.known[path(told)])["tools"] == [])
    finally:
        told.around.policy.forgive(told.namespace)


@pytest.mark.parametrize(("answer", "reason"), [(503, "GrantsServiceUnavailable"), (403, "GrantsServiceRefused")])
def test_outage_stops_nothing_and_is_made_up_for(told: Agents, service: Service, answer: int, reason: str) -> None:
    """The Agent runs, and says that the service does not know; after the outage it is told."""
    service.answer = answer
    told.create()
    told.until("GrantsReady", "False", reason=reason)
    told.until("WorkloadReady")
    assert told.condition("Ready")["reason"] == reason
    service.answer = 0
    told.annotate(reconcile_at="now")
    told.ready(timeout=90)
    assert path(told) in service.known


def test_deletion_does_not_hang_on_a_service_that_is_away(told: Agents, service: Service) -> None:
    told.create()
    told.ready()
    service.answer = 503
    told.delete()
    told.until("Ready", "False", reason="GrantsServiceUnavailable")
    until("the pods have gone first", lambda: not told.pods())
    told.wait_gone(timeout=40)
    (message,) = told.wait_event("GrantsLeftBehind")
    assert told.namespace in message
