"""The migrator: real Flyway on a real PostgreSQL, as the process that the host node starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ameide_dev.images import IMAGES, ImageTable
from ameide_dev.postgres import Postgres

MIGRATIONS = IMAGES / "orders-migrations"
PASSWORD = "se/cret:1%"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of the migrator ended."""

    code: int
    output: str
    message: str
    """Its termination message."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        with server.connect() as connection:
            connection.execute(f"CREATE ROLE orders_owner LOGIN PASSWORD '{PASSWORD}'")
        yield server


@pytest.fixture
def database(server: Postgres, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)[:60]
    with server.connect() as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER orders_owner')
    with server.connect(name) as connection:
        connection.execute("CREATE SCHEMA orders AUTHORIZATION orders_owner")
    return name


def run(server: Postgres, database: str, tag: str, folder: Path, command: str = "migrate", **more: str) -> Outcome:
    """Run the migrator image of `tag` as the host node does: its files below a root, names from a hosts file."""
    hosts, message = folder / "hosts", folder / "message"
    hosts.write_text(f"{server.host} pg-rw.db.svc\n")
    message.write_bytes(b"")
    sql = folder / "root" / "flyway" / "sql"
    sql.parent.mkdir(parents=True, exist_ok=True)
    sql.unlink(missing_ok=True)
    sql.symlink_to(MIGRATIONS / tag)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "FLYWAY_URL": f"jdbc:postgresql://pg-rw.db.svc:{server.port}/{database}?sslmode=require",
        "FLYWAY_USER": "orders_owner",
        "FLYWAY_PASSWORD": PASSWORD,
        "FLYWAY_SCHEMAS": "orders",
        "FLYWAY_DEFAULT_SCHEMA": "orders",
        "FLYWAY_LOCATIONS": "filesystem:/flyway/sql",
        "AMEIDE_HOST_ROOT": str(folder / "root"),
        "AMEIDE_HOSTS_FILE": str(hosts),
        "AMEIDE_TERMINATION_LOG": str(message),
        **{name: os.environ[name] for name in ("AMEIDE_CACHE_DIR", "XDG_CACHE_HOME") if name in os.environ},
        **more,
    }
    result = subprocess.run(
        [sys.executable, "-m", "ameide_dev.flyway", command], env=env, capture_output=True, text=True, check=False
    )
    return Outcome(result.returncode, result.stdout + result.stderr, message.read_text())


def test_migrating_reports_the_version_and_again_does_nothing(server: Postgres, database: str, tmp_path: Path) -> None:
    first = run(server, database, "1.1.0", tmp_path)
    assert first.code == 0, first.output
    assert json.loads(first.message) == {"migrationVersion": "2"}
    with server.connect(database) as connection:
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'orders' AND table_name = 'orders'"
        )
        assert "status" in {row[0] for row in columns}
    again = run(server, database, "1.1.0", tmp_path)
    assert (again.code, json.loads(again.message)) == (0, {"migrationVersion": "2"})
    assert "No migration necessary" in again.output


def test_a_newer_image_migrates_on_and_an_older_one_leaves_it(server: Postgres, database: str, tmp_path: Path) -> None:
    versions = [json.loads(run(server, database, tag, tmp_path).message) for tag in ("1.0.0", "1.1.0", "1.0.0")]
    assert [version["migrationVersion"] for version in versions] == ["1", "2", "2"]


def test_a_failing_migration_says_what_postgresql_said(server: Postgres, database: str, tmp_path: Path) -> None:
    outcome = run(server, database, "1.2.0-broken", tmp_path)
    assert outcome.code == 1
    assert 'relation "orders" already exists' in outcome.message
    assert "V3__create_orders_again.sql" in outcome.message
    assert len(outcome.message.encode()) <= 4096
    info = run(server, database, "1.1.0", tmp_path, "info")
    assert "2\tSuccess" in info.output


def test_no_password_reaches_output_or_message(server: Postgres, database: str, tmp_path: Path) -> None:
    wrong = run(server, database, "1.0.0", tmp_path, FLYWAY_PASSWORD="wrong-but-secret")
    assert wrong.code == 1
    assert "password authentication failed" in wrong.message
    for outcome in (wrong, run(server, database, "1.2.0-broken", tmp_path)):
        assert PASSWORD not in outcome.output + outcome.message
        assert "wrong-but-secret" not in outcome.output + outcome.message


def test_a_changed_script_is_found_out(server: Postgres, database: str, tmp_path: Path) -> None:
    assert run(server, database, "1.0.0", tmp_path).code == 0
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "V1__create_orders.sql").write_text("SELECT 1;\n")
    outcome = run(server, database, "1.0.0", tmp_path, "validate", FLYWAY_LOCATIONS=f"filesystem:{changed}")
    assert outcome.code == 1
    assert "checksum mismatch" in outcome.message.lower()


def test_row_level_security_keeps_tenants_apart(server: Postgres, database: str, tmp_path: Path) -> None:
    assert run(server, database, "1.1.0", tmp_path).code == 0
    with server.connect(database) as connection:
        connection.execute("CREATE ROLE orders_app LOGIN PASSWORD 'app'")
        connection.execute("GRANT USAGE ON SCHEMA orders TO orders_app")
        connection.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA orders TO orders_app")
    insert = "INSERT INTO orders.orders (tenant_id, item, quantity) VALUES ('a', 'tea', 1)"
    with psycopg.connect(server.dsn("orders_app", "app", database), autocommit=True) as connection:
        connection.execute("SET ameide.tenant_id = 'a'")
        connection.execute(insert)
        connection.execute("SET ameide.tenant_id = 'b'")
        assert connection.execute("SELECT * FROM orders.orders").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(insert)


def test_an_unknown_command_is_refused(server: Postgres, database: str, tmp_path: Path) -> None:
    outcome = run(server, database, "1.0.0", tmp_path, "clean")
    assert outcome.code == 1
    assert "expected migrate, info, validate or repair" in outcome.message


def test_a_tag_selects_a_folder_of_migrations() -> None:
    table = ImageTable()
    image = table.find("ghcr.io/ameide/hostnode-flyway-migrator:1.1.0")
    assert image is not None
    assert image.files == {"/flyway/sql": MIGRATIONS / "1.1.0"}
    assert table.find("ghcr.io/ameide/hostnode-flyway-migrator:9.9.9") is None
    assert table.find("ghcr.io/ameide/hostnode-flyway-migrator:..") is None
