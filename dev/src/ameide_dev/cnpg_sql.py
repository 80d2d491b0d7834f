"""What CloudNativePG does inside PostgreSQL for a role or a database, as plain functions on a connection.

All functions take an autocommit superuser connection and specs as the API server stores them (defaults filled in).
They raise psycopg.Error, whose message CloudNativePG copies into the object's status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Spec = Mapping[str, Any]

_ROLE_FLAGS: tuple[tuple[str, LiteralString, bool], ...] = (
    ("bypassrls", "BYPASSRLS", False),
    ("createdb", "CREATEDB", False),
    ("createrole", "CREATEROLE", False),
    ("inherit", "INHERIT", True),
    ("login", "LOGIN", False),
    ("replication", "REPLICATION", False),
    ("superuser", "SUPERUSER", False),
)


@dataclass(frozen=True, slots=True, repr=False)
class Password:
    """What a role's password becomes: `text`, or none at all with text None. Never printed."""

    text: str | None


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """The outcome for one schema or extension of a Database, as it stands in its status."""

    name: str
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        status: dict[str, Any] = {"name": self.name, "applied": not self.message}
        return {**status, "message": self.message} if self.message else status


def apply_role(connection: psycopg.Connection, spec: Spec, password: Password | None) -> None:
    """Create the role, or make an existing one of that name equal to `spec`. `password` None leaves it as it is."""
    name = sql.Identifier(spec["name"])
    exists = role_exists(connection, spec["name"])
    verb = sql.SQL("ALTER ROLE {}" if exists else "CREATE ROLE {}").format(name)
    if exists:
        _apply_memberships(connection, spec)
    with connection.transaction():
        # The statement holds the password's SCRAM verifier; it must not end in the server's log either.
        connection.execute("SET LOCAL log_statement = 'none'")
        connection.execute(verb + _role_options(connection, spec, password))
    if not exists:
        _apply_memberships(connection, spec)
    connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(spec.get("comment") or None)))


def _role_options(connection: psycopg.Connection, spec: Spec, password: Password | None) -> sql.Composed:
    parts: list[sql.Composable] = [
        sql.SQL(keyword) if spec.get(field, default) else sql.SQL("NO" + keyword)
        for field, keyword, default in _ROLE_FLAGS
    ]
    parts.append(sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(spec.get("connectionLimit", -1))))
    if valid_until := spec.get("validUntil"):
        parts.append(sql.SQL("VALID UNTIL {}").format(sql.Literal(valid_until)))
    if password is not None and password.text is None:
        parts.append(sql.SQL("PASSWORD NULL"))
    elif password is not None and password.text is not None:
        verifier = connection.pgconn.encrypt_password(
            password.text.encode(), str(spec["name"]).encode(), b"scram-sha-256"
        )
        parts.append(sql.SQL("PASSWORD {}").format(sql.Literal(verifier.decode())))
    return sql.SQL(" ") + sql.SQL(" ").join(parts)


def _apply_memberships(connection: psycopg.Connection, spec: Spec) -> None:
    wanted = set(spec.get("inRoles") or [])
    rows = connection.execute(
        "SELECT pg_get_userbyid(m.roleid) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        " WHERE r.rolname = %s",
        [spec["name"]],
    )
    present = {str(row[0]) for row in rows}
    member = sql.Identifier(spec["name"])
    with connection.transaction():
        for role in sorted(wanted - present):
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), member))
        for role in sorted(present - wanted):
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), member))


def drop_role(connection: psycopg.Connection, name: str) -> None:
    """Drop the role if it exists; PostgreSQL refuses while it owns something or holds privileges."""
    connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def apply_database(connection: psycopg.Connection, spec: Spec) -> None:
    """Create the database, or bring what can be changed of an existing one of that name in line with `spec`."""
    if not database_exists(connection, spec["name"]):
        connection.execute(_create_database(spec))
        return
    name = sql.Identifier(spec["name"])
    for field, clause in (("allowConnections", "ALLOW_CONNECTIONS"), ("isTemplate", "IS_TEMPLATE")):
        if spec.get(field) is not None:
            connection.execute(
                sql.SQL("ALTER DATABASE {} WITH {} {}").format(name, sql.SQL(clause), sql.Literal(spec[field]))
            )
    if spec.get("connectionLimit") is not None:
        limit = sql.Literal(spec["connectionLimit"])
        connection.execute(sql.SQL("ALTER DATABASE {} WITH CONNECTION LIMIT {}").format(name, limit))
    if owner := spec.get("owner"):
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
    if tablespace := spec.get("tablespace"):
        connection.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE {}").format(name, sql.Identifier(tablespace)))


_CREATE_IDENTIFIERS: tuple[tuple[str, LiteralString], ...] = (
    ("owner", "OWNER"),
    ("template", "TEMPLATE"),
    ("tablespace", "TABLESPACE"),
)
_CREATE_LITERALS: tuple[tuple[str, LiteralString], ...] = (
    ("allowConnections", "ALLOW_CONNECTIONS"),
    ("connectionLimit", "CONNECTION LIMIT"),
    ("isTemplate", "IS_TEMPLATE"),
    ("encoding", "ENCODING"),
    ("locale", "LOCALE"),
    ("localeProvider", "LOCALE_PROVIDER"),
    ("localeCollate", "LC_COLLATE"),
    ("localeCType", "LC_CTYPE"),
    ("icuLocale", "ICU_LOCALE"),
    ("icuRules", "ICU_RULES"),
    ("builtinLocale", "BUILTIN_LOCALE"),
    ("collationVersion", "COLLATION_VERSION"),
)


def _create_database(spec: Spec) -> sql.Composed:
    parts: list[sql.Composable] = [sql.SQL("CREATE DATABASE {}").format(sql.Identifier(spec["name"]))]
    parts += [
        sql.SQL("{} {}").format(sql.SQL(keyword), sql.Identifier(spec[field]))
        for field, keyword in _CREATE_IDENTIFIERS
        if spec.get(field)
    ]
    parts += [
        sql.SQL("{} {}").format(sql.SQL(keyword), sql.Literal(spec[field]))
        for field, keyword in _CREATE_LITERALS
        if spec.get(field) not in (None, "")
    ]
    return sql.SQL(" ").join(parts)


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Drop the database if it exists; PostgreSQL refuses while sessions are connected to it."""
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def apply_schemas(connection: psycopg.Connection, specs: Sequence[Spec]) -> list[ObjectStatus]:
    """Create, alter or drop schemas in the connection's database; one failing does not stop the next."""
    return [_attempt(connection, spec, _apply_schema) for spec in specs]


def apply_extensions(connection: psycopg.Connection, specs: Sequence[Spec]) -> list[ObjectStatus]:
    """Create, alter or drop extensions in the connection's database; one failing does not stop the next."""
    return [_attempt(connection, spec, _apply_extension) for spec in specs]


def _apply_schema(connection: psycopg.Connection, spec: Spec) -> None:
    name, owner = sql.Identifier(spec["name"]), spec.get("owner")
    row = connection.execute(
        "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s", [spec["name"]]
    ).fetchone()
    if spec.get("ensure") == "absent":
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(name))
    elif row is None:
        statement = sql.SQL("CREATE SCHEMA {}").format(name)
        connection.execute(
            statement + sql.SQL(" AUTHORIZATION {}").format(sql.Identifier(owner)) if owner else statement
        )
    elif owner and owner != row[0]:
        connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(name, sql.Identifier(owner)))


def _apply_extension(connection: psycopg.Connection, spec: Spec) -> None:
    name, version, schema = sql.Identifier(spec["name"]), spec.get("version"), spec.get("schema")
    row = connection.execute(
        "SELECT e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = %s",
        [spec["name"]],
    ).fetchone()
    if spec.get("ensure") == "absent":
        connection.execute(sql.SQL("DROP EXTENSION IF EXISTS {}").format(name))
        return
    if row is None:
        statement = sql.SQL("CREATE EXTENSION {}").format(name)
        if version:
            statement += sql.SQL(" VERSION {}").format(sql.Identifier(version))
        if schema:
            statement += sql.SQL(" SCHEMA {}").format(sql.Identifier(schema))
        connection.execute(statement)
        return
    if schema and schema != row[1]:
        connection.execute(sql.SQL("ALTER EXTENSION {} SET SCHEMA {}").format(name, sql.Identifier(schema)))
    if version and version != row[0]:
        connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE TO {}").format(name, sql.Identifier(version)))


def _attempt(
    connection: psycopg.Connection, spec: Spec, apply: Callable[[psycopg.Connection, Spec], None]
) -> ObjectStatus:
    try:
        apply(connection, spec)
    except psycopg.Error as error:
        return ObjectStatus(spec["name"], message_of(error))
    return ObjectStatus(spec["name"])


def message_of(error: psycopg.Error) -> str:
    """PostgreSQL's own words with the SQLSTATE, in the form that CloudNativePG's driver prints."""
    if error.diag.message_primary:
        return f"ERROR: {error.diag.message_primary} (SQLSTATE {error.sqlstate})"
    return str(error).strip()


def role_exists(connection: psycopg.Connection, name: str) -> bool:
    """Whether the server has a role of that name."""
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None


def database_exists(connection: psycopg.Connection, name: str) -> bool:
    """Whether the server has a database of that name."""
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
