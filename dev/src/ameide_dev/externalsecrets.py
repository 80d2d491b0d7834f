"""A stand-in for external-secrets 1.3: the real API's behaviour over a secret store that is a file.

ExternalSecrets get their target Secret, with the labels, owner and conditions that the real controller gives it. The
store is a JSON file, `{"key": "value", "other": {"property": "value"}}`, which is read again whenever it changes. What
goes wrong on purpose is switched by `fail`.

    with ExternalSecrets(client, store) as stand_in:
        stand_in.put("ameide/acme/openai", {"apiKey": "…"})

Stores are not objects of the cluster here: whatever `secretStoreRef` names is this file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.informer import Informer, Key, WorkQueue, key_of
from ameide_dev.transport import ApiError, ConflictError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]
Value = str | Mapping[str, str]

API: Final = "external-secrets.io/v1"
FORCE_SYNC: Final = "force-sync"
"""Annotation whose change has an ExternalSecret fetched anew; any change of its metadata does."""
_DATA_HASH: Final = "reconcile.external-secrets.io/data-hash"
_MANAGED: Final = "reconcile.external-secrets.io/managed"
_LOOK_SECONDS: Final = 0.2
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}

FaultName = Literal["unavailable", "denied"]
_FAULTS: Final[Mapping[FaultName, str]] = {
    "unavailable": "error processing spec.data[0] (key: {key}), err: cannot reach the secret store: connection refused",
    "denied": "error processing spec.data[0] (key: {key}), err: permission denied",
}


class _NotSyncedError(Exception):
    """An ExternalSecret cannot be fetched now; the message is the one that its condition carries."""


class ExternalSecrets:
    """The controller; `start` follows ExternalSecrets in all namespaces, and the file."""

    def __init__(self, client: KubeClient, store: Path, *, retry_seconds: float = 0.5) -> None:
        """`retry_seconds`: how soon a failure is tried again (the real controller backs off up to minutes)."""
        self._client = client
        self._file = store
        self._retry = retry_seconds
        self._fault: FaultName | None = None
        self._paused = False
        self._told: dict[str, str] = {}  # by uid: the last cause that an Event told
        self._content: bytes | None = None
        self._queue: WorkQueue[Key] = WorkQueue()
        self._informer = Informer(client, API, "ExternalSecret", lambda _, item: self._queue.add(key_of(item)))
        self._secrets = Informer(client, "v1", "Secret", self._secret_changed, label_selector=f"{_MANAGED}=true")
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name="external-secrets", daemon=True),
            threading.Thread(target=self._follow, name="external-secrets-store", daemon=True),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start following and working; returns at once."""
        self._informer.start()
        self._secrets.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop working; what was made stays."""
        self._stopped.set()
        self._informer.stop()
        self._secrets.stop()
        self._queue.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    # --- what tests and the demo reach for --------------------------------------------------------------------------

    def put(self, key: str, value: Value) -> None:
        """Write an entry of the store: a text, or a map of properties. ExternalSecrets that name it follow at once."""
        self._write({**self._entries(), key: value if isinstance(value, str) else dict(value)})

    def remove(self, key: str) -> None:
        """Remove an entry of the store. Its Secrets stay, as `deletionPolicy: Retain` has it."""
        self._write({name: value for name, value in self._entries().items() if name != key})

    def fail(self, fault: FaultName) -> None:
        """Have the store fail: unreachable, or refusing us."""
        self._fault = fault
        self._queue_all()

    def heal(self) -> None:
        """Undo `fail`."""
        self._fault = None
        self._queue_all()

    def pause(self) -> None:
        """Do nothing at all until `resume`, as a controller that is down or slow."""
        self._paused = True

    def resume(self) -> None:
        """Undo `pause` and look at everything again."""
        self._paused = False
        self._queue_all()

    # --- the store --------------------------------------------------------------------------------------------------

    def _entries(self) -> dict[str, Any]:
        try:
            entries: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return entries

    def _write(self, entries: Mapping[str, Any]) -> None:
        # In one step, so that nobody reads half of it.
        draft = self._file.with_name(f"{self._file.name}.new")
        draft.write_text(json.dumps(entries), encoding="utf-8")
        draft.replace(self._file)

    def _follow(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                content = self._file.read_bytes()
            except OSError:
                content = b""
            if content != self._content:
                self._content = content
                self._queue_all()

    def _value(self, reference: Mapping[str, Any]) -> str:
        key, name = str(reference["key"]), reference.get("property")
        if self._fault is not None:
            raise _NotSyncedError(_FAULTS[self._fault].format(key=key))
        try:
            entry = self._entries()[key]
        except (KeyError, ValueError):
            message = f"error processing spec.data[0] (key: {key}), err: Secret does not exist"
            raise _NotSyncedError(message) from None
        if name is None:
            return entry if isinstance(entry, str) else json.dumps(entry)
        if not isinstance(entry, dict) or name not in entry:
            raise _NotSyncedError(f"error processing spec.data[0] (key: {key}), err: property {name} does not exist")
        return str(entry[name])

    # --- the controller ---------------------------------------------------------------------------------------------

    def _queue_all(self) -> None:
        for item in self._informer.items():
            self._queue.add(key_of(item))

    def _secret_changed(self, _event: str, secret: Object) -> None:
        for owner in secret["metadata"].get("ownerReferences") or ():
            if owner["kind"] == "ExternalSecret":
                self._queue.add((secret["metadata"]["namespace"], owner["name"]))

    def _work(self) -> None:
        while (key := self._queue.get()) is not None:
            item = self._informer.get(key)
            if self._paused or item is None or item["metadata"].get("deletionTimestamp"):
                continue
            try:
                self._reconcile(item)
            except (ApiError, UnavailableError, ConflictError) as error:
                log.info("ExternalSecret %s/%s: %s", *key, error)
                self._queue.add(key, after=self._retry)
            except Exception:
                log.exception("ExternalSecret %s/%s", *key)
                self._queue.add(key, after=self._retry)

    def _reconcile(self, item: Object) -> None:
        key = key_of(item)
        try:
            values = {entry["secretKey"]: self._value(entry["remoteRef"]) for entry in item["spec"].get("data") or ()}
            self._make(item, values)
        except _NotSyncedError as error:
            self._report(item, "False", "SecretSyncedError", "could not get secret data from provider", None)
            self._tell(item, f"could not get secret data from provider: {error}")
            self._queue.add(key, after=self._retry)
            return
        self._report(item, "True", "SecretSynced", "secret synced", _digest(values))
        self._queue.add(key, after=_seconds(item["spec"].get("refreshInterval", "1h")))

    def _make(self, item: Object, values: Mapping[str, str]) -> None:
        """Create the target, or bring it to the values. Raises _NotSyncedError where it is somebody else's."""
        target = item["spec"].get("target") or {}
        namespace, name = item["metadata"]["namespace"], target.get("name") or item["metadata"]["name"]
        template = (target.get("template") or {}).get("metadata") or {}
        owner = {
            "apiVersion": API,
            "kind": "ExternalSecret",
            "name": item["metadata"]["name"],
            "uid": item["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        wanted: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {**(template.get("labels") or item["metadata"].get("labels") or {}), _MANAGED: "true"},
                "annotations": {**(template.get("annotations") or {}), _DATA_HASH: _digest(values)},
                "ownerReferences": [owner],
            },
            "type": (target.get("template") or {}).get("type", "Opaque"),
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        live = self._client.find("v1", "Secret", name, namespace)
        if live is None:
            self._client.create(wanted)
            return
        owners = live["metadata"].get("ownerReferences") or []
        if any(one.get("controller") and one["uid"] != owner["uid"] for one in owners):
            raise _NotSyncedError(f"target is owned by another controller: Secret {name}")
        if not owners:
            live["metadata"]["ownerReferences"] = [owner]  # a Secret of nobody is taken over, as in reality
        labels = {**(live["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
        annotations = {**(live["metadata"].get("annotations") or {}), **wanted["metadata"]["annotations"]}
        if (live.get("data"), live["metadata"].get("labels"), live["metadata"].get("annotations")) != (
            wanted["data"],
            labels,
            annotations,
        ):
            metadata = {**live["metadata"], "labels": labels, "annotations": annotations}
            self._client.replace({**live, "metadata": metadata, "data": wanted["data"]})

    def _tell(self, item: Object, message: str) -> None:
        """The Event that has the cause, which the condition has not; once for each cause."""
        metadata = item["metadata"]
        if self._told.get(metadata["uid"]) == message:
            return
        self._told[metadata["uid"]] = message
        involved = {
            "apiVersion": API,
            "kind": "ExternalSecret",
            **{k: metadata[k] for k in ("name", "namespace", "uid")},
        }
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._client.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
                "involvedObject": involved,
                "type": "Warning",
                "reason": "UpdateFailed",
                "message": message,
                "source": {"component": "external-secrets"},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
        )

    def _report(self, item: Object, status: str, reason: str, message: str, digest: str | None) -> None:
        metadata = item["metadata"]
        version = f"{metadata.get('generation', 1)}-{hashlib.sha256(_essence(metadata).encode()).hexdigest()[:16]}"
        known = condition_of(item, "Ready") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = (known.get("status"), known.get("reason"), known.get("message"))
        previous = item.get("status") or {}
        if told == (status, reason, message) and (digest is None or previous.get("syncedResourceVersion") == version):
            return
        moved = known.get("lastTransitionTime") if known.get("status") == status else now
        condition = {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": moved,
        }
        patch: Object = {"conditions": [condition]}
        if digest is not None:
            patch |= {"refreshTime": now, "syncedResourceVersion": version}
        self._client.patch_status(API, "ExternalSecret", metadata["name"], patch, metadata["namespace"])


def _essence(metadata: Mapping[str, Any]) -> str:
    """What of the metadata has an ExternalSecret fetched anew."""
    return json.dumps([metadata.get("labels") or {}, metadata.get("annotations") or {}], sort_keys=True)


def _digest(values: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:32]


def _seconds(duration: str) -> float:
    """Seconds of a Go duration such as 1h0m0s; 0 (never again) is taken as a day."""
    found = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([smh])", duration))
    return found or 86400.0
