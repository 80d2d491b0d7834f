"""Logs what is said in sessions, as far as LOG_PROMPTS permits it. Values of credentials are never logged."""

from __future__ import annotations

import logging

from agent_runtime.config import LogPrompts
from agent_runtime.credentials import Credentials, private_parts_removed

log = logging.getLogger(__name__)


class Prompts:
    """Writes down each thing said with its session, who says it, and how long it is; its text by the mode."""

    def __init__(self, mode: LogPrompts, credentials: Credentials) -> None:
        self._mode = mode
        self._credentials = credentials

    def said(self, session: str, by: str, text: str) -> None:
        """Note that `by` (user, model, tool or call) has said something."""
        fields: dict[str, object] = {"session": session, "by": by, "characters": len(text)}
        if self._mode != "none":
            clean = self._credentials.scrub(text)
            fields["text"] = private_parts_removed(clean) if self._mode == "redacted" else clean
        log.info("prompt", extra={"fields": fields})
