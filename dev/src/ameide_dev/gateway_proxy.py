"""The way of requests through a Gateway, on loopback: by host and path, to the Services of accepted HTTPRoutes.

    with GatewayProxy(stand_in, host_node.service_address, port):
        ...  # http://HOST:port is served by what the HTTPRoute for HOST leads to

It logs nobody in. A route with a SecurityPolicy is answered with 500, as Envoy answers where it cannot enforce one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ameide_dev.informer import key_of
from ameide_dev.webserver import WebServer

Object = Mapping[str, Any]

_TIMEOUT_SECONDS: Final = 30.0
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that are between two neighbours, and not passed on."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The Service that a route leads to; `guarded` where a SecurityPolicy stands before it."""

    namespace: str
    service: str
    port: int
    guarded: bool = False


def backend_of(routes: Sequence[Object], policies: Sequence[Object], host: str, path: str) -> Backend | None:
    """Where a request for a host and path goes: the longest path of the accepted routes for the host; None for nowhere.

    Of two routes with the same path the older wins, as the Gateway API has it.
    """
    found = [
        (len(prefix), route, rule["backendRefs"][0])
        for route in sorted(routes, key=lambda each: each["metadata"].get("creationTimestamp") or "")
        if _accepted(route) and host in (route["spec"].get("hostnames") or ())
        for rule in route["spec"].get("rules") or ()
        for match in rule.get("matches") or ()
        if _is_below(path, prefix := match.get("path", {}).get("value", "/"))
    ]
    if not found:
        return None
    _, route, target = max(found, key=lambda each: each[0])
    namespace, name = key_of(dict(route))
    guarded = any(
        policy["metadata"]["namespace"] == namespace
        and any(each["kind"] == "HTTPRoute" and each["name"] == name for each in policy["spec"].get("targetRefs") or ())
        for policy in policies
    )
    return Backend(target.get("namespace", namespace), target["name"], target["port"], guarded)


def _accepted(route: Object) -> bool:
    parents = (route.get("status") or {}).get("parents") or ()
    told = [{each["type"]: each["status"] for each in parent["conditions"]} for parent in parents]
    return any(each.get("Accepted") == each.get("ResolvedRefs") == "True" for each in told)


def _is_below(path: str, prefix: str) -> bool:
    """By whole segments: /shop is above /shop/cart, and not above /shopping."""
    base = prefix.rstrip("/")
    return path == base or path.startswith(f"{base}/")


class Gateways(Protocol):
    """Whoever judges routes: `ameide_dev.gateway.GatewayStandIn`."""

    def objects(self, kind: str) -> Sequence[Object]:
        """What it knows of a kind, statuses included."""
        ...


class GatewayProxy:
    """The proxy, on a port of the loopback interface. `address`: where a Service listens; KeyError for nowhere."""

    def __init__(
        self, gateways: Gateways, address: Callable[[str, str, int], tuple[str, int]], port: int | None = None
    ) -> None:
        self._server = WebServer(_Forwarder(gateways, address), "gateway", port=port)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._server.close()


class _Forwarder:
    """The proxy as an ASGI application."""

    def __init__(self, gateways: Gateways, address: Callable[[str, str, int], tuple[str, int]]) -> None:
        self._gateways = gateways
        self._address = address
        # Not a client: that would keep the cookies of one user and send them for the next.
        self._onward: httpx.AsyncHTTPTransport | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        host, path = request.url.hostname or "", request.url.path
        routes, policies = self._gateways.objects("HTTPRoute"), self._gateways.objects("SecurityPolicy")
        backend = backend_of(routes, policies, host, path)
        if backend is None:
            return PlainTextResponse(f"no route leads to {host}{path}\n", 404)
        if backend.guarded:
            return PlainTextResponse("the route has a SecurityPolicy, and there is no Envoy here to enforce it\n", 500)
        try:
            return await self._forward(request, self._address(backend.namespace, backend.service, backend.port))
        except (KeyError, httpx.TransportError) as error:
            where = f"Service {backend.namespace}/{backend.service}"
            return PlainTextResponse(f"{where} does not answer: {type(error).__name__}\n", 503)

    async def _forward(self, request: Request, address: tuple[str, int]) -> Response:
        if self._onward is None:  # made by the loop that uses it
            self._onward = httpx.AsyncHTTPTransport(trust_env=False)
        query = f"?{request.url.query}" if request.url.query else ""
        # As it was sent: a name with a slash in it stays one segment.
        path = request.scope["raw_path"].decode()
        headers = [(name, value) for name, value in request.headers.items() if _is_passed_on(name)]
        onward = httpx.Request(
            request.method,
            f"http://{address[0]}:{address[1]}{path}{query}",
            headers=[*headers, ("x-forwarded-proto", "http")],
            content=await request.body(),
            extensions={"timeout": httpx.Timeout(_TIMEOUT_SECONDS).as_dict()},
        )
        answer = await self._onward.handle_async_request(onward)
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        response.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.decode().lower() not in _OF_THE_CONNECTION
        ]
        return response


def _is_passed_on(name: str) -> bool:
    """Not what is between two neighbours, nor what only a proxy may claim."""
    return name not in _OF_THE_CONNECTION and not name.startswith("x-forwarded-")
