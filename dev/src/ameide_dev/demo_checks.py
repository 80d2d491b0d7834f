"""The demo's proof that a Domain is more than a status: its tables in PostgreSQL, and its service over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from psycopg import sql

from ameide_dev.postgres import Postgres

_TENANT_HEADER = "x-tenant-id"


class CheckError(Exception):
    """Something is not as the Domains' status says; the message has what was expected and what is there."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a schema: its owner, columns and number of rows, and whether policies decide who sees which row."""

    name: str
    owner: str
    columns: tuple[str, ...]
    rows: int
    row_security: bool


def tables(postgres: Postgres, database: str, schema: str) -> list[Table]:
    """The tables of a schema, by name, as the superuser sees them. Raises CheckError when there are none."""
    with postgres.connect(database) as connection:
        found = [_table(connection, schema, *row) for row in connection.execute(_TABLES, [schema])]
    if not found:
        raise CheckError(f"schema {schema} of database {database} holds no table, though its migrations have succeeded")
    return found


_TABLES = """
    SELECT c.relname, pg_get_userbyid(c.relowner), c.relrowsecurity,
           array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = %s AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY c.oid ORDER BY c.relname
"""


def _table(
    connection: psycopg.Connection[Any], schema: str, name: str, owner: str, secured: bool, columns: list[str]
) -> Table:
    counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))).fetchone()
    return Table(name, owner, tuple(columns), counted[0] if counted else 0, secured)


def server_version(postgres: Postgres) -> str:
    """Such as `17.10`."""
    with postgres.connect() as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0] if row else ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An HTTP request and its answer."""

    method: str
    url: str
    tenant: str
    sent: str
    status: int
    answer: str


def order_something(address: tuple[str, int], tenant: str, other: str) -> list[Exchange]:
    """Order as one tenant, list that tenant's orders and another's. Raises CheckError, httpx.HTTPError.

    address: of the orders service. The order must be listed for `tenant`, and must not be for `other`.
    """
    url = f"http://{address[0]}:{address[1]}/orders"
    wanted = {"item": "espresso machine", "quantity": 2}
    # trust_env: a proxy of this machine knows nothing of its loopback addresses.
    with httpx.Client(timeout=10, trust_env=False) as client:
        created = client.post(url, json=wanted, headers={_TENANT_HEADER: tenant})
        if created.status_code != httpx.codes.CREATED:
            raise CheckError(f"POST {url} answered {created.status_code} instead of 201: {created.text.strip()}")
        order = created.json()
        listed = {who: client.get(url, headers={_TENANT_HEADER: who}) for who in (tenant, other)}
    for who, answer in listed.items():
        if answer.status_code != httpx.codes.OK:
            raise CheckError(f"GET {url} answered {answer.status_code} instead of 200: {answer.text.strip()}")
        if (order in answer.json()["orders"]) != (who == tenant):
            raise CheckError(
                f"tenant {who} should {'' if who == tenant else 'not '}see order {order['id']} of {tenant}"
            )
    sent = created.request.content.decode()
    return [
        Exchange("POST", url, tenant, sent, created.status_code, created.text.strip()),
        *(Exchange("GET", url, who, "", answer.status_code, answer.text.strip()) for who, answer in listed.items()),
    ]
