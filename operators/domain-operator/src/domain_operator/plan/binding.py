"""Which database a Domain is bound to: names and addresses, derived from the spec alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared.builders.identity import Primitive, foreign_name
from ameide_shared.kube.resources import Manifest, ObjectKey
from domain_operator.settings import DatabaseSettings
from domain_operator.spec import Domain

DB_READY: Final = "DBReady"
PORT: Final = 5432

# Keys of a connection Secret; CloudNativePG's own `<cluster>-app` Secrets have the same.
KEY_OF_VARIABLE: Final = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "username",
    "PGPASSWORD": "password",
    "DATABASE_URL": "uri",
    "JDBC_DATABASE_URL": "jdbc-uri",
}
FLYWAY_KEY_OF_VARIABLE: Final = {
    "FLYWAY_URL": "jdbc-uri",
    "FLYWAY_USER": "username",
    "FLYWAY_PASSWORD": "password",
}
OPTIONAL_KEYS: Final = frozenset({"jdbc-uri"})
"""Keys that a Secret made by somebody else may lack."""


Name = tuple[str, str]
"""What a name is of (`database` or `role`), and the name in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class ForeignNames:
    """Names of what is made in the Cluster's namespace; a role's password Secret has the name of its DatabaseRole."""

    app: str
    owner: str
    database: str

    @classmethod
    def of(cls, primitive: Primitive) -> ForeignNames:
        return cls(foreign_name(primitive, "-app"), foreign_name(primitive, "-owner"), foreign_name(primitive))


@dataclass(frozen=True, slots=True)
class Binding:
    """A Domain's database. `app_secret` and `owner_secret` are connection Secrets in the Domain's own namespace.

    With `provisioning: None` both are the Secret that the spec names, and `owner` equals `role`.
    """

    provisioning: str  # Database, Job or None
    cluster: ObjectKey
    database: str
    schema: str
    role: str
    owner: str
    app_secret: str
    owner_secret: str
    host: str
    made: ForeignNames

    @property
    def provisioned(self) -> bool:
        """Whether the operator makes roles and schema, rather than being given a Secret."""
        return self.provisioning != "None"

    @property
    def names(self) -> tuple[Name, ...]:
        """The names that it needs in PostgreSQL."""
        return ("database", self.database), ("role", self.role), ("role", self.owner)


def bind(primitive: Primitive, domain: Domain, settings: DatabaseSettings) -> Binding | None:
    """The binding that a spec asks for, None without `spec.db`."""
    db = domain.spec.db
    if db is None:
        return None
    key = ObjectKey(*domain.cluster)
    made = ForeignNames.of(primitive)
    host = f"{key.name}-rw.{key.namespace}.svc"
    if settings.cluster_domain:
        host = f"{host}.{settings.cluster_domain}"
    if db.provisioning == "None":
        secret = db.connection_secret_ref.name if db.connection_secret_ref else ""
        return Binding(
            "None", key, domain.database, db.schema_name, domain.role, domain.role, secret, secret, host, made
        )
    return Binding(
        provisioning=db.provisioning,
        cluster=key,
        database=domain.database,
        schema=db.schema_name,
        role=domain.role,
        owner=domain.owner_role,
        app_secret=f"{primitive.child_name}-db",
        owner_secret=f"{primitive.child_name}-db-owner",
        host=host,
        made=made,
    )


def cluster_key(db: Mapping[str, object], namespace: str) -> ObjectKey:
    """The Cluster that a raw `spec.db` refers to."""
    where, _, name = str(db.get("clusterRef", "")).rpartition("/")
    return ObjectKey(where or namespace, name)


def wanted_names(domain: Manifest) -> tuple[Name, ...]:
    """The names in PostgreSQL that a Domain's raw `spec.db` asks for; none without one."""
    db, name = (domain.get("spec") or {}).get("db"), domain["metadata"]["name"]
    if not db:
        return ()
    role = db.get("role") or name
    return ("database", db.get("database") or name), ("role", role), ("role", f"{role}_owner")


def connection_env(binding: Binding, secret: str) -> list[dict[str, Any]]:
    """The connection variables of a container, by reference to a connection Secret."""
    return [
        *(_from_secret(name, secret, key) for name, key in KEY_OF_VARIABLE.items()),
        {"name": "DB_SCHEMA", "value": binding.schema},
    ]


def flyway_env(binding: Binding) -> list[dict[str, Any]]:
    """What Flyway reads, for migrators built on it; migrations are made as the owner."""
    return [
        *(_from_secret(name, binding.owner_secret, key) for name, key in FLYWAY_KEY_OF_VARIABLE.items()),
        {"name": "FLYWAY_SCHEMAS", "value": binding.schema},
        {"name": "FLYWAY_DEFAULT_SCHEMA", "value": binding.schema},
        {"name": "FLYWAY_LOCATIONS", "value": "filesystem:/flyway/sql"},
    ]


def _from_secret(variable: str, secret: str, key: str) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret, "key": key}
    if key in OPTIONAL_KEYS:
        reference["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}
