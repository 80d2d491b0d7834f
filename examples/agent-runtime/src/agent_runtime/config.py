"""What the runtime is told by its environment, read once at start; files that change are read when they are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import urlsplit

FOLDER: Final = "/etc/ameide/agent"
LogPrompts = Literal["none", "redacted", "full"]


class ConfigError(Exception):
    """The environment lacks something or says what cannot be; the message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the runtime knows of its surroundings."""

    definition_id: str
    definition_version: str
    checksum: str
    """`sha256:` and 64 hex digits of the definition as canonical JSON; empty: it is not checked."""
    tenant: str
    tenant_header: str
    provider: str
    model: str
    base_url: str
    """Where the model is if the grants name no address; empty: nobody says."""
    risk_tier: str
    max_sessions: int
    log_prompts: LogPrompts
    emit_tokens: bool
    definition_file: Path
    grants_file: Path
    root: str
    """What paths in the grants lie below, where a container has no file system of its own; else empty."""
    host: str
    port: int
    log_level: str
    session_seconds: float
    shutdown_seconds: float
    max_steps: int
    """How often the model is asked in one session."""


def read(env: Mapping[str, str] = os.environ) -> Config:
    """Read the environment. Raises ConfigError, which names every variable that is missing."""
    needed = ("AGENT_DEFINITION_ID", "MODEL_PROVIDER", "MODEL_NAME", "RISK_TIER")
    if missing := [name for name in needed if not env.get(name)]:
        raise ConfigError(f"{', '.join(missing)} must be set; an Agent's operator sets them in its pods")
    log_prompts = env.get("LOG_PROMPTS") or "none"
    if log_prompts not in get_args(LogPrompts):
        raise ConfigError(f"LOG_PROMPTS={log_prompts!r} must be one of {', '.join(get_args(LogPrompts))}")
    root = env.get("AMEIDE_HOST_ROOT", "")
    folder = Path(env.get("AMEIDE_AGENT_DIR") or root + FOLDER)
    return Config(
        definition_id=env["AGENT_DEFINITION_ID"],
        definition_version=env.get("AGENT_DEFINITION_VERSION", ""),
        checksum=env.get("AGENT_DEFINITION_CHECKSUM", ""),
        tenant=env.get("TENANT_ID", ""),
        tenant_header=env.get("AMEIDE_TENANT_HEADER") or "x-tenant-id",
        provider=env["MODEL_PROVIDER"],
        model=env["MODEL_NAME"],
        base_url=_url(env, "MODEL_BASE_URL"),
        risk_tier=env["RISK_TIER"],
        max_sessions=_whole(env, "MAX_PARALLEL_SESSIONS", 16),
        log_prompts=cast(LogPrompts, log_prompts),
        emit_tokens=_flag(env, "EMIT_TOKENS"),
        definition_file=folder / "definition.json",
        grants_file=folder / "grants.json",
        root=root,
        host=env.get("POD_IP") or "0.0.0.0",  # noqa: S104 (a pod without an address of its own serves all it has)
        port=_whole(env, "PORT_HTTP", 8080),
        log_level=(env.get("LOG_LEVEL") or "info").upper(),
        session_seconds=float(_whole(env, "AMEIDE_SESSION_SECONDS", 300)),
        shutdown_seconds=float(_whole(env, "AMEIDE_SHUTDOWN_SECONDS", 20)),
        max_steps=_whole(env, "AMEIDE_MAX_STEPS", 8),
    )


def _whole(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(f"{variable}={text!r} must be a whole number of at least 1")
    return int(text)


def _flag(env: Mapping[str, str], variable: str) -> bool:
    text = (env.get(variable) or "false").lower()
    if text not in ("true", "false"):
        raise ConfigError(f"{variable}={text!r} must be true or false")
    return text == "true"


def _url(env: Mapping[str, str], variable: str) -> str:
    text = env.get(variable, "").rstrip("/")
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
        raise ConfigError(f"{variable} must be a base URL as in https://models.example/v1, without user or password")
    return text
