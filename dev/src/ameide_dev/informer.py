"""Follow the objects of one kind: a thread that lists, watches and keeps a copy; and a queue of keys to work on."""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from ameide_dev.client import KubeClient, Resource, UnknownKindError
from ameide_dev.transport import ApiError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""
Handler = Callable[[str, Object], None]
K = TypeVar("K", bound=Hashable)

_RETRY_SECONDS = 0.5
_WATCH_SECONDS = 240.0


def key_of(item: Object) -> Key:
    """The key of an object."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class Informer:
    """A copy of all objects of one kind (optionally by label), kept current; survives an absent API server.

    `handler(event, object)` is called from the informer's thread with ADDED, MODIFIED or DELETED.
    """

    def __init__(
        self, client: KubeClient, api_version: str, kind: str, handler: Handler, *, label_selector: str = ""
    ) -> None:
        self._client = client
        self._api_version = api_version
        self._kind = kind
        self._handler = handler
        self._selector = label_selector
        self._items: dict[Key, Object] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._synced = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"informer-{kind}", daemon=True)

    def start(self) -> None:
        """Start following; `wait_synced` tells when the first list is in."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; no handler is called afterwards, though the watch's connection may linger."""
        self._stopped.set()

    def wait_synced(self, timeout: float) -> bool:
        """Wait until the first list has been handled; whether it was within `timeout` seconds."""
        return self._synced.wait(timeout)

    def get(self, key: Key) -> Object | None:
        """The copy of one object, None when there is none."""
        with self._lock:
            return self._items.get(key)

    def items(self) -> list[Object]:
        """Copies of all objects."""
        with self._lock:
            return list(self._items.values())

    def put(self, item: Object) -> None:
        """Take in the answer to a write of one's own, so that the copy is not older than what was written."""
        with self._lock:
            if key_of(item) in self._items:
                self._items[key_of(item)] = item

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                version = self._list()
                self._synced.set()
                while not self._stopped.is_set():
                    version = self._watch(version)
            except (ApiError, UnavailableError, UnknownKindError) as error:
                # An expired watch, an API server that is away, a CRD that is not installed yet: list again.
                log.debug("%s: listing again: %s", self._kind, error)
            except Exception:
                if not self._stopped.is_set():  # a client that was closed meanwhile raises what it likes
                    log.exception("%s: listing again", self._kind)
            self._stopped.wait(_RETRY_SECONDS)

    def _list(self) -> str:
        resource: Resource = self._client.resource(self._api_version, self._kind)
        params = {"labelSelector": self._selector} if self._selector else {}
        answer = self._client.request("GET", resource.path(), params=params)
        found = {key_of(item): self._typed(item) for item in answer["items"]}
        with self._lock:
            gone = [item for key, item in self._items.items() if key not in found]
        for item in gone:
            self._handle("DELETED", item)
        for item in found.values():
            self._handle("ADDED", item)
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        for event, item in self._client.watch(
            self._api_version,
            self._kind,
            resource_version=version,
            label_selector=self._selector,
            timeout=_WATCH_SECONDS,
        ):
            if self._stopped.is_set():
                break
            version = str(item["metadata"]["resourceVersion"])
            if event != "BOOKMARK":
                self._handle(event, self._typed(item))
        return version

    def _typed(self, item: Object) -> Object:
        return {**item, "apiVersion": self._api_version, "kind": self._kind}

    def _handle(self, event: str, item: Object) -> None:
        with self._lock:
            if event == "DELETED":
                self._items.pop(key_of(item), None)
            else:
                self._items[key_of(item)] = item
        if not self._stopped.is_set():
            self._handler(event, item)


class WorkQueue(Generic[K]):
    """Keys that are due now or later; a key that is queued twice is worked on once, at the earlier time."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._closed = False

    def add(self, key: K, after: float = 0.0) -> None:
        """Queue a key, due in `after` seconds."""
        due = time.monotonic() + after
        with self._changed:
            if key in self._due and self._due[key] <= due:
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._changed.notify()

    def get(self) -> K | None:
        """Wait for the next key that is due; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)  # superseded by an earlier time
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    key = heapq.heappop(self._heap)[2]
                    del self._due[key]
                    return key
                self._changed.wait(self._heap[0][0] - now if self._heap else None)
            return None

    def close(self) -> None:
        """Let `get` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
