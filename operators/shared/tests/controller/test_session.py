"""What kopf is kept from seeing: exactly the events of states that our own writes were answered with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.controller.session import NewsStream, SessionObserver, version_of
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.resources import CONFIG_MAP

if TYPE_CHECKING:
    from aiohttp import StreamReader

PATH = CONFIG_MAP.path(None)


def event(kind: str, version: str, name: str = "a", **more: Any) -> bytes:
    """A line of a watch, written as the API server writes it."""
    metadata = {"name": name, "namespace": "shop", "uid": f"u-{name}", "resourceVersion": version}
    manifest = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, **more}
    return json.dumps({"type": kind, "object": manifest}, separators=(",", ":")).encode()


def manifest_of(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)["object"]
    return found


def observer(cache: Cache, writing: bool = False) -> SessionObserver:
    return SessionObserver(
        {PATH: CONFIG_MAP},
        lambda resource: None,
        lambda resource, version: cache.store(resource).take_echo(version),
        lambda resource: writing,
    )


class Stream:
    """A stream that delivers these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece


async def told(pieces: list[bytes], watching: SessionObserver) -> list[bytes]:
    """The lines that come through."""
    stream = cast("StreamReader", Stream(pieces))  # the part of it that is used

    def is_news(line: bytes) -> bool:
        return watching.is_news(PATH, line)

    news = NewsStream(stream, is_news, lambda: watching.settle(PATH))
    return [line for line in b"".join([part async for part in news.iter_chunked(2**20)]).split(b"\n") if line]


async def test_the_echo_of_a_write_is_not_told_but_all_else_is() -> None:
    cache = Cache()
    ours, others = event("ADDED", "5"), event("MODIFIED", "6")
    cache.put(manifest_of(ours))
    end, bookmark = event("DELETED", "7"), event("BOOKMARK", "8")
    lines = [ours, others, end, bookmark, ours]
    assert await told([b"".join(line + b"\n" for line in lines)], observer(cache)) == [others, end, bookmark, ours]


async def test_an_end_is_told_even_if_it_bears_the_version_of_our_write() -> None:
    cache = Cache()
    end = event("DELETED", "5")  # an object that left the selector by our own write
    cache.put(manifest_of(end))
    assert await told([end + b"\n"], observer(cache)) == [end]


async def test_what_came_by_an_event_first_is_no_echo() -> None:
    cache = Cache()
    line = event("MODIFIED", "5")
    cache.on_event(CONFIG_MAP, "MODIFIED", manifest_of(line))
    cache.put(manifest_of(line))  # the answer comes second
    assert await told([line + b"\n"], observer(cache)) == [line]


async def test_events_wait_for_an_answer_that_is_due() -> None:
    cache = Cache()
    line = event("ADDED", "5")
    asyncio.get_running_loop().call_later(0.001, cache.put, manifest_of(line))
    assert await told([line + b"\n"], observer(cache, writing=True)) == []


texts = st.text(st.sampled_from('"\\:,{}nresourceVersion57é\n'), max_size=40)


@given(
    st.lists(st.tuples(st.sampled_from(("ADDED", "MODIFIED", "DELETED")), texts), max_size=6),
    st.sets(st.integers(0, 5)),
    st.sets(st.integers(0, 900)),
)
def test_however_a_stream_is_cut_and_whatever_objects_hold(
    events: list[tuple[str, str]], written: set[int], cuts: set[int]
) -> None:
    cache = Cache()
    lines = [
        event(kind, str(100 + number), f"n{number}", data={"resourceVersion": text, text: "x"})
        for number, (kind, text) in enumerate(events)
    ]
    for number in written:
        if number < len(lines):
            cache.put(manifest_of(lines[number]))
    text = b"".join(line + b"\n" for line in lines)
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in pairwise(borders)]
    # `data.resourceVersion` makes it uncertain which version is the object's: then all is told.
    assert asyncio.run(told(pieces, observer(cache))) == lines


@given(texts, texts, st.integers(1, 2**62))
def test_a_version_is_the_objects_own_or_not_known(key: str, value: str, version: int) -> None:
    line = event("MODIFIED", str(version), data={key: value}, annotations={value: key})
    assert version_of(line) in ({str(version)} if "resourceVersion" not in (key, value) else {None})


def test_a_line_without_a_version() -> None:
    assert version_of(b'{"type":"ERROR","object":{"kind":"Status","code":410}}') is None


@pytest.mark.parametrize(
    ("method", "url", "path"),
    [
        ("get", f"https://api:6443{PATH}?watch=true&labelSelector=a", PATH),
        ("get", f"https://api:6443/prefix{PATH}", PATH),
        ("get", "https://api:6443/api/v1/secrets?watch=true", None),
        ("patch", f"https://api:6443{PATH}", None),
    ],
)
def test_only_reads_of_watched_kinds_are_observed(method: str, url: str, path: str | None) -> None:
    assert observer(Cache()).path_of(method, url) == path
