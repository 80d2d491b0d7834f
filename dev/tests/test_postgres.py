"""The real PostgreSQL: TLS only, keeps its data and port over a restart, leaves nothing behind."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ameide_dev.postgres import Postgres, PostgresError, find_binaries, sweep, wheel_binaries


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres(host_names=["orders-rw.db.svc"]) as server:
        yield server


def test_sessions_use_tls_and_the_certificate_names_the_service(server: Postgres, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(server.ca_certificate)
    with psycopg.connect(
        host="orders-rw.db.svc",
        hostaddr=server.host,
        port=server.port,
        user="postgres",
        password=server.superuser_password,
        sslmode="verify-full",
        sslrootcert=str(authority),
    ) as connection:
        row = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row is not None
    assert row[0] is True
    assert row[1] in ("TLSv1.2", "TLSv1.3")


def test_a_client_without_tls_is_refused(server: Postgres) -> None:
    dsn = server.dsn("postgres", server.superuser_password, "postgres").replace("sslmode=require", "sslmode=disable")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(dsn)


def test_a_wrong_password_is_refused(server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn("postgres", "wrong", "postgres"))


def test_the_dsn_percent_encodes_what_it_is_given(server: Postgres) -> None:
    with server.connect() as connection:
        connection.execute("CREATE ROLE \"odd user\" LOGIN PASSWORD 'p@ss/w:rd%20?'")
    with psycopg.connect(server.dsn("odd user", "p@ss/w:rd%20?", "postgres")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("odd user",)


def test_a_restart_keeps_port_and_data_and_closes_sessions(server: Postgres) -> None:
    port = server.port
    session = server.connect()
    session.execute("CREATE TABLE kept AS SELECT 7 AS number")
    server.restart()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()
    assert server.port == port
    with server.connect() as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_removing_it_leaves_no_process_and_no_files() -> None:
    server = Postgres()
    server.start()
    directory = server.log_path.parent
    server.remove()
    assert not server.running
    assert not directory.exists()
    with pytest.raises(PostgresError, match="has not been started"):
        _ = server.log_path


def test_the_wheel_serves_where_the_machine_has_no_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = wheel_binaries()
    assert folder is not None
    monkeypatch.setenv("AMEIDE_POSTGRES_BIN", str(folder))
    assert find_binaries() == folder
    with Postgres() as server, server.connect() as connection:
        assert connection.info.server_version >= 170000
        assert connection.pgconn.ssl_in_use


def test_missing_programs_are_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMEIDE_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(PostgresError, match="AMEIDE_POSTGRES_BIN"):
        Postgres()


def test_data_of_a_killed_owner_is_swept_and_that_of_a_living_one_is_not(server: Postgres) -> None:
    program = (
        "from ameide_dev.postgres import Postgres\n"
        "server = Postgres('killed')\n"
        "server.start()\n"
        "print(server.log_path.parent, flush=True)\n"
        "input()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().strip())
        sweep()
        assert (left / "data").exists()
        postmaster = int((left / "data" / "postmaster.pid").read_text().split()[0])
        owner.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{postmaster}").exists():
        assert time.monotonic() < deadline, "the server outlived its owner"
        time.sleep(0.05)
    sweep()
    assert not left.exists()
    assert server.log_path.exists()
