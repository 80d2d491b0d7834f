"""What the worker is told by its environment, read once at start; files that may change are read when they are used."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFINITIONS = "/etc/ameide/process"
DRAIN = "/etc/ameide/drain/drain"


class ConfigError(Exception):
    """The environment lacks something or says what cannot be; the message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class TemporalFiles:
    """How to prove oneself to Temporal: files, so that they can be replaced while the worker runs."""

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    api_key: Path | None = None

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """What changes when one of the files does: names, times in nanoseconds and sizes."""
        found = []
        for path in (self.ca, self.certificate, self.key, self.api_key):
            if path is not None and path.exists():
                stat = path.stat()
                found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the worker knows of its surroundings."""

    address: str
    namespace: str
    task_queue: str
    definition_id: str
    definition_version: str
    checksum: str
    definitions: Path
    drain_file: Path
    tenant: str
    tenant_header: str
    concurrency: int | None
    """How many calls run at once for one tenant in this worker; None sets no limit."""
    dependencies: Mapping[str, Mapping[str, str]]
    """Target, as `domain/sales` or `domain/other/sales`, → its address by protocol."""
    credentials: TemporalFiles
    identity: str
    host: str
    port: int
    log_level: str
    metrics_tags: Mapping[str, str] = field(default_factory=dict)
    deployment: tuple[str, str] | None = None
    """Deployment name and build id when Temporal's Worker Versioning routes the work."""
    shutdown_seconds: float = 20.0


def read(env: Mapping[str, str] = os.environ) -> Config:
    """Read the environment. Raises ConfigError, which names every variable that is missing."""
    queue = env.get("TASK_QUEUE") or env.get("TEMPORAL_TASK_QUEUE", "")
    needed = {
        "TEMPORAL_ADDRESS": env.get("TEMPORAL_ADDRESS", ""),
        "TEMPORAL_NAMESPACE": env.get("TEMPORAL_NAMESPACE", ""),
        "TASK_QUEUE": queue,
        "AMEIDE_PROCESS_DEFINITION_CHECKSUM": env.get("AMEIDE_PROCESS_DEFINITION_CHECKSUM", ""),
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise ConfigError(f"{', '.join(missing)} must be set; a Process's operator sets them in its worker pods")
    name, build = env.get("TEMPORAL_DEPLOYMENT_NAME", ""), env.get("TEMPORAL_WORKER_BUILD_ID", "")
    return Config(
        address=needed["TEMPORAL_ADDRESS"],
        namespace=needed["TEMPORAL_NAMESPACE"],
        task_queue=queue,
        definition_id=env.get("AMEIDE_PROCESS_DEFINITION_ID", ""),
        definition_version=env.get("AMEIDE_PROCESS_DEFINITION_VERSION", ""),
        checksum=needed["AMEIDE_PROCESS_DEFINITION_CHECKSUM"],
        definitions=_place(env, "AMEIDE_PROCESS_DEFINITION_DIR", DEFINITIONS),
        drain_file=_place(env, "AMEIDE_DRAIN_FILE", DRAIN),
        tenant=env.get("AMEIDE_TENANT_ID", ""),
        tenant_header=env.get("AMEIDE_TENANT_HEADER") or "x-tenant-id",
        concurrency=_whole(env, "AMEIDE_MAX_CONCURRENCY_PER_TENANT", 1)
        if env.get("AMEIDE_MAX_CONCURRENCY_PER_TENANT")
        else None,
        dependencies=_dependencies(env.get("AMEIDE_DEPENDENCIES", "")),
        credentials=_credentials(env),
        identity=env.get("POD_NAME") or f"{os.getpid()}@{socket.gethostname()}",
        host=env.get("POD_IP", ""),
        port=_whole(env, "PORT_HTTP", 8080),
        log_level=(env.get("LOG_LEVEL") or "info").upper(),
        metrics_tags=_tags(env.get("AMEIDE_METRICS_TAGS", "")),
        deployment=(name, build) if name and build else None,
        shutdown_seconds=float(_whole(env, "AMEIDE_SHUTDOWN_SECONDS", 20)),
    )


def _place(env: Mapping[str, str], variable: str, default: str) -> Path:
    if env.get(variable):
        return Path(env[variable])
    # Where a container has no file system of its own, its mounts lie below this folder.
    return Path(env.get("AMEIDE_HOST_ROOT", "") + default)


def _whole(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{variable}={text!r} must be a whole number of at least 1")
    return int(text)


def _credentials(env: Mapping[str, str]) -> TemporalFiles:
    def path(variable: str) -> Path | None:
        return Path(env[variable]) if env.get(variable) else None

    certificate, key = path("TEMPORAL_TLS_CERT_FILE"), path("TEMPORAL_TLS_KEY_FILE")
    if (certificate is None) != (key is None):
        raise ConfigError("TEMPORAL_TLS_CERT_FILE and TEMPORAL_TLS_KEY_FILE go together: set both or none")
    ca, api_key = path("TEMPORAL_TLS_CA_FILE"), path("TEMPORAL_API_KEY_FILE")
    server_name = env.get("TEMPORAL_TLS_SERVER_NAME") or None
    asked = env.get("TEMPORAL_TLS", "").lower()
    tls = asked == "true" or (asked != "false" and any((ca, certificate, server_name, api_key)))
    return TemporalFiles(tls, ca, certificate, key, server_name, api_key)


def _dependencies(text: str) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(text or "{}")
        return {target: {protocol: str(at) for protocol, at in places.items()} for target, places in found.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f'AMEIDE_DEPENDENCIES must be JSON such as {{"domain/sales": {{"http": "http://…"}}}}: {error}'
        ) from error


def _tags(text: str) -> dict[str, str]:
    """`a=1,b=2`, or a JSON object of texts."""
    if not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        try:
            return {str(key): str(value) for key, value in json.loads(text).items()}
        except ValueError as error:
            raise ConfigError(f"AMEIDE_METRICS_TAGS is no JSON object: {error}") from error
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise ConfigError(f"AMEIDE_METRICS_TAGS={text!r} must be name=value pairs joined by commas, or a JSON object")
    return {name.strip(): value.strip() for name, _, value in pairs}
