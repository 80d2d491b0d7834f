"""The HTTP session that kopf is given: it tells of LISTs, and keeps from kopf the echoes of our own writes.

kopf has no hook for either. Most events of a busy watch tell what we wrote a moment ago and have in the cache since the
write was answered. kopf spends half a millisecond of processor time on each, decoding included; finding out that
nobody waits for it takes a few microseconds, before anything is decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

import aiohttp

from ameide_shared.kube.resources import ResourceType

OnListed = Callable[[ResourceType], None]

IsEcho = Callable[[ResourceType, str], bool]
"""Whether the state of a resourceVersion came as the answer to a write of ours. Asked once for each event."""

IsWriting = Callable[[ResourceType], bool]
"""Whether we await the answer to a write of an object of a kind."""

_HOLD = 0.005  # seconds for which events of a kind may wait for the answers that would make echoes of them

# As the API server writes a watch event. Only states are passed over; ends, bookmarks and errors never are.
_STATES = (b'{"type":"ADDED",', b'{"type":"MODIFIED",')
_VERSION = b'"resourceVersion":"'


class SessionObserver:
    """Wraps the sessions that kopf uses. `paths` are the URL paths at which each kind is listed and watched.

    `on_listed` is told when a kind has been listed anew.
    """

    def __init__(
        self, paths: Mapping[str, ResourceType], on_listed: OnListed, is_echo: IsEcho, is_writing: IsWriting
    ) -> None:
        self._paths = paths
        self._on_listed = on_listed
        self._is_echo = is_echo
        self._is_writing = is_writing
        self._known: set[str] = set()
        self.asked: set[ResourceType] = set()
        """Kinds that kopf has tried to list."""

    def around(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        """The session, observed; kopf uses no more of it than this has."""
        return cast("aiohttp.ClientSession", _ObservedSession(session, self))

    def path_of(self, method: str, url: str) -> str | None:
        """The path of a kind, if this request lists or watches it."""
        path = url.partition("?")[0]
        return next((known for known in self._paths if path.endswith(known)), None) if method.upper() == "GET" else None

    def listing(self, path: str) -> None:
        """A kind is being asked for."""
        self.asked.add(self._paths[path])

    def listed(self, path: str) -> None:
        """A LIST has succeeded, or the first page of one."""
        if path in self._known:
            self._on_listed(self._paths[path])
        self._known.add(path)

    async def settle(self, path: str) -> None:
        """Let answers that come with the events be seen first."""
        if self._is_writing(self._paths[path]):
            await asyncio.sleep(_HOLD)

    def is_news(self, path: str, line: bytes) -> bool:
        """Whether a watch event has to be looked at: not if it tells of a write whose answer we have."""
        version = version_of(line) if line.startswith(_STATES) else None
        return version is None or not self._is_echo(self._paths[path], version)


def version_of(line: bytes) -> str | None:
    """The resourceVersion of the object in a watch event; None unless it is certain without decoding.

    Every object bears its version, and quotes within strings are escaped, so a single occurrence is the object's own.
    """
    start = line.find(_VERSION) + len(_VERSION)
    if start < len(_VERSION) or line.find(_VERSION, start) >= 0:
        return None
    return line[start : line.find(b'"', start)].decode()


class _ObservedSession:
    """The part of aiohttp.ClientSession that kopf uses, around a real one."""

    def __init__(self, session: aiohttp.ClientSession, observer: SessionObserver) -> None:
        self._session = session
        self._observer = observer

    async def request(self, method: str, url: str, **options: Any) -> aiohttp.ClientResponse:
        observer, path = self._observer, self._observer.path_of(method, url)
        if path is None:
            return await self._session.request(method, url, **options)
        query = url.partition("?")[2]
        if "watch=true" in query:
            response = await self._session.request(method, url, **options)
            news = NewsStream(response.content, partial(observer.is_news, path), partial(observer.settle, path))
            return cast("aiohttp.ClientResponse", _WatchResponse(response, news))
        observer.listing(path)
        response = await self._session.request(method, url, **options)
        if response.status == 200 and "continue=" not in query:  # further pages belong to the LIST that began
            observer.listed(path)
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class NewsStream:
    """The part of aiohttp.StreamReader that kopf reads a watch by: only the lines that are news."""

    def __init__(
        self,
        stream: aiohttp.StreamReader,
        is_news: Callable[[bytes], bool],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._is_news = is_news
        self._settle = settle

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines, as many as have arrived; at the end what is left, be it a line or not."""
        started: list[bytes] = []  # pieces of a line that has not ended yet
        async for data in self._stream.iter_chunked(size):
            ended, newline, rest = data.rpartition(b"\n")
            if newline:
                await self._settle()
                lines = b"".join((*started, ended)).split(b"\n")
                if news := [line for line in lines if self._is_news(line)]:
                    yield b"\n".join((*news, b""))
                started = []
            if rest:
                started.append(rest)
        if started:
            yield b"".join(started)


class _WatchResponse:
    """The part of aiohttp.ClientResponse that kopf uses of a watch, around a real one."""

    def __init__(self, response: aiohttp.ClientResponse, content: NewsStream) -> None:
        self._response = response
        self.content = content

    async def __aenter__(self) -> _WatchResponse:
        await self._response.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._response.__aexit__(*exception)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)
