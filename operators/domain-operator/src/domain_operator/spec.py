"""The Domain: its typed spec and status, and every rule a manifest must meet. The CRD is generated from here."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from ameide_shared.spec import (
    Argument,
    CommonSpec,
    CommonStatus,
    EnvVar,
    Image,
    Lenient,
    ListType,
    Model,
    ObjectName,
    ResourceModel,
    Rollout,
    StatusModel,
    Timestamp,
    fixed,
    list_map,
    matching,
    not_matching,
    rule,
    transition_rule,
)

RESERVED_ENV: Final = (
    "PG[A-Z]+|DATABASE_URL|JDBC_DATABASE_URL|DB_SCHEMA"
    "|FLYWAY_(URL|USER|PASSWORD|DRIVER|LOCATIONS|SCHEMAS|DEFAULT_SCHEMA)"
)
"""Names that the operator sets on a Domain's containers, besides those of every kind; a regular expression."""
_RESERVED_ENV: Final = re.compile(RESERVED_ENV)

_IDENTIFIER_REMEDY: Final = (
    "use lowercase letters, digits and '_', beginning with a letter or '_', at most {} characters"
)

SchemaName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching("[a-z_][a-z0-9_]*", "is not a PostgreSQL schema name", _IDENTIFIER_REMEDY.format(63)),
    not_matching(
        "pg_.*|information_schema|public",
        "is a schema that PostgreSQL reserves, or that every role may share (public)",
        "choose a name of the Domain's own",
    ),
]
DatabaseName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        "[a-z_][-a-z0-9_]*", "is not a database name", _IDENTIFIER_REMEDY.format(63).replace("'_',", "'_' or '-',", 1)
    ),
    not_matching(
        "postgres|template0|template1|pg_.*|cnpg_.*",
        "is a database that PostgreSQL or CloudNativePG reserves",
        "choose a name of the Domain's own",
    ),
]
RoleName = Annotated[
    str,
    Field(min_length=1, max_length=57),
    matching("[a-z_][-a-z0-9_]*", "is not a role name", _IDENTIFIER_REMEDY.format("57 (the owner's role adds _owner)")),
    not_matching(
        "postgres|streaming_replica|public|none|pg_.*|cnpg_.*",
        "is a role that PostgreSQL or CloudNativePG reserves",
        "choose a name of the Domain's own",
    ),
]


class DomainEnvVar(EnvVar):
    """An environment variable of the application's containers and of its migrations."""


@rule(
    DomainEnvVar,
    cel=f"!self.name.matches(r'^({RESERVED_ENV})$')",
    message="this environment variable carries the database connection and is set by the operator: PGHOST and its like,"
    " DATABASE_URL, JDBC_DATABASE_URL, DB_SCHEMA and the FLYWAY_* connection are reserved",
    remedy="rename the variable; what to connect to is said by spec.db",
    field=".name",
    reason="FieldValueForbidden",
)
def _env_is_not_the_connection(variable: DomainEnvVar) -> bool:
    return _RESERVED_ENV.fullmatch(variable.name) is None


class Proto(Model):
    """The Protobuf contract that the Domain serves."""

    module: Annotated[
        str,
        Field(min_length=1, max_length=253),
        matching(
            r"[A-Za-z0-9_][-A-Za-z0-9_.~]*(/[-A-Za-z0-9_.~]+)*",
            "is not the path of a module",
            "write it as in github.com/ameide/apis/domains/orders, without scheme or version",
        ),
    ] = Field(description="Module path, as in github.com/ameide/apis/domains/orders.")
    version: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matching(
            r"[A-Za-z0-9][-A-Za-z0-9_.+]*",
            "is not a version",
            "use letters, digits and .+-_ as in v1.5.0, beginning with a letter or digit",
        ),
    ] = Field(description="Version of the module, as in v1.5.0.")


class ConnectionSecretRef(Model):
    """An existing Secret with the connection, or the ExternalSecret that makes it, in the Domain's namespace."""

    kind: Literal["Secret", "ExternalSecret"] = Field(default="Secret", description="What name refers to.")
    name: ObjectName = Field(description="Name of the object.")


class Migrations(Model):
    """How the schema is migrated before a new image is rolled out."""

    command: Annotated[tuple[Argument, ...], Lenient, Field(min_length=1, max_length=32), ListType("atomic")] | None = (
        Field(
            default=None,
            description="Command of the migration container. Required without migrationJobImage: spec.image then"
            " runs it.",
        )
    )
    args: Annotated[tuple[Argument, ...], Lenient, Field(max_length=64), ListType("atomic")] = Field(
        default=(), description="Arguments of the migration container."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=600, description="Seconds after which a migration, retries included, counts as failed."
    )
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = Field(
        default=2, description="Times that a failed migration pod is tried again."
    )
    on_rollback: Literal["Run", "Skip"] = Field(
        default="Run",
        description="Going back to an image that was released before: Run its idempotent migrator again, or Skip it.",
    )


class Database(Model):
    """The PostgreSQL schema that the Domain owns, in a CloudNativePG cluster."""

    cluster_ref: Annotated[
        str,
        Field(min_length=1, max_length=317),
        matching(
            r"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
            "is not a reference to a Cluster",
            "write name or namespace/name, in lowercase",
        ),
    ] = Field(description="CloudNativePG Cluster: name, or namespace/name. Cannot change.")
    schema_name: SchemaName = Field(alias="schema", description="Schema that the Domain owns. Cannot change.")
    database: DatabaseName | None = Field(
        default=None, description="Database that holds the schema. Default: the Domain's name. Cannot change."
    )
    role: RoleName | None = Field(
        default=None,
        description="Role that the application logs in as; <role>_owner owns the schema and runs migrations."
        " Default: the Domain's name. Cannot change.",
    )
    provisioning: Literal["Database", "Job", "None"] = Field(
        default="Database",
        description="Database: through CloudNativePG's Database and DatabaseRole objects; Job: by a one-shot Job with"
        " the superuser, for shared databases and clusters without those objects; None: it exists already, see"
        " connectionSecretRef.",
    )
    connection_secret_ref: ConnectionSecretRef | None = Field(
        default=None, description="With provisioning None: where the connection is."
    )
    migration_job_image: Image | None = Field(
        default=None,
        description="Image that carries the migrations and runs them. Default: spec.image with migrations.command.",
    )
    migrations: Migrations = Field(default=Migrations(), description="How migrations run.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What becomes of the data when the Domain is deleted."
    )


@rule(
    Database,
    cel="has(self.migrationJobImage) || (has(self.migrations) && has(self.migrations.command))",
    message="there is neither migrationJobImage nor migrations.command, so nothing can migrate the schema",
    remedy="set spec.db.migrationJobImage, or spec.db.migrations.command for spec.image to run",
    field=".migrations.command",
    reason="FieldValueRequired",
)
def _something_migrates(db: Database) -> bool:
    return db.migration_job_image is not None or db.migrations.command is not None


@rule(
    Database,
    cel="(self.provisioning == 'None') == has(self.connectionSecretRef)",
    message="connectionSecretRef goes with provisioning None, and only with it",
    remedy="set spec.db.connectionSecretRef to the existing Secret when provisioning is None, else remove it",
    field=".connectionSecretRef",
)
def _connection_is_given_or_made(db: Database) -> bool:
    return (db.provisioning == "None") == (db.connection_secret_ref is not None)


@rule(
    Database,
    cel="!(self.provisioning == 'None' && self.deletionPolicy == 'Delete')",
    message="deletionPolicy Delete cannot go with provisioning None: the operator did not make that data",
    remedy="set deletionPolicy to Retain",
    field=".deletionPolicy",
)
def _deletes_only_its_own(db: Database) -> bool:
    return not (db.provisioning == "None" and db.deletion_policy == "Delete")


fixed(
    Database,
    "clusterRef",
    "schema",
    "database",
    "role",
    instead="to move the data, create a Domain of another name and migrate it",
)


class DomainSpec(CommonSpec):
    """What a Domain shall be: an image that serves a contract, and the database schema it owns."""

    env: Annotated[tuple[DomainEnvVar, ...], Lenient, Field(max_length=128), list_map("name")] = Field(
        default=(), description="More environment variables. Names that the operator sets are refused."
    )
    proto: Proto | None = Field(default=None, description="The Protobuf contract that it serves.")
    db: Database | None = Field(
        default=None, description="The database schema it owns. Cannot be added or removed later."
    )
    rollout: Rollout = Field(default=Rollout(), description="How a new revision replaces the current one.")


@transition_rule(
    DomainSpec,
    cel="has(self.db) == has(oldSelf.db)",
    message="db cannot be added to a Domain, or removed from it",
    remedy="set it back as it was, or create a Domain of another name",
    field=".db",
)
def _db_stays(spec: DomainSpec, old: DomainSpec) -> bool:
    return (spec.db is None) == (old.db is None)


class DatabaseStatus(StatusModel):
    """The database binding and the state of the schema."""

    cluster_ref: str | None = Field(default=None, description="Cluster, as namespace/name.")
    database: str | None = Field(default=None, description="Database.")
    schema_name: str | None = Field(default=None, alias="schema", description="Schema.")
    secret_name: str | None = Field(default=None, description="Connection Secret, in the Domain's namespace.")
    migration_version: str | None = Field(default=None, description="Version that the last migration reported.")
    migrated_image: str | None = Field(default=None, description="Image that the schema was last migrated for.")
    last_migration_time: Timestamp | None = Field(default=None, description="When the last migration succeeded.")


class DomainStatus(CommonStatus):
    """What the operator knows of a Domain."""

    db: DatabaseStatus | None = Field(default=None, description="Database and migrations.")


class Domain(ResourceModel):
    """A service with its contract, its database schema and migrations, network policy, metrics and scaling."""

    PLURAL: ClassVar[str] = "domains"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("dom",)
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = (("Schema", ".spec.db.schema"), ("Image", ".spec.image"))
    STATUS: ClassVar[type[Model]] = DomainStatus

    kind: Literal["Domain"] = Field(description="Kind of the object: Domain.")
    spec: DomainSpec = Field(description="What the Domain shall be.")

    @property
    def database(self) -> str:
        """Name of the database: spec.db.database, else the Domain's name."""
        return (self.spec.db.database if self.spec.db else None) or self.name

    @property
    def role(self) -> str:
        """Role of the application: spec.db.role, else the Domain's name."""
        return (self.spec.db.role if self.spec.db else None) or self.name

    @property
    def owner_role(self) -> str:
        """Role that owns the schema and runs migrations."""
        return f"{self.role}_owner"

    @property
    def cluster(self) -> tuple[str, str]:
        """(namespace, name) of the CloudNativePG Cluster; only a Domain with spec.db has one."""
        assert self.spec.db is not None, f"Domain {self.namespace}/{self.name} has no spec.db"
        namespace, _, name = self.spec.db.cluster_ref.rpartition("/")
        return namespace or self.namespace, name


_RESERVED_DEFAULTS: Final = ("postgres", "template0", "template1", "public", "none")


@rule(
    Domain,
    cel="!has(self.spec.db) || (has(self.spec.db.database) && has(self.spec.db.role))"
    f" || !(self.metadata.name in {list(_RESERVED_DEFAULTS)})",
    message="the Domain's name is the default of spec.db.database and spec.db.role, and is reserved there",
    remedy="choose another metadata.name, or set both spec.db.database and spec.db.role",
    field=".metadata.name",
)
def _defaults_are_not_reserved(domain: Domain) -> bool:
    db = domain.spec.db
    given = db is None or (db.database is not None and db.role is not None)
    return given or domain.name not in _RESERVED_DEFAULTS
