"""The grants service's reference keeps to the published contract, in each answer that it can give."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from ameide_dev.grantsservice import GrantsService
from ameide_dev.grantsservice_app import FaultName
from ameide_dev.ports import Ports
from ameide_dev.webserver import WebServerError

DOCS = Path(__file__).resolve().parents[2] / "docs"
CONTRACT: dict[str, Any] = yaml.safe_load((DOCS / "grants-openapi.yaml").read_text("utf-8"))
SCHEMA = DOCS / "reference" / "grants.schema.json"
PATH = "/v1/tenants/t123/agents/sales.coder/grants"


def document(**changes: Any) -> dict[str, Any]:
    """The grants of the Agent that PATH names."""
    agent = {"namespace": "sales", "name": "coder", "tenantId": "t123"}
    empty: dict[str, Any] = {"tools": [], "pending": [], "credentials": {}}
    return {"version": "grants.ameide.io/v1", "agent": agent, "riskTier": "low", **empty} | changes


def ask(service: GrantsService, method: str, path: str = PATH, content: Any = None, **headers: str) -> httpx.Response:
    """A question by somebody who has the token; the answer, which the contract must know."""
    sent = {"Authorization": f"Bearer {service.token}"}
    if content is not None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent["Content-Type"] = "application/json"
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.request(method, service.url + path, headers=sent, content=content, timeout=5)
    _conforms(answer)
    return answer


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = CONTRACT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _conforms(answer: httpx.Response) -> None:
    """Fails unless the contract has this answer, with these headers and this kind of body."""
    (path, operations) = next(iter(CONTRACT["paths"].items()))
    if not re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), answer.request.url.raw_path.decode()):
        assert answer.status_code == 404
        return
    operation = operations.get(answer.request.method.lower())
    if operation is None:
        assert answer.status_code == 405
        return
    expected = _resolved(operation["responses"][str(answer.status_code)])
    for name, header in expected.get("headers", {}).items():
        assert name in answer.headers or not _resolved(header).get("required")
    kinds = expected.get("content", {})
    assert (answer.headers.get("content-type") in kinds) if kinds else not answer.content
    if "application/problem+json" in kinds:
        Draft202012Validator(CONTRACT["components"]["schemas"]["Problem"]).validate(answer.json())


def test_grants_are_put_read_replaced_and_taken_back(grants_service: GrantsService) -> None:
    assert ask(grants_service, "PUT", content=document()).status_code == 201
    assert grants_service.grants("t123", "sales", "coder") == document()
    again = ask(grants_service, "PUT", content=document())
    assert again.status_code == 204
    read = ask(grants_service, "GET")
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, document(), again.headers["etag"])
    assert ask(grants_service, "PUT", content=document(riskTier="high")).status_code == 204
    assert ask(grants_service, "GET").headers["etag"] != again.headers["etag"]
    assert grants_service.agents() == [("t123", "sales.coder")]
    assert [ask(grants_service, "DELETE").status_code for _ in range(2)] == [204, 204]
    assert ask(grants_service, "GET").status_code == 404
    assert grants_service.count("PUT") == 3
    assert grants_service.count("GET", status=404) == 1


def test_an_agent_without_a_tenant_has_a_path_too(grants_service: GrantsService) -> None:
    content = document(agent={"namespace": "sales", "name": "coder", "tenantId": ""})
    assert ask(grants_service, "PUT", PATH.replace("t123", "-"), content).status_code == 201
    assert grants_service.grants("", "sales", "coder") == content


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (document(), {"Digest": "sha256:00"}, 400),
        (document(version="grants.ameide.io/v2"), {}, 422),
        ([], {}, 422),
        (document(agent={"namespace": "sales", "name": "other", "tenantId": "t123"}), {}, 422),
        (document(agent={"namespace": "sales", "name": "coder", "tenantId": "t999"}), {}, 422),
        (document(), {"Content_Type": "text/plain"}, 415),
        (b" " * (1 << 20) + b"{}", {}, 413),
    ],
)
def test_what_is_wrong_is_refused(
    grants_service: GrantsService, content: Any, headers: dict[str, str], status: int
) -> None:
    assert ask(grants_service, "PUT", content=content, **headers).status_code == status
    assert grants_service.agents() == []


def test_the_digest_of_the_body_is_checked(grants_service: GrantsService) -> None:
    body = json.dumps(document()).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert ask(grants_service, "PUT", content=body, Digest=digest).status_code == 201


def test_documents_are_held_against_the_schema() -> None:
    with GrantsService("the-token", schema=SCHEMA) as service:
        assert ask(service, "PUT", content=document()).status_code == 201
        refused = ask(service, "PUT", content=document(tools=[{"kind": "domain"}]))
        assert refused.status_code == 422
        assert "/tools/0" in refused.json()["detail"]
        assert service.grants("t123", "sales", "coder") == document()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tenants/t123/agents/coder/grants",
        "/v1/tenants/t123/agents/a.b.c/grants",
        "/v1/tenants/../agents/a.b/grants",
        "/v1/tenants/t123/agents/sales.coder",
    ],
)
def test_there_is_nothing_at_other_paths(grants_service: GrantsService, path: str) -> None:
    answer = httpx.get(
        grants_service.url + path, headers={"Authorization": f"Bearer {grants_service.token}"}, timeout=5
    )
    assert answer.status_code == 404


def test_the_token_is_asked_for_and_may_change(grants_service: GrantsService) -> None:
    assert httpx.put(grants_service.url + PATH, json=document(), timeout=5).status_code == 401
    refused = ask(grants_service, "PUT", content=document(), Authorization="Bearer other")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    grants_service.token = "other"
    assert ask(grants_service, "PUT", content=document()).status_code == 201
    assert ask(grants_service, "POST", content=document()).status_code == 405


@pytest.mark.parametrize(
    ("name", "status"),
    [("unavailable", 503), ("error", 500), ("rate-limited", 429), ("unauthorized", 401), ("forbidden", 403)],
)
def test_faults_last_as_long_as_was_ordered(grants_service: GrantsService, name: FaultName, status: int) -> None:
    grants_service.fault(name, seconds=7, only="PUT", times=2)
    assert ask(grants_service, "GET").status_code == 404
    answers = [ask(grants_service, "PUT", content=document()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 201]
    assert answers[0].headers.get("retry-after") == ("7" if status in (429, 500, 503) else None)


def test_slow_answers_come_in_the_end(grants_service: GrantsService) -> None:
    grants_service.fault("slow", seconds=0.3)
    began = time.monotonic()
    assert ask(grants_service, "PUT", content=document()).status_code == 201
    assert time.monotonic() - began >= 0.3
    grants_service.fault(None)
    assert ask(grants_service, "GET").status_code == 200


def test_it_goes_down_and_comes_back_with_what_it_had(grants_service: GrantsService) -> None:
    ask(grants_service, "PUT", content=document())
    grants_service.stop()
    with pytest.raises(httpx.ConnectError):
        ask(grants_service, "GET")
    grants_service.start()
    assert ask(grants_service, "GET").json() == document()
    grants_service.forget()
    grants_service.clear_requests()
    assert ask(grants_service, "GET").status_code == 404
    assert [(one.method, one.path, one.status) for one in grants_service.requests()] == [("GET", PATH, 404)]


def test_a_port_that_is_taken_is_named(grants_service: GrantsService) -> None:
    with pytest.raises(WebServerError, match=f"port {grants_service.port} cannot be listened on"):
        GrantsService(port=grants_service.port).start()
    with pytest.raises(WebServerError, match="is served already"):
        grants_service.start()


def test_the_program_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("from-a-file\n")
    ports = Ports()
    port = ports.reserve()
    command = [sys.executable, "-m", "ameide_dev.grantsservice", f"--port={port}", f"--token-file={token_file}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == f"serving grants at http://127.0.0.1:{port}"
            url = f"http://127.0.0.1:{port}{PATH}"
            sent = {"Authorization": "Bearer from-a-file"}
            assert httpx.put(url, json=document(), headers=sent, timeout=5).status_code == 201
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
            ports.release()
    assert process.returncode == 0
