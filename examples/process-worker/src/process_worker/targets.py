"""Finds where the dependencies of the Process are, and writes paths below their addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote


def address(target: Mapping[str, Any], protocol: str, dependencies: Mapping[str, Mapping[str, str]]) -> str | None:
    """The base address of a binding's target, for HTTP with its scheme and no slash at the end; None if not given."""
    key = "/".join(part for part in (target["kind"], target.get("namespace"), target["name"]) if part)
    found = dependencies.get(key, {}).get(protocol)
    if not found:
        return None
    if protocol == "http" and "://" not in found:
        found = f"http://{found}"
    return found.rstrip("/")


class PathError(ValueError):
    """A value cannot be a segment of a URL path."""


def path(segments: Sequence[object]) -> str:
    """A URL path of segments, each escaped as a whole, so that no value can leave its segment. Raises PathError."""
    return "".join("/" + _segment(segment) for segment in segments)


def _segment(value: object) -> str:
    text = "" if value is None else str(value)
    # An escaped `..` is still `..` to a server that normalises paths, and an empty segment names another resource.
    if text in ("", ".", "..") or isinstance(value, bool | list | dict):
        raise PathError(f"{value!r} cannot be a segment of the path: a text or number that is not empty, `.` or `..`")
    return quote(text, safe="")
