"""Domains as the tests on the local platform write them, and the operator that they are for."""

from __future__ import annotations

from ameide_dev.testing.resources import Resources
from ameide_dev.testing.subject import Subject

CLIENT_IMAGE = "ghcr.io/ameide/hostnode-postgres:18"
SUBJECT = Subject("domain", {"AMEIDE_DATABASE__CLIENT_IMAGE": CLIENT_IMAGE})


class Domains(Resources):
    """Domains of one namespace; the least one has no database."""

    kind = "Domain"
    name = "orders"
    spec = {"image": "ghcr.io/ameide/orders-domain:1.12.3", "resources": {"cpu": "100m", "memory": "64Mi"}}  # noqa: RUF012 - never changed
