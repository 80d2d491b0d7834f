"""JSON as the API server writes it."""

from __future__ import annotations

import json
from typing import Any

_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029\x7f"}


def canonical_json(body: Any) -> bytes:
    """JSON as the API server itself writes it: keys sorted, no spaces, UTF-8, `<>&` and line separators escaped.

    It keeps the bytes of a ControllerRevision's `data` and compares them byte by byte: written in another form, every
    later patch, be it by the garbage collector, would be refused as a change. Surrogate escapes, which an apply's YAML
    decoder does not know, do not occur.
    """
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPES).encode()
