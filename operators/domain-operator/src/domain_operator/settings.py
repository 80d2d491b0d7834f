"""Settings of the Domain operator: those of every operator, and how databases are reached."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ameide_shared.settings import OperatorSettings, Seconds, Section


class DatabaseSettings(Section):
    """How databases on CloudNativePG are provisioned and reached."""

    client_image: str = Field(
        "ghcr.io/cloudnative-pg/postgresql:18",
        description="Image with sh and psql: grants rights before migrations, provisions shared databases.",
    )
    ssl_mode: Literal["require", "verify-ca", "verify-full", "prefer", "disable"] = Field(
        "require", description="TLS mode in the connection URIs that containers get."
    )
    cluster_domain: str = Field("", description="Suffix of database host names after .svc, such as cluster.local.")
    provision_timeout: Seconds = Field(300.0, description="Seconds that a provisioning Job may take.")


class DomainSettings(OperatorSettings):
    """`AMEIDE_*` settings of the Domain operator."""

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
