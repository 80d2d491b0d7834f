"""The way of requests through the stand-in's Gateway: which route takes one, and that it arrives as it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from ameide_dev.gateway_proxy import Backend, GatewayProxy, backend_of

Object = dict[str, Any]


def route(name: str, path: str = "/", *, accepted: str = "True", created: str = "2026-01-01T00:00:00Z") -> Object:
    """An HTTPRoute for shop.localhost, judged by a gateway."""
    told = [{"type": "Accepted", "status": accepted}, {"type": "ResolvedRefs", "status": "True"}]
    match = {"path": {"type": "PathPrefix", "value": path}}
    return {
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created},
        "spec": {
            "hostnames": ["shop.localhost"],
            "rules": [{"matches": [match], "backendRefs": [{"name": name, "port": 3000}]}],
        },
        "status": {"parents": [{"conditions": told}]},
    }


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/", "root"),
        ("/cart", "cart"),
        ("/cart/", "cart"),
        ("/cart/1", "cart"),
        ("/carts", "root"),
        ("/cart/old", "old"),
    ],
)
def test_the_longest_path_wins_by_whole_segments(path: str, service: str) -> None:
    routes = [route("root"), route("old", "/cart/old"), route("cart", "/cart")]
    found = backend_of(routes, [], "shop.localhost", path)
    assert found is not None
    assert found.service == service


def test_of_two_with_one_path_the_older_wins_and_a_refused_one_never() -> None:
    older, younger = route("older"), route("younger", created="2026-01-02T00:00:00Z")
    for routes in ([older, younger], [younger, older]):
        assert backend_of(routes, [], "shop.localhost", "/") == Backend("shop", "older", 3000)
    refused = route("refused", accepted="False", created="2025-01-01T00:00:00Z")
    assert backend_of([refused, younger], [], "shop.localhost", "/") == Backend("shop", "younger", 3000)
    assert backend_of([older], [], "another.localhost", "/") is None
    assert backend_of([{**older, "status": {}}], [], "shop.localhost", "/") is None


def test_a_policy_guards_the_route_that_it_names() -> None:
    policy = {
        "metadata": {"namespace": "shop", "name": "x"},
        "spec": {"targetRefs": [{"kind": "HTTPRoute", "name": "root"}]},
    }
    elsewhere = {**policy, "metadata": {"namespace": "other", "name": "x"}}
    for policies, guarded in (([policy], True), ([elsewhere], False)):
        found = backend_of([route("root")], policies, "shop.localhost", "/")
        assert found is not None
        assert found.guarded is guarded


class Gateways:
    """What the stand-in for the controller knows."""

    def __init__(self) -> None:
        self.known: dict[str, list[Object]] = {"HTTPRoute": [route("shop-ui", "/shop")], "SecurityPolicy": []}

    def objects(self, kind: str) -> list[Object]:
        return self.known[kind]


@pytest.fixture
def backend() -> Iterator[tuple[str, int]]:
    """A server that answers with what it was asked, and sets two cookies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.dumps({"path": self.path, "sent": sent, "headers": headers}).encode()
            self.send_response(303)
            self.send_header("Location", "/shop/elsewhere")
            for cookie in ("a=1; Path=/", "b=2; Path=/"):
                self.send_header("Set-Cookie", cookie)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    yield "127.0.0.1", server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_arrives_as_it_was_sent_and_its_answer_comes_back_as_it_is(backend: tuple[str, int]) -> None:
    gateways = Gateways()

    def address(namespace: str, service: str, port: int) -> tuple[str, int]:
        assert (namespace, service, port) == ("shop", "shop-ui", 3000)
        return backend

    with GatewayProxy(gateways, address) as proxy, httpx.Client(trust_env=False) as client:
        url, host = f"http://127.0.0.1:{proxy.port}", f"shop.localhost:{proxy.port}"
        headers = {"host": host, "cookie": "c=3", "x-forwarded-proto": "https"}
        answer = client.post(f"{url}/shop/sales%2Forders?q=%26", content=b"body", headers=headers)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/shop/elsewhere"
        assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
        told = answer.json()
        assert told["path"] == "/shop/sales%2Forders?q=%26"
        assert told["sent"] == "body"
        assert told["headers"]["host"] == host
        assert told["headers"]["cookie"] == "c=3"
        assert told["headers"]["x-forwarded-proto"] == "http", "what a client claims is not believed"
        with httpx.Client(trust_env=False) as another:
            told = another.post(f"{url}/shop", content=b"", headers={"host": host}).json()
            assert "cookie" not in told["headers"], "the cookies of one user are not another's"
        assert client.post(f"{url}/", content=b"", headers=headers).status_code == 404
        policy = {"metadata": {"namespace": "shop"}, "spec": {"targetRefs": [{"kind": "HTTPRoute", "name": "shop-ui"}]}}
        gateways.known["SecurityPolicy"] = [policy]
        assert client.post(f"{url}/shop", content=b"", headers=headers).status_code == 500
        gateways.known = {**gateways.known, "HTTPRoute": []}
        assert client.post(f"{url}/shop", content=b"", headers=headers).status_code == 404


def test_a_service_that_is_not_there_is_a_503() -> None:
    def nowhere(namespace: str, service: str, port: int) -> tuple[str, int]:
        raise KeyError(service)

    with GatewayProxy(Gateways(), nowhere) as proxy:
        headers = {"host": "shop.localhost"}
        answer = httpx.get(f"http://127.0.0.1:{proxy.port}/shop", headers=headers, trust_env=False)
        assert (answer.status_code, "shop/shop-ui" in answer.text) == (503, True)
