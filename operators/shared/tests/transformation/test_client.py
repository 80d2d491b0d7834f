"""The client against the real stand-in server over loopback: what it believes, what it refuses, and where it stops."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ameide_dev.pki import Pki
from ameide_dev.transformation import TransformationServer
from ameide_shared.logging import known_secrets
from ameide_shared.transformation.client import TransformationClient
from ameide_shared.transformation.errors import (
    DefinitionInvalid,
    DefinitionNotFound,
    TransformationError,
    TransformationRefused,
    TransformationUnavailable,
)
from ameide_shared.transformation.model import DefinitionKind, Failure, Reference, id_problem
from ameide_shared.transformation.settings import TransformationSettings

TOKEN = "token-of-the-operator"
L2O = Reference(DefinitionKind.PROCESS, "t123", "L2O_v3")
BPMN = {"$type": "bpmn:Definitions", "rootElements": []}


def write(path: Path, content: str | None) -> None:
    """Give a file this content; None removes it."""
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def shared_server() -> Iterator[TransformationServer]:
    with TransformationServer(token=TOKEN) as server:
        yield server


@pytest.fixture
def server(shared_server: TransformationServer) -> Iterator[TransformationServer]:
    shared_server.put("process", "t123", "L2O_v3", BPMN, version=1)
    shared_server.clear_requests()
    yield shared_server
    shared_server.fault(None)
    shared_server.token = TOKEN
    shared_server.remove("process", "t123", "L2O_v3")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    write(path, f"{TOKEN}\n")
    return path


ClientMaker = Callable[..., TransformationClient]


@pytest.fixture
async def connect(server: TransformationServer, token_file: Path) -> AsyncIterator[ClientMaker]:
    made = []

    def make(**changes: object) -> TransformationClient:
        values = {"url": server.url, "token_file": token_file, "timeout": 5.0} | changes
        client = TransformationClient(TransformationSettings.model_validate(values))
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()


async def refusal(client: TransformationClient, reference: Reference = L2O) -> TransformationError:
    """The error that fetching ends in."""
    with pytest.raises(TransformationError) as caught:
        await client.fetch(reference)
    assert caught.value.remedy
    return caught.value


# --- what is there --------------------------------------------------------------------------------------------------


async def test_a_definition_comes_with_version_etag_and_digest(connect: ClientMaker) -> None:
    found = await connect().fetch(L2O)
    assert found is not None
    assert (found.id, found.tenant_id, found.version, found.definition) == ("L2O_v3", "t123", 1, BPMN)
    assert found.etag.startswith('"')
    canonical = b'{"$type":"bpmn:Definitions","rootElements":[]}'
    assert found.digest == f"sha256:{hashlib.sha256(canonical).hexdigest()}"


async def test_an_unchanged_definition_is_not_sent_again(connect: ClientMaker, server: TransformationServer) -> None:
    client = connect()
    found = await client.fetch(L2O)
    assert found is not None
    assert await client.fetch(L2O, found.etag) is None
    server.put("process", "t123", "L2O_v3", {"changed": True})
    changed = await client.fetch(L2O, found.etag)
    assert changed is not None
    assert changed.version == 2
    assert [(request.status, request.if_none_match) for request in server.requests()] == [
        (200, ""),
        (304, found.etag),
        (200, found.etag),
    ]


async def test_a_pinned_version_stays_what_it_is(connect: ClientMaker, server: TransformationServer) -> None:
    server.put("process", "t123", "L2O_v3", {"changed": True})
    found = await connect().fetch(Reference(DefinitionKind.PROCESS, "t123", "L2O_v3", version=1))
    assert found is not None
    assert (found.version, found.definition) == (1, BPMN)
    missing = await refusal(connect(), Reference(DefinitionKind.PROCESS, "t123", "L2O_v3", version=9))
    assert isinstance(missing, DefinitionNotFound)
    assert "version 9" in missing.message


async def test_agents_and_processes_are_apart(connect: ClientMaker, server: TransformationServer) -> None:
    server.put("agent", "t123", "coder", {"graph": {}})
    found = await connect().fetch(Reference(DefinitionKind.AGENT, "t123", "coder"))
    assert found is not None
    assert found.definition == {"graph": {}}
    assert isinstance(await refusal(connect(), Reference(DefinitionKind.PROCESS, "t123", "coder")), DefinitionNotFound)


# --- ids never change the path --------------------------------------------------------------------------------------

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda v: not id_problem(v)
)


@given(tenant=IDS, name=IDS, version=st.none() | st.integers(1, 2**53 - 1))
@example(tenant="../../v1", name="../t2/process-definitions/secret", version=None)
@example(tenant="%2e%2e", name="%2f..%2f", version=2)
@example(tenant="a?version=9", name="x#fragment", version=1)
@example(tenant="...", name="日本語 ü\u202e", version=None)
def test_whatever_the_ids_hold_the_path_has_the_same_segments(tenant: str, name: str, version: int | None) -> None:
    path, _, query = Reference(DefinitionKind.AGENT, tenant, name, version).path.partition("?")
    segments = path.split("/")
    assert [*segments[:3], segments[4]] == ["", "v1", "tenants", "agent-definitions"]
    assert len(segments) == 6
    assert [unquote(segments[3]), unquote(segments[5])] == [tenant, name]
    assert query == (f"version={version}" if version else "")
    assert path.isascii()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tenant=IDS, name=IDS)
@example(tenant="t", name="../../other/process-definitions/secret")
@example(tenant="..%2f..", name="a/b?c=d#e;f&version=3")
@example(tenant="t" * 256, name="ü" * 256)
def test_odd_ids_reach_the_server_as_they_are(
    shared_server: TransformationServer, token_file: Path, tenant: str, name: str
) -> None:
    async def fetch() -> None:
        client = TransformationClient(TransformationSettings(url=shared_server.url, token_file=token_file))
        try:
            found = await client.fetch(Reference(DefinitionKind.PROCESS, tenant, name))
        finally:
            await client.close()
        assert found is not None
        assert (found.tenant_id, found.id, found.definition) == (tenant, name, {"name": name})

    shared_server.put("process", tenant, name, {"name": name}, version=1)
    asyncio.run(fetch())
    shared_server.remove("process", tenant, name)


@pytest.mark.parametrize("bad", ["", ".", "..", "a\nb", "a\n", "\x00", "x" * 257, "\ud800"])
async def test_what_can_be_no_id_is_not_asked_for(connect: ClientMaker, server: TransformationServer, bad: str) -> None:
    for reference in (Reference(DefinitionKind.PROCESS, "t123", bad), Reference(DefinitionKind.PROCESS, bad, "x")):
        error = await refusal(connect(), reference)
        assert isinstance(error, DefinitionNotFound)
        assert "definitionRef" in error.remedy
        error.message.encode()
    assert server.requests() == []


# --- refusals and failures ------------------------------------------------------------------------------------------


async def test_a_wrong_token_is_refused_and_nobody_reads_it(connect: ClientMaker, token_file: Path) -> None:
    write(token_file, "not-the-right-token")
    error = await refusal(connect())
    assert isinstance(error, TransformationRefused)
    assert error.reason is Failure.REFUSED
    assert "not-the-right-token" not in str(error) + error.remedy
    assert "not-the-right-token" in known_secrets()


async def test_a_new_token_is_used_at_once(
    connect: ClientMaker, server: TransformationServer, token_file: Path
) -> None:
    client = connect()
    await client.fetch(L2O)
    assert not client.token_changed()
    server.token = "the-next-token"
    write(token_file, "the-next-token")
    assert client.token_changed()
    assert await client.fetch(L2O) is not None
    assert [request.status for request in server.requests()] == [200, 200]


async def test_a_token_that_is_replaced_during_the_request_is_tried(
    connect: ClientMaker, server: TransformationServer, token_file: Path
) -> None:
    client = connect()
    await client.fetch(L2O)
    server.token = "the-next-token"
    server.fault("slow", seconds=0.2)
    fetching = asyncio.create_task(client.fetch(L2O))
    await asyncio.sleep(0.1)
    write(token_file, "the-next-token")
    assert await fetching is not None
    assert [request.status for request in server.requests()] == [200, 401, 200]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), ("", "is empty"), ("two words", "spaces"), ("tök", "not ASCII")]
)
async def test_without_a_usable_token_nothing_is_sent(
    connect: ClientMaker, server: TransformationServer, token_file: Path, content: str | None, why: str
) -> None:
    write(token_file, content)
    error = await refusal(connect())
    assert isinstance(error, TransformationRefused)
    assert why in error.message
    assert "two words" not in error.message
    assert "tokenFile" in error.remedy
    assert server.requests() == []


async def test_while_the_token_is_being_replaced_the_old_one_serves(connect: ClientMaker, token_file: Path) -> None:
    client = connect()
    await client.fetch(L2O)
    write(token_file, "")
    assert await client.fetch(L2O) is not None
    write(token_file, None)
    assert await client.fetch(L2O) is not None
    assert not client.token_changed()


async def test_each_failure_has_its_error(connect: ClientMaker, server: TransformationServer) -> None:
    client = connect(attempts=1)
    server.fault("forbidden")
    assert isinstance(await refusal(client), TransformationRefused)
    server.fault("rate-limited", seconds=7)
    limited = await refusal(client)
    assert isinstance(limited, TransformationUnavailable)
    assert (limited.retry_after, limited.for_all, limited.quick_retry) == (7.0, True, False)
    server.fault("unavailable")
    down = await refusal(client)
    assert isinstance(down, TransformationUnavailable)
    assert (down.retry_after, down.for_all) == (None, True)
    server.fault("error")
    failed = await refusal(client)
    assert isinstance(failed, TransformationUnavailable)
    assert not failed.for_all
    server.fault("truncated")
    assert isinstance(await refusal(client), TransformationUnavailable)
    server.fault("redirect")
    moved = await refusal(client)
    assert "redirects" in moved.message
    assert all("/elsewhere" not in request.path for request in server.requests())


@pytest.mark.parametrize(("fault", "tries"), [("unavailable", 3), ("error", 3), ("truncated", 3), ("forbidden", 1)])
async def test_passing_trouble_is_tried_again(
    connect: ClientMaker, server: TransformationServer, fault: str, tries: int
) -> None:
    server.fault(fault)  # type: ignore[arg-type]
    await refusal(connect())
    assert len(server.requests()) == tries


async def test_a_moment_of_trouble_is_not_seen(connect: ClientMaker, server: TransformationServer) -> None:
    server.fault("unavailable", times=1)
    assert await connect().fetch(L2O) is not None
    assert [request.status for request in server.requests()] == [503, 200]


async def test_a_slow_server_is_waited_for_no_longer_than_the_timeout(
    connect: ClientMaker, server: TransformationServer
) -> None:
    server.fault("slow", seconds=2)
    started = time.monotonic()
    error = await refusal(connect(timeout=0.3))
    assert 0.25 < time.monotonic() - started < 1.0
    assert isinstance(error, TransformationUnavailable)
    assert error.silent


async def test_a_server_that_is_gone_is_met_with_words(connect: ClientMaker, server: TransformationServer) -> None:
    client = connect()
    await client.fetch(L2O)
    server.stop()
    try:
        error = await refusal(client)
    finally:
        server.start()
    assert isinstance(error, TransformationUnavailable)
    assert error.for_all
    assert server.url in error.message
    assert await client.fetch(L2O) is not None


async def test_nothing_is_dialled_before_it_is_asked_for(tmp_path: Path) -> None:
    nowhere = TransformationSettings(url="https://127.0.0.1:1", token_file=tmp_path / "no", ca_file=tmp_path / "none")
    client = TransformationClient(nowhere)
    await client.close()


async def test_without_a_url_the_settings_are_named() -> None:
    client = TransformationClient(TransformationSettings())
    error = await refusal(client)
    assert isinstance(error, TransformationUnavailable)
    assert "transformation.url" in error.remedy


# --- answers that are not what was promised -------------------------------------------------------------------------


def answer(**changes: object) -> bytes:
    whole = {"id": "L2O_v3", "tenantId": "t123", "version": 1, "definition": {}} | changes
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"<html>", "JSON"),
        (b"[]", "the body"),
        (b'"text"', "the body"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
        (answer(id=None), "id: "),
        (answer(id="other"), "id is 'other', expected 'L2O_v3'"),
        (answer(tenantId="t2"), "tenantId is 't2', expected 't123'"),
        (answer(version="1"), "version: "),
        (answer(version=True), "version: "),
        (answer(version=1.5), "version: "),
        (answer(version=0), "version: "),
        (answer(version=2**53), "version: "),
        (answer(definition=[]), "definition: "),
        (answer(definition=None), "definition: "),
        (answer(definition={"x": float("nan")}), "JSON"),
        (answer(definition={"x": "\ud800"}), "JSON"),
    ],
)
async def test_a_wrong_body_is_named(
    connect: ClientMaker, server: TransformationServer, body: bytes, named: str
) -> None:
    server.fault("wrong-body", body=body)
    error = await refusal(connect())
    assert isinstance(error, DefinitionInvalid)
    assert error.reason is Failure.INVALID
    assert named in error.message
    assert len(error.message) < 400
    assert len(server.requests()) == 1


async def test_another_media_type_is_named(connect: ClientMaker, server: TransformationServer) -> None:
    server.fault("wrong-body", body=answer(), content_type="text/html; charset=utf-8")
    error = await refusal(connect())
    assert isinstance(error, DefinitionInvalid)
    assert "text/html" in error.message


async def test_members_that_are_not_known_are_ignored(connect: ClientMaker, server: TransformationServer) -> None:
    server.fault("wrong-body", body=answer(publishedBy="someone"))
    assert await connect().fetch(L2O) is not None


async def test_a_larger_answer_than_permitted_is_refused(connect: ClientMaker, server: TransformationServer) -> None:
    server.fault("wrong-body", body=answer(definition={"x": "y" * 5000}))
    error = await refusal(connect(max_bytes=4096))
    assert isinstance(error, DefinitionInvalid)
    assert "4096 bytes" in error.message
    assert await connect(max_bytes=8192).fetch(L2O) is not None


# --- a peer that speaks HTTP as it likes ----------------------------------------------------------------------------


@contextmanager
def peer(*answers: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends these bytes, one piece after the other, to whoever connects, and then closes."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    for piece in answers:
                        connection.sendall(piece)
                        if done.wait(pause):
                            return
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(timeout=10)


@asynccontextmanager
async def against(url: str, **changes: object) -> AsyncIterator[TransformationClient]:
    client = TransformationClient(TransformationSettings.model_validate({"url": url, "attempts": 1} | changes))
    try:
        yield client
    finally:
        await client.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def test_an_endless_body_is_cut_off() -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with peer(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 200) as url:
        async with against(url, max_bytes=100_000) as client:
            error = await refusal(client)
    assert isinstance(error, DefinitionInvalid)
    assert "100000 bytes" in error.message


async def test_a_body_that_trickles_is_given_up() -> None:
    body = answer(definition={"x": "y" * 400})
    pieces = [body[index : index + 1] for index in range(len(body))]
    with peer(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode(), *pieces, pause=0.05) as url:
        async with against(url, timeout=0.5) as client:
            started = time.monotonic()
            error = await refusal(client)
    assert time.monotonic() - started < 2.0
    assert isinstance(error, TransformationUnavailable)
    assert error.silent


async def test_a_compressed_body_is_not_unpacked() -> None:
    with peer(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd") as url:
        async with against(url) as client:
            error = await refusal(client)
    assert isinstance(error, DefinitionInvalid)
    assert "gzip" in error.message


async def test_an_answer_without_a_usable_etag_is_taken_without_one() -> None:
    body = answer()
    head = HEAD + f"Content-Length: {len(body)}\r\nConnection: close\r\nETag: ".encode()
    for tag in (b"unquoted", b'"\xe4"', b'"' + b"x" * 600 + b'"'):
        with peer(head + tag + b"\r\n\r\n" + body) as url:
            async with against(url) as client:
                found = await client.fetch(L2O)
        assert found is not None
        assert found.etag == ""


async def test_an_unasked_304_is_no_answer() -> None:
    with peer(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n") as url:
        async with against(url) as client:
            error = await refusal(client)
    assert isinstance(error, TransformationUnavailable)


async def test_noise_is_no_answer() -> None:
    with peer(b"SSH-2.0-OpenSSH_9.6\r\n") as url:
        async with against(url) as client:
            error = await refusal(client)
    assert isinstance(error, TransformationUnavailable)


async def test_what_a_server_says_is_cut_and_scrubbed() -> None:
    problem = json.dumps({"title": "no", "detail": f"password=hunter2hunter2 \x1b[31m{TOKEN} " + "x" * 5000}).encode()
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n"
    with peer(head + f"Content-Length: {len(problem)}\r\n\r\n".encode() + problem) as url:
        async with against(url) as client:
            error = await refusal(client)
    assert "hunter2" not in error.message
    assert "\x1b" not in error.message
    assert len(error.message) < 500


# --- TLS ------------------------------------------------------------------------------------------------------------


async def test_the_certificate_is_checked_and_a_new_authority_is_taken_up(tmp_path: Path) -> None:
    first, second = Pki(tmp_path / "first"), Pki(tmp_path / "second")
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(second.ca_pem)
    with TransformationServer(certificate=first.server("api", ["127.0.0.1"])) as server:
        server.put("process", "t123", "L2O_v3", BPMN)
        async with against(server.url, ca_file=authorities) as client:
            error = await refusal(client)
            assert isinstance(error, TransformationUnavailable)
            assert "caFile" in error.remedy
            authorities.write_bytes(first.ca_pem + b"\n")
            assert await client.fetch(L2O) is not None


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_an_unusable_file_of_authorities_is_named(tmp_path: Path, content: bytes | None) -> None:
    authorities = tmp_path / "ca.crt"
    if content is not None:
        authorities.write_bytes(content)
    async with against("https://127.0.0.1:1", ca_file=authorities) as client:
        error = await refusal(client)
    assert isinstance(error, TransformationUnavailable)
    assert str(authorities) in error.message
    assert "caFile" in error.remedy
