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
    check_names: bool = Field(
        True,
        description="Before the first object for a Domain is made, look in PostgreSQL itself for a database or role of "
        "its names that was made by hand, which CloudNativePG would take over. A Job beside the Cluster does it, with "
        "the Secret of the Cluster's own application.",
    )
    provision_timeout: Seconds = Field(300.0, description="Seconds that a Job beside a Cluster may take.")


class DomainSettings(OperatorSettings):
    """`AMEIDE_*` settings of the Domain operator."""

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
