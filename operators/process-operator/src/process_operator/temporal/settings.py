"""Settings of the connections to Temporal: an author picks one by name, never an address that credentials go to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from ameide_shared.settings import Seconds, Section

DEFAULT_CONNECTION = "default"
_ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"


class _Entry(Section):
    """A group within a table, whose keys may be spelled in camelCase too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class TlsSettings(_Entry):
    """Files (PEM) for TLS; they are read again when they change."""

    ca_file: Path | None = Field(
        None, description="Certificates that the server's is checked against; else the system's."
    )
    cert_file: Path | None = Field(None, description="Client certificate.")
    key_file: Path | None = Field(None, description="Private key of the client certificate.")
    server_name: str | None = Field(None, description="Name in the server's certificate where the address differs.")

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: set both or neither")
        return self


class TemporalConnection(_Entry):
    """One Temporal server, and what the operator may do there."""

    address: Annotated[str, Field(pattern=_ADDRESS)] = Field(description="host:port of the gRPC frontend.")
    tls: TlsSettings | None = Field(None, description="TLS; {} for the system's authorities. Not set: without TLS.")
    api_key_file: Path | None = Field(None, description="File with an API key; implies TLS.")
    worker_secret: str | None = Field(
        None,
        description="Secret in a Process's own namespace with what its workers need for this connection: ca.crt, "
        "tls.crt and tls.key, api-key, each where the operator has a file for it.",
    )
    namespaces: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Globs over tenants, each with globs over the Temporal namespaces that they may use, in which "
        "{tenant} stands for the tenant; empty: every tenant may use every namespace.",
    )
    register_namespaces: bool = Field(False, description="Register namespaces that are missing.")
    register_search_attribute: bool = Field(
        False, description="Register the search attribute AmeideDefinitionChecksum in namespaces that lack it."
    )
    retention_days: int = Field(7, ge=1, description="Days that closed workflows stay in namespaces we register.")


@dataclass(frozen=True, slots=True)
class Credential:
    """One file of a worker Secret: its key, the worker's variable that names the file, and KEDA's name for it."""

    key: str
    variable: str
    parameter: str


def credentials(connection: TemporalConnection | None) -> tuple[Credential, ...]:
    """What the worker Secret of a connection holds: the counterparts of the operator's own files."""
    if connection is None or connection.worker_secret is None:
        return ()
    tls, found = connection.tls, []
    if tls is not None and tls.ca_file is not None:
        found.append(Credential("ca.crt", "TEMPORAL_TLS_CA_FILE", "ca"))
    if tls is not None and tls.cert_file is not None:
        found.append(Credential("tls.crt", "TEMPORAL_TLS_CERT_FILE", "cert"))
        found.append(Credential("tls.key", "TEMPORAL_TLS_KEY_FILE", "key"))
    if connection.api_key_file is not None:
        found.append(Credential("api-key", "TEMPORAL_API_KEY_FILE", "apiKey"))
    return tuple(found)


class TemporalSettings(Section):
    """Which Temporal servers there are, and how often they are asked."""

    connections: dict[str, TemporalConnection] = Field(
        default_factory=lambda: {DEFAULT_CONNECTION: TemporalConnection(address="temporal-frontend.temporal.svc:7233")},
        description="Temporal servers by the name that `spec.temporal.connection` picks.",
    )
    timeout: Seconds = Field(5.0, description="Seconds that one request to Temporal may take.")
    check_seconds: Seconds = Field(30.0, description="Seconds between two looks at a task queue.")
    poller_seconds: Seconds = Field(
        90.0, description="Seconds after its last request when a worker no longer counts as polling (idle: each 60)."
    )
    scan_limit: int = Field(
        10000, ge=1, description="Open workflows of a queue that are looked at for the definition they run."
    )

    def permits(self, connection: str, tenant: str, namespace: str) -> bool:
        """Whether a tenant may use a namespace of a connection. An unknown connection permits nothing."""
        found = self.connections.get(connection)
        if found is None:
            return False
        if not found.namespaces:
            return True
        own = re.sub(r"([*?\[])", r"[\1]", tenant)  # as itself within a glob
        return any(
            fnmatchcase(namespace, glob.replace("{tenant}", own))
            for tenants, globs in found.namespaces.items()
            if fnmatchcase(tenant, tenants)
            for glob in globs
        )
