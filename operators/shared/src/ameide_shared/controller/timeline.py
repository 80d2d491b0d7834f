"""Whether the API server has gone back in time, as it does where etcd was restored from a backup.

What we have in memory is then of a past that never was, and since caches take nothing older than what they have, they
would stay blind for years of versions. Nothing but a start from scratch helps. Two things tell it from a server, or a
replica of one, that merely lags:

- A LIST has an object in an older state than we have seen, although the version of the LIST is not below that state's.
  No LIST of one and the same history can: it contains all that was written up to its version.
- A LIST is of a lower version than what we had seen before we asked, and so is each one for a while. Versions of all
  LISTs that we ask for are current by contract; where one is not, it catches up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ameide_shared.kube.cache import Store, version_number
from ameide_shared.kube.resources import ObjectKey


class WentBackError(Exception):
    """The API server serves an older history than the one that we have followed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One complete LIST of one namespace (None: of all): uid and version by key."""

    namespace: str | None
    objects: Mapping[ObjectKey, tuple[str, str]]
    resource_version: str


class Timeline:
    """Judges the LISTs of one kind. For `patience` seconds a server may lag."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._older: tuple[float, float] | None = None  # what we had seen when a LIST was older than that, and when

    def judge(self, store: Store, seen: Sequence[Seen], newest: float, now: float) -> bool:
        """False while a LIST is older than what we have seen, and worth nothing. Raises WentBackError.

        `newest` is the store's highest version before the LIST was asked for.
        """
        for part in seen:
            _contradiction(store, part)
        listed = min(version_number(part.resource_version) for part in seen)
        if listed >= newest:
            self._older = None
            return True
        if self._older is None or listed >= self._older[0]:
            self._older = (newest, now)  # it goes forwards, however late
        elif now - self._older[1] >= self._patience:
            raise WentBackError(
                f"{store.resource} had version {self._older[0]:.0f}, and {self._patience:.0f} s later the API server "
                f"lists version {listed:.0f}: it has gone back in time, as after a restore of etcd; starting anew"
            )
        return False


def _contradiction(store: Store, part: Seen) -> None:
    """Raise if a LIST cannot belong to the history in which we have seen its objects."""
    listed = version_number(part.resource_version)
    for key, (_, version) in part.objects.items():
        live = store.get(key)
        if live is None:
            continue
        known = version_number(live["metadata"].get("resourceVersion"))
        if version_number(version) < known <= listed:
            raise WentBackError(
                f"{store.resource} {key} had version {known:.0f}, and a list of version {listed:.0f} has it at "
                f"version {version}: the API server has gone back in time, as after a restore of etcd; starting anew"
            )
