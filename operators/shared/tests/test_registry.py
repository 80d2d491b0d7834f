"""The registry client against a real registry protocol over loopback: tokens, indexes, redirects, failures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ameide_shared.imagepolicy import ImageReferenceError
from ameide_shared.registry import ImageNotFound, RegistryClient, RegistryDenied, RegistryError, RegistryUnavailable

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
USER, PASSWORD = "robot", "s3cret:with:colons"


@dataclass
class Settings:
    """The registry settings of a test."""

    timeout: float = 2.0
    cache_seconds: float = 300.0
    credentials_file: Path | None = None
    insecure_registries: tuple[str, ...] = ()


@dataclass
class Registry:
    """A registry that speaks the distribution protocol: content by digest, tags, optionally a token service."""

    auth: str = ""  # "", basic or bearer
    redirect_blobs_to: str = ""
    broken: Callable[[web.Request], web.StreamResponse | None] = lambda request: None
    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    address: str = ""

    def put(self, data: Any, media_type: str = "application/octet-stream") -> str:
        body = json.dumps(data).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.content[digest] = (media_type, body)
        return digest

    def image(self, labels: dict[str, str] | None) -> str:
        config = self.put({"architecture": "amd64", "config": {"Labels": labels}})
        return self.put({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": config}}, MANIFEST)

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        failure = self.broken(request)
        if failure is not None:
            return failure
        if request.path == "/token":
            return self._token(request)
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        _, _, *repository, kind, reference = request.path.split("/")
        if kind == "blobs" and self.redirect_blobs_to:
            raise web.HTTPTemporaryRedirect(f"http://{self.redirect_blobs_to}{request.path}")
        digest = self.tags.get("/".join(repository) + ":" + reference, reference)
        if digest not in self.content:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        media_type, body = self.content[digest]
        if kind == "manifests" and media_type not in request.headers.get("Accept", ""):
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        return web.Response(body=body, content_type=media_type, headers={"Docker-Content-Digest": digest})

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        if self.auth == "basic" and given != basic(USER, PASSWORD):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        if self.auth == "bearer" and given != "Bearer pull-token":
            challenge = f'Bearer realm="http://{self.address}/token",service="test",scope="ignored"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return None

    def _token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != basic(USER, PASSWORD):
            return web.json_response({}, status=401)
        assert request.query["service"] == "test"
        assert request.query["scope"] == "repository:ameide/orders:pull"
        return web.json_response({"access_token": "pull-token"})


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[str]:
    """Serve it on a free port of loopback; yields host:port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.address = f"{host}:{port}"
    try:
        yield registry.address
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(settings: Settings, **arguments: Any) -> AsyncIterator[RegistryClient]:
    client = RegistryClient(settings, **arguments)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    found = Registry()
    async with serving(found):
        yield found


def config_json(tmp_path: Path, host: str, entry: dict[str, str]) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {host: entry}}))
    return path


def credentials(tmp_path: Path, host: str) -> Path:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return config_json(tmp_path, host, {"auth": auth})


LABELS = {"io.ameide.proto.module": "github.com/ameide/apis/domains/orders", "io.ameide.proto.version": "v1.5.0"}


async def test_a_tag_gives_digest_and_labels(registry: Registry) -> None:
    digest = registry.image(LABELS)
    registry.tags["ameide/orders:1"] = digest
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        info = await client.check(f"{registry.address}/ameide/orders:1")
    assert info.digest == digest
    assert info.labels == LABELS


async def test_an_index_leads_to_the_image_that_stands_for_all(registry: Registry) -> None:
    arm, amd = registry.image({"arch": "arm64"}), registry.image({"arch": "amd64"})
    manifests = [
        {"digest": arm, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": amd, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": registry.image(None), "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    index = registry.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        info = await client.check(f"{registry.address}/ameide/orders:ignored@{index}")
    assert info.digest == index
    assert info.labels == {"arch": "amd64"}


async def test_no_labels_are_no_labels(registry: Registry) -> None:
    registry.tags["ameide/orders:1"] = registry.image(None)
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        assert (await client.check(f"{registry.address}/ameide/orders:1")).labels == {}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_of_the_file_are_used(registry: Registry, tmp_path: Path, auth: str) -> None:
    registry.auth = auth
    registry.tags["ameide/orders:1"] = registry.image(LABELS)
    settings = Settings(
        insecure_registries=(registry.address,),
        credentials_file=credentials(tmp_path, f"https://{registry.address}/v1/"),
    )
    async with asking(settings) as client:
        assert (await client.check(f"{registry.address}/ameide/orders:1")).labels == LABELS
    assert registry.paths().count("/token") == (1 if auth == "bearer" else 0)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_without_credentials_it_is_denied(registry: Registry, auth: str) -> None:
    registry.auth = auth
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        with pytest.raises(RegistryDenied, match="wants credentials, and there are none"):
            await client.check(f"{registry.address}/ameide/orders:1")


async def test_wrong_credentials_are_not_shown(registry: Registry, tmp_path: Path) -> None:
    registry.auth = "basic"
    file = config_json(tmp_path, registry.address, {"username": "robot", "password": "hunter2222"})
    settings = Settings(insecure_registries=(registry.address,), credentials_file=file)
    async with asking(settings) as client:
        with pytest.raises(RegistryDenied, match="refuses our credentials") as caught:
            await client.check(f"{registry.address}/ameide/orders:1")
    assert "hunter2222" not in str(caught.value)


async def test_credentials_go_to_no_other_host(registry: Registry, tmp_path: Path) -> None:
    """Neither to a registry that the file does not name, nor along a redirect."""
    store = Registry()
    async with serving(store) as store_address:
        registry.auth, registry.redirect_blobs_to = "basic", store_address
        registry.tags["ameide/orders:1"] = registry.image(LABELS)
        store.content = registry.content
        settings = Settings(
            insecure_registries=(registry.address, store_address),
            credentials_file=credentials(tmp_path, registry.address),
        )
        async with asking(settings) as client:
            assert (await client.check(f"{registry.address}/ameide/orders:1")).labels == LABELS
            with pytest.raises(ImageNotFound):
                await client.check(f"{store_address}/ameide/orders:1")
    assert len(store.requests) == 2
    assert all("Authorization" not in request.headers for request in store.requests)


@pytest.mark.parametrize("text", ["", "{", '{"auth": {}}', '{"auths": {"HOST": {"auth": "%%%"}}}'])
async def test_a_bad_credentials_file_is_named_without_its_content(
    registry: Registry, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(text.replace("HOST", registry.address))
    settings = Settings(insecure_registries=(registry.address,), credentials_file=file)
    async with asking(settings) as client:
        with pytest.raises(RegistryDenied, match="credentials file") as caught:
            await client.check(f"{registry.address}/ameide/orders:1")
    assert "%%%" not in str(caught.value)


async def test_what_is_not_there(registry: Registry) -> None:
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        with pytest.raises(ImageNotFound, match=r"has no image .*ameide/orders:9"):
            await client.check(f"{registry.address}/ameide/orders:9")
        with pytest.raises(ImageReferenceError):
            await client.check("UPPER//x")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: web.Response(status=500), "HTTP 500"),
        (lambda: web.Response(status=429), "HTTP 429"),
        (lambda: web.Response(text="<html>"), "did not send JSON"),
        (lambda: web.Response(text="[]"), "did not send JSON"),
        (lambda: web.Response(body=b" " * (5 * 1024 * 1024)), "bytes"),
        (lambda: web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="ftp://x/"'}), "without TLS"),
        (lambda: web.Response(status=302, headers={"Location": "/again"}), "could not be asked"),
    ],
)
async def test_a_registry_that_does_not_behave(
    registry: Registry, answer: Callable[[], web.Response], words: str
) -> None:
    registry.broken = lambda request: answer()
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        with pytest.raises(RegistryUnavailable, match=words):
            await client.check(f"{registry.address}/ameide/orders:1")


async def test_content_must_have_its_digest(registry: Registry) -> None:
    digest = registry.image(LABELS)
    media_type, body = registry.content[digest]
    registry.content[digest] = (media_type, body + b" ")
    async with asking(Settings(insecure_registries=(registry.address,))) as client:
        with pytest.raises(RegistryUnavailable, match="other content"):
            await client.check(f"{registry.address}/ameide/orders@{digest}")


async def test_nobody_there_and_no_tls() -> None:
    async with asking(Settings(insecure_registries=("127.0.0.1:1",))) as client:
        with pytest.raises(RegistryUnavailable, match="could not be asked"):
            await client.check("127.0.0.1:1/a:1")


async def test_plain_http_only_where_settings_say_so(registry: Registry) -> None:
    async with asking(Settings()) as client:
        with pytest.raises(RegistryUnavailable, match="could not be asked"):
            await client.check(f"{registry.address}/ameide/orders:1")
    assert registry.requests == []


async def test_a_slow_registry_is_given_up(registry: Registry) -> None:
    released = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", slow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = "{}:{}".format(*runner.addresses[0][:2])
    try:
        async with asking(Settings(timeout=0.2, insecure_registries=(address,))) as client:
            with pytest.raises(RegistryUnavailable, match=r"did not answer within 0\.2 s"):
                await client.check(f"{address}/a:1")
    finally:
        released.set()
        await runner.cleanup()


async def test_answers_are_remembered_and_shared(registry: Registry) -> None:
    now = [0.0]
    digest = registry.image(LABELS)
    registry.tags["ameide/orders:1"] = digest
    image, pinned = f"{registry.address}/ameide/orders:1", f"{registry.address}/ameide/orders@{digest}"
    settings = Settings(insecure_registries=(registry.address,), cache_seconds=60)
    async with asking(settings, clock=lambda: now[0]) as client:
        await asyncio.gather(*(client.check(image) for _ in range(10)))
        assert len(registry.requests) == 2, "one manifest, one configuration, for all of them"
        now[0] = 59
        await client.check(image)
        assert len(registry.requests) == 2
        now[0] = 61
        await client.check(image)
        assert len(registry.requests) == 4
        await client.check(pinned)
        now[0] = 1e9
        await client.check(pinned)
        assert len(registry.requests) == 6, "what has a digest never changes"


async def test_failures_are_believed_for_a_short_time(registry: Registry) -> None:
    now = [0.0]
    image = f"{registry.address}/ameide/orders:1"
    async with asking(Settings(insecure_registries=(registry.address,)), clock=lambda: now[0]) as client:
        for _ in range(3):
            with pytest.raises(RegistryError):
                await client.check(image)
        assert len(registry.requests) == 1
        registry.tags["ameide/orders:1"] = registry.image(LABELS)
        now[0] = 31
        assert (await client.check(image)).labels == LABELS
