"""The client: paths and bodies as Kubernetes wants them, refusals as typed errors, no write repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from ameide_shared.kube import errors
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.errors import ApiError
from ameide_shared.kube.kubeconfig import ClusterAccess
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, ObjectKey

from . import samples
from .conftest import Requests
from .fake_server import Answer, FakeServer, fake_server, refuses, says

KEY = ObjectKey("shop", "a b/c")


@asynccontextmanager
async def against(
    *answers: Answer, requests: Requests | None = None, limiter: Limiter | None = None, seconds: float = 5.0
) -> AsyncIterator[tuple[ApiClient, FakeServer]]:
    async with fake_server(*answers) as server, Connection(ClusterAccess(server.url)) as connection:
        client = ApiClient(
            connection,
            field_manager="domain-operator",
            limiter=limiter or Limiter(0),
            timeout=seconds,
            on_request=lambda verb, resource, code, _: (requests if requests is not None else []).append(
                (verb, resource, code)
            ),
        )
        yield client, server


async def test_requests_on_the_wire() -> None:
    async with against(says({"kind": "x"})) as (client, server):
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "shop"}}
        await client.get(CONFIG_MAP, KEY)
        await client.get(NAMESPACE, ObjectKey("", "shop"), metadata_only=True)
        await client.create(manifest, dry_run=True)
        await client.apply(manifest)
        await client.apply(manifest, force=False, field_manager="other", subresource="status")
        await client.update(manifest)
        await client.merge_patch(DEPLOYMENT, KEY, {"spec": None}, subresource="status")
        await client.json_patch(DEPLOYMENT, KEY, [{"op": "remove", "path": "/spec"}])
        await client.delete(DEPLOYMENT, KEY, uid="u", propagation="Foreground")
        await client.raw_get("/apis/apps/v1")
        wire = [(method, path, headers.get("Content-Type", ""), body) for method, path, headers, body in server.seen]
        ours = "fieldManager=domain-operator"
        escaped = "/apis/apps/v1/namespaces/shop/deployments/a%20b%2Fc"
        assert wire == [
            ("GET", "/api/v1/namespaces/shop/configmaps/a%20b%2Fc", "", None),
            ("GET", "/api/v1/namespaces/shop", "", None),
            (
                "POST",
                f"/apis/apps/v1/namespaces/shop/deployments?{ours}&dryRun=All&fieldValidation=Strict",
                "application/json",
                manifest,
            ),
            (
                "PATCH",
                f"/apis/apps/v1/namespaces/shop/deployments/a?{ours}&force=true&fieldValidation=Strict",
                "application/apply-patch+yaml",
                manifest,
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/a/status?fieldManager=other&force=false",
                "application/apply-patch+yaml",
                manifest,
            ),
            ("PUT", f"/apis/apps/v1/namespaces/shop/deployments/a?{ours}", "application/json", manifest),
            ("PATCH", f"{escaped}/status?{ours}", "application/merge-patch+json", {"spec": None}),
            ("PATCH", f"{escaped}?{ours}", "application/json-patch+json", [{"op": "remove", "path": "/spec"}]),
            (
                "DELETE",
                escaped,
                "application/json",
                {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "propagationPolicy": "Foreground",
                    "preconditions": {"uid": "u"},
                },
            ),
            ("GET", "/apis/apps/v1", "", None),
        ]
        assert server.seen[1][2]["Accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def test_lists_are_read_page_by_page() -> None:
    first = says(
        {"metadata": {"continue": "next page/&", "resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}
    )
    last = says({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]})
    async with against(first, last) as (client, server):
        listing = await client.list(POD, "shop", label_selector="ameide.io/name in (a,b)", page_size=1)
        assert [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in listing.items] == [
            ("Pod", "v1", "a"),
            ("Pod", "v1", "b"),
        ]
        assert listing.resource_version == "7"
        assert [path for _, path, _, _ in server.seen] == [
            "/api/v1/namespaces/shop/pods?limit=1&labelSelector=ameide.io%2Fname%20in%20%28a%2Cb%29",
            "/api/v1/namespaces/shop/pods?limit=1&labelSelector=ameide.io%2Fname%20in%20%28a%2Cb%29"
            "&continue=next%20page%2F%26",
        ]


async def test_logs_need_not_be_text() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"line\n\xff\xfe")

    async with against(answer) as (client, server):
        assert await client.pod_log(ObjectKey("shop", "p"), container="app", tail_lines=3) == "line\n��"
        assert server.seen[0][1] == "/api/v1/namespaces/shop/pods/p/log?container=app&tailLines=3&limitBytes=16384"


@pytest.mark.parametrize(
    ("status", "reason", "kind", "transient"),
    [
        (400, "BadRequest", errors.Invalid, False),
        (401, "Unauthorized", errors.Unauthorized, False),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (405, "MethodNotAllowed", ApiError, False),
        (409, "AlreadyExists", errors.AlreadyExists, False),
        (409, "Conflict", errors.Conflict, False),
        (410, "Expired", errors.Gone, False),
        (410, "Gone", errors.Gone, False),
        (422, "Invalid", errors.Invalid, False),
        (500, "InternalError", errors.ServerUnavailable, True),
        (503, "ServiceUnavailable", errors.ServerUnavailable, True),
        (504, "Timeout", errors.ServerUnavailable, True),
    ],
)
async def test_refusals(status: int, reason: str, kind: type[ApiError], transient: bool) -> None:
    requests: Requests = []
    causes = [{"field": "spec.x", "message": "too big", "reason": "FieldValueInvalid"}]
    async with against(refuses(status, reason, "the reason why", causes=causes), requests=requests) as (client, _):
        with pytest.raises(ApiError, match="the reason why") as caught:
            await client.get(CONFIG_MAP, KEY)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.reason, error.transient) == (status, reason, transient)
    assert error.causes == (errors.Cause("spec.x", "too big", "FieldValueInvalid"),)
    assert requests == [("get", "configmaps", str(status))], "no refusal but 429 is worth a second try here"


async def test_an_exhausted_quota_is_told_apart() -> None:
    async with against(refuses(403, "Forbidden", 'pods "a" is forbidden: exceeded quota: small')) as (client, _):
        with pytest.raises(errors.QuotaExceeded, match="small"):
            await client.create(samples.config_map())


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (
            422,
            "Invalid",
            "services \"a\" is forbidden: ValidatingAdmissionPolicy 'no' with binding 'b' denied request: x",
        ),
        (
            403,
            "Forbidden",
            "services \"a\" is forbidden: ValidatingAdmissionPolicy 'no' with binding 'b' denied request: x",
        ),
        (401, "Unauthorized", "it is forbidden: ValidatingAdmissionPolicy 'no' with binding 'b' denied request: x"),
        (403, "", 'admission webhook "policy.example.com" denied the request: x'),
        (400, "BadRequest", 'admission webhook "policy.example.com" denied the request without explanation'),
    ],
)
async def test_what_a_policy_of_the_cluster_denies_is_told_apart(status: int, reason: str, message: str) -> None:
    async with against(refuses(status, reason, message)) as (client, _):
        with pytest.raises(errors.AdmissionDenied) as caught:
            await client.create(samples.config_map())
    assert not caught.value.transient


@pytest.mark.parametrize("body", ["<html>bad gateway</html>", "", "[]", '{"kind": "Other", "message": "x"}'])
async def test_answers_that_are_no_status(body: str) -> None:
    async with against(says(body, 502)) as (client, _):
        with pytest.raises(errors.ServerUnavailable, match=r"GET /api/v1/namespaces/shop/configmaps/a%20b%2Fc.*502"):
            await client.get(CONFIG_MAP, KEY)
    if body in ("[]", "") or body.startswith("<"):
        async with against(says(body, 200)) as (client, _):
            with pytest.raises(errors.ServerUnavailable, match="no JSON object"):
                await client.get(CONFIG_MAP, KEY)


async def test_429_holds_everybody_and_is_tried_again() -> None:
    requests: Requests = []
    busy = refuses(429, "TooManyRequests", headers={"Retry-After": "1"})
    async with against(busy, says({"kind": "x"}), requests=requests) as (client, _):
        started = time.monotonic()
        first = asyncio.create_task(client.create(samples.config_map()))
        await asyncio.sleep(0.3)
        await client.get(CONFIG_MAP, KEY)
        assert 0.9 < time.monotonic() - started < 15
        await first
    assert sorted(code for _, _, code in requests) == ["200", "200", "429"]


async def test_429_without_end_is_reported() -> None:
    requests: Requests = []
    async with against(refuses(429, "TooManyRequests", retryAfterSeconds=0), requests=requests) as (client, _):
        with pytest.raises(errors.TooManyRequests) as caught:
            await client.get(CONFIG_MAP, KEY)
    assert caught.value.retry_after == 0
    assert len(requests) == 5
    async with against(refuses(429, "TooManyRequests", headers={"Retry-After": "3600"})) as (client, server):
        with pytest.raises(errors.TooManyRequests) as caught:
            await client.get(CONFIG_MAP, KEY)
        assert len(server.seen) == 1
    assert caught.value.retry_after == 3600


async def test_no_answer_in_time() -> None:
    async def sleeps(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    requests: Requests = []
    async with against(sleeps, requests=requests, seconds=1.0) as (client, server):
        with pytest.raises(errors.ServerUnavailable, match="no answer in 1 s") as caught:
            await client.create(samples.config_map())
        assert len(server.seen) == 1, "a write whose outcome is unknown is never repeated by the client"
    assert caught.value.transient
    assert requests == [("create", "configmaps", "error")]


async def test_a_broken_connection() -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with against(breaks) as (client, _):
        with pytest.raises(errors.ServerUnavailable):
            await client.create(samples.config_map())
        url = client.connection.server
    async with Connection(ClusterAccess(url)) as connection:
        with pytest.raises(errors.ServerUnavailable, match="ClientConnectorError"):
            await ApiClient(connection, field_manager="x").get(CONFIG_MAP, KEY)


# --- limiter ----------------------------------------------------------------------------------------------------------


async def test_limiter_lets_a_burst_through_and_then_keeps_the_pace() -> None:
    limiter = Limiter(qps=50, burst=5)
    started = time.monotonic()
    for _ in range(5):
        assert await limiter.acquire() == 0
    await asyncio.gather(*(limiter.acquire() for _ in range(10)))
    assert 0.17 < time.monotonic() - started < 5
    await asyncio.sleep(0.5)  # saves up tokens, but never more than a burst
    waits = [await limiter.acquire() for _ in range(25)]
    assert waits[:5] == [0.0] * 5
    assert sum(waits) > 0


async def test_limiter_without_a_limit_still_pauses() -> None:
    limiter = Limiter(0)
    assert [await limiter.acquire() for _ in range(1000)] == [0.0] * 1000
    limiter.pause(0.2)
    limiter.pause(0.1)
    waits = await asyncio.gather(*(limiter.acquire() for _ in range(3)))
    assert all(0.19 < wait < 10 for wait in waits)


def test_limiter_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="burst 0"):
        Limiter(10, 0)
