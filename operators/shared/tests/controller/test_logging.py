"""Logs: fields of the object at hand, JSON or text, and no secret in either."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from ameide_shared import logging as ameide_logging
from ameide_shared.redact import fingerprint

Configure = Callable[..., io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """`configure(style)` sets the logs up to go to the buffer it returns; undone after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def begin(style: Literal["auto", "json", "text"], level: str = "info") -> io.StringIO:
        buffer = io.StringIO()
        ameide_logging.configure(level, style, buffer)
        return buffer

    yield begin
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def entries(buffer: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in buffer.getvalue().splitlines()]


def test_json_has_the_bound_fields_and_the_extra_ones(configure: Configure) -> None:
    buffer = configure("auto")  # a buffer is no terminal
    log = logging.getLogger("ameide_shared.test")
    with ameide_logging.bind(kind="Domain", namespace="ns", name="orders", reconcile="12345678"):
        ameide_logging.add_field("generation", 3)
        log.info("applied %s", "it", extra={"child": "Deployment"})
    log.info("outside")
    inside, outside = entries(buffer)
    assert inside.pop("time").endswith("+00:00")
    assert inside == {
        "level": "info",
        "logger": "ameide_shared.test",
        "message": "applied it",
        "kind": "Domain",
        "namespace": "ns",
        "name": "orders",
        "reconcile": "12345678",
        "generation": 3,
        "child": "Deployment",
    }
    assert "kind" not in outside


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_secret_gets_through(configure: Configure, style: str) -> None:
    buffer = configure(style)
    secret = "s3cr3t-Pa/ss+word"
    ameide_logging.register_secret(secret)
    log = logging.getLogger("ameide_shared.test")
    log.info("the password is %s", secret, extra={"detail": {"list": [secret]}})
    log.info("postgresql://app:hunter22@db/orders and Authorization: Bearer abcdefghijklmnop")
    try:
        raise RuntimeError(f"cannot log in with {secret}")
    except RuntimeError:
        log.exception("failed")
    text = buffer.getvalue()
    assert secret not in text
    assert "hunter22" not in text
    assert "abcdefghijklmnop" not in text
    assert text.count(fingerprint(secret)) >= 3
    assert "RuntimeError" in text


def test_text_names_the_object_first(configure: Configure) -> None:
    buffer = configure("text")
    with ameide_logging.bind(kind="Domain", namespace="ns", name="orders", reconcile="12345678"):
        logging.getLogger("ameide_shared.test").warning("slow", extra={"seconds": 3})
    assert buffer.getvalue().split(" ", 1)[1] == "WARNING Domain ns/orders: slow seconds=3\n"


def test_kopf_is_quiet_unless_debugging(configure: Configure) -> None:
    buffer = configure("json")
    logging.getLogger("kopf.objects").info("Handler 'x' succeeded.")
    logging.getLogger("kopf._core.reactor.observation").warning("Unresolved resources")
    logging.getLogger("kopf._core.reactor.running").error("bad")
    assert [entry["message"] for entry in entries(buffer)] == ["bad"]
    buffer = configure("json", "debug")
    logging.getLogger("kopf.objects").debug("now")
    assert [entry["message"] for entry in entries(buffer)] == ["now"]


def test_kopf_does_not_repeat_the_same_complaint_while_the_api_server_is_away(configure: Configure) -> None:
    buffer = configure("json")
    log = logging.getLogger("kopf._cogs.clients.watching")
    for attempt in range(100):
        log.error("Request attempt #%d failed; will retry", attempt)
    assert len(entries(buffer)) == 1
