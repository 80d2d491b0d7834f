"""The Transformation API's stand-in keeps to the published contract, in each answer that it can give."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from ameide_dev.transformation import TransformationServer
from ameide_dev.transformation_app import FaultName
from ameide_dev.webserver import WebServerError

CONTRACT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "docs" / "reference" / "transformation-openapi.yaml").read_text("utf-8")
)
TOKEN = "the-token"
L2O = "/v1/tenants/t123/process-definitions/L2O_v3"
CODER = "/v1/tenants/t123/agent-definitions/coder"


@pytest.fixture
def server() -> Iterator[TransformationServer]:
    with TransformationServer(token=TOKEN) as server:
        server.put("process", "t123", "L2O_v3", {"$type": "bpmn:Definitions"})
        server.put("agent", "t123", "coder", {"graph": {}})
        yield server


def get(server: TransformationServer, path: str, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(server.url + path, headers=sent, timeout=5)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference within the contract leads to; anything else is itself."""
    if "$ref" not in node:
        return node
    found: Any = CONTRACT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def conforms(response: httpx.Response) -> bool:
    """Fails unless the contract has this answer at this path, with these headers and this body."""
    path = response.request.url.raw_path.decode().partition("?")[0]
    (template,) = [
        template for template in CONTRACT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    promised = resolved(CONTRACT["paths"][template]["get"]["responses"][str(response.status_code)])
    for name, reference in promised.get("headers", {}).items():
        header = resolved(reference)
        assert name in response.headers or not header.get("required"), f"{name} is missing"
        if name in response.headers:
            Draft202012Validator(header["schema"]).validate(response.headers[name])
    if "content" not in promised:
        assert response.content == b""
        return True
    media = response.headers["content-type"].partition(";")[0]
    schema = {**promised["content"][media]["schema"], "components": CONTRACT["components"]}
    Draft202012Validator(schema).validate(response.json())
    return True


@pytest.mark.parametrize("path", [L2O, CODER])
def test_a_definition_is_sent_as_promised(server: TransformationServer, path: str) -> None:
    response = get(server, path)
    assert response.status_code == 200
    assert conforms(response)
    body = response.json()
    assert (body["tenantId"], body["version"]) == ("t123", 1)
    assert path.endswith(body["id"])


def test_a_condition_is_kept(server: TransformationServer) -> None:
    tag = get(server, L2O).headers["etag"]
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        response = get(server, L2O, If_None_Match=condition)
        assert response.status_code == 304
        assert conforms(response)
    server.put("process", "t123", "L2O_v3", {"changed": True})
    changed = get(server, L2O, If_None_Match=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_versions_can_be_asked_for(server: TransformationServer) -> None:
    assert server.put("process", "t123", "L2O_v3", {"changed": True}) == 2
    assert get(server, L2O).json()["version"] == 2
    assert get(server, f"{L2O}?version=1").json()["definition"] == {"$type": "bpmn:Definitions"}
    server.remove("process", "t123", "L2O_v3", version=2)
    assert get(server, L2O).json()["version"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/tenants/t123/process-definitions/none", 404),
        ("/v1/tenants/t999/process-definitions/L2O_v3", 404),
        ("/v1/tenants/t123/process-definitions/coder", 404),
        (f"{L2O}?version=9", 404),
        (f"{L2O}?version=", 400),
        (f"{L2O}?version=one", 400),
        (f"{L2O}?version=0", 400),
        (f"{L2O}?version=1&version=1", 400),
        ("/v1/tenants/t123/process-definitions/%FF", 404),
        ("/v1/tenants/t123/process-definitions/%2e%2e", 404),
        ("/v1/tenants/%2e%2e/process-definitions/L2O_v3", 404),
        ("/v1/tenants/t123/process-definitions/L2O_v3%2F..%2FL2O_v3", 404),
    ],
)
def test_what_is_not_there_is_said_as_promised(server: TransformationServer, path: str, status: int) -> None:
    response = get(server, path)
    assert response.status_code == status
    assert conforms(response)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer t\u00f6ken"])
def test_without_the_token_nothing_is_read(server: TransformationServer, header: str) -> None:
    response = httpx.get(server.url + L2O, headers={"Authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert conforms(response)


@pytest.mark.parametrize(
    ("fault", "status"),
    [("unavailable", 503), ("error", 500), ("rate-limited", 429), ("unauthorized", 401), ("forbidden", 403)],
)
def test_faults_that_the_contract_knows_are_as_promised(
    server: TransformationServer, fault: FaultName, status: int
) -> None:
    server.fault(fault, seconds=7)
    response = get(server, L2O)
    assert response.status_code == status
    assert conforms(response)
    assert ("Retry-After" in response.headers) == (status in (429, 500, 503))
    server.fault(None)
    assert get(server, L2O).status_code == 200


def test_faults_that_break_the_contract(server: TransformationServer) -> None:
    server.fault("wrong-body", body=b"<html>", content_type="text/html")
    assert get(server, L2O).text == "<html>"
    server.fault("truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        get(server, L2O)
    server.fault("slow", seconds=0.3)
    started = time.monotonic()
    assert get(server, L2O).status_code == 200
    assert time.monotonic() - started >= 0.3
    assert [request.status for request in server.requests()] == [200, 0, 200]


def test_a_fault_can_be_for_some_paths_and_for_some_times(server: TransformationServer) -> None:
    server.fault("unavailable", only="agent-definitions", times=2)
    paths = [CODER, L2O, CODER, CODER]
    assert [get(server, path).status_code for path in paths] == [503, 200, 503, 200]


def test_only_reading_is_possible(server: TransformationServer) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.put(server.url + L2O, headers=headers, json={}).status_code == 405
    assert get(server, L2O).json()["version"] == 1


def test_the_log_has_what_came_over_the_wire(server: TransformationServer) -> None:
    get(server, "/v1/tenants/t%2F1/process-definitions/a%3Fb?version=3", If_None_Match='"x"')
    (request,) = server.requests()
    assert (request.method, request.path) == ("GET", "/v1/tenants/t%2F1/process-definitions/a%3Fb?version=3")
    assert (request.if_none_match, request.status) == ('"x"', 404)
    server.clear_requests()
    assert server.requests() == []


def test_it_stops_and_starts_on_the_same_port(server: TransformationServer) -> None:
    url = server.url
    server.stop()
    with pytest.raises(httpx.ConnectError):
        get(server, L2O)
    server.start()
    assert server.url == url
    assert get(server, L2O).status_code == 200
    with pytest.raises(WebServerError, match="already"):
        server.start()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = TransformationServer(port=taken.getsockname()[1])
        with pytest.raises(WebServerError, match="cannot be listened on"):
            server.start()
        server.close()


def test_stopping_does_not_wait_for_answers_under_way(server: TransformationServer) -> None:
    server.fault("slow", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(server.url + L2O, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=0.2)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 3


def test_a_file_that_lies_about_itself_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "t123" / "process-definitions" / "L2O_v3"
    folder.mkdir(parents=True)
    with TransformationServer(tmp_path) as server:
        for content in ("{", "[]", json.dumps({"id": "other", "tenantId": "t123", "version": 1, "definition": {}})):
            (folder / "1.json").write_text(content)
            response = get(server, L2O)
            assert response.status_code == 500
            assert conforms(response)
            assert "1.json" in response.json()["detail"]


def test_closing_removes_the_temporary_folder() -> None:
    with TransformationServer() as server:
        server.put("process", "t", "x", {})
        folder = server.store.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_the_program_serves_a_folder_that_people_fill(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    command = [sys.executable, "-m", "ameide_dev.transformation", "--folder", tmp_path / "d", "--token-file", token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().split()[-1]
        folder = tmp_path / "d" / "t123" / "process-definitions" / "L2O_v3"
        folder.mkdir(parents=True)
        content = {"id": "L2O_v3", "tenantId": "t123", "version": 4, "definition": {"by": "hand"}}
        (folder / "4.json").write_text(json.dumps(content))
        response = httpx.get(url + L2O, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=10) == 0
    assert response.json() == content
    assert conforms(response)
