"""A real Keycloak server on the loopback interface, made for tests and the demo: quick to start, thrown away after.

The distribution comes through Maven. It is optimised once, and started once to have its database made, so that a
server of our own, which gets a copy of that database, is up in about 5 s rather than in 50.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

from ameide_dev.cache import artefact
from ameide_dev.keycloak_realm import Admin
from ameide_dev.pki import Pki
from ameide_dev.ports import Ports
from ameide_dev.processes import Guard, ProcessError, Server, clean_environment, wait_until

POM = Path(__file__).resolve().parents[2] / "keycloak" / "pom.xml"

_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_HOST = "127.0.0.1"
_PREFIX = "ameide-keycloak-"
_ADMIN = "admin"
_PASSWORD_FILE = "admin-password"  # noqa: S105 - the name of a file
_CLASSES = "classes.jsa"
_DATABASE = "h2"
_START_TIMEOUT_SECONDS = 180.0
_STOP_SECONDS = 15.0
_JAVA_MINIMUM = 17

# What the server's own start script passes, and settings for a short life: no second compiler, a small heap.
_JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xms64m",
    "-Xmx384m",
    "-XX:MaxMetaspaceSize=256m",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-Duser.country=US",
    "-Djava.security.egd=file:/dev/urandom",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    "-Dpicocli.disable.closures=true",
)


class KeycloakServerError(RuntimeError):
    """Keycloak could not be prepared or started; the message says where its log is and what to do."""


def java() -> Path:
    """The Java runtime, from $JAVA_HOME or PATH, of at least version 17. Raises KeycloakServerError."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found or not os.access(found, os.X_OK):
        raise KeycloakServerError("Keycloak needs Java 17 or newer, and there is none: install it, or set JAVA_HOME")
    match = re.search(r'version "(\d+)', _java_version(found))
    if match is None or int(match[1]) < _JAVA_MINIMUM:
        raise KeycloakServerError(f"Keycloak needs Java {_JAVA_MINIMUM} or newer; {found} is older: set JAVA_HOME")
    return Path(found)


def distribution() -> Path:
    """The unpacked and optimised distribution, fetched by Maven into the cache on first use (1 to 2 minutes)."""
    return artefact("keycloak", (POM.read_bytes(), *_BUILD_OPTIONS), _make_distribution)


def prepared() -> Path:
    """A folder with a database that holds the master realm and its administrator, and an archive of loaded classes.

    Made in the cache on first use (about 15 s). Whoever starts a server copies the database.
    """
    home = distribution()
    return artefact("keycloak-data", (str(home), _java_version(str(java())), *_JAVA_OPTIONS), _make_data)


_BUILD_OPTIONS = ("--db=dev-file",)


def _make_distribution(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as scratch:
        _run(
            "Maven",
            ["mvn", "-q", "-B", "-ntp", "-f", str(POM), _COPY_GOAL, f"-DoutputDirectory={scratch}"],
            "check that Maven is installed and can reach its repository",
        )
        [archive] = Path(scratch).glob("keycloak-quarkus-dist-*.zip")
        with zipfile.ZipFile(archive) as content:
            content.extractall(scratch)
        [unpacked] = (path for path in Path(scratch).glob("keycloak-*") if path.is_dir())
        for part in unpacked.iterdir():
            shutil.move(part, folder)
    command = ["sh", str(folder / "bin" / "kc.sh"), "build", *_BUILD_OPTIONS]
    _run("kc.sh build", command, "see its output", {"JAVA_HOME": str(java().resolve().parents[1])})


def _make_data(folder: Path) -> None:
    password = secrets.token_urlsafe(24)
    secret = folder / _PASSWORD_FILE
    secret.touch(mode=0o600)
    secret.write_text(password)
    with KeycloakServer("prepare", data=folder, classes=("-XX:ArchiveClassesAtExit=" + str(folder / _CLASSES),)) as it:
        # What every test needs shall be among the classes.
        realm = it.admin.create_realm()
        realm.add_role("reader")
        realm.add_user("warm", "up", ["reader"])
        realm.add_service_client("service")
        callback = "https://app.example/callback"
        realm.send("POST", "clients", body={"clientId": "app", "publicClient": True, "redirectUris": [callback]})
        realm.tokens("app", callback, "warm", "up")
        realm.delete()
        it.stop()
        shutil.copytree(it.home / "data" / _DATABASE, folder / _DATABASE)


def _run(what: str, command: list[str], remedy: str, env: Mapping[str, str] | None = None) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=clean_environment(env), check=False)
    except FileNotFoundError:
        raise KeycloakServerError(f"{command[0]} is needed to prepare Keycloak, and is missing: install it") from None
    if result.returncode != 0:
        raise KeycloakServerError(f"{what} failed; {remedy}:\n{(result.stdout + result.stderr)[-2000:]}")


def _java_version(path: str) -> str:
    return subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr


class KeycloakServer:
    """One Keycloak with data of its own. `start` and `stop` may be called again; data and ports are kept between them
    until `remove` (or leaving the `with` block). It serves http on `url` and https on `https_url`, the same realms."""

    def __init__(self, name: str = "keycloak", *, data: Path | None = None, classes: tuple[str, ...] = ()) -> None:
        """`data`: a folder like that of `prepared`, which is the default; `classes`: the JVM's option for classes."""
        self.name = name
        self._prepared = data
        self._classes = classes
        self._ports = Ports()
        self.port, self.https_port = self._ports.reserve(), self._ports.reserve()
        self._home: Path | None = None
        self._guard: Guard | None = None
        self._server: Server | None = None
        self._admin: Admin | None = None

    def __enter__(self) -> KeycloakServer:
        self.start()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """Base URL without TLS."""
        return f"http://{_HOST}:{self.port}"

    @property
    def https_url(self) -> str:
        """Base URL with TLS; its certificate is of the authority in `ca_file`."""
        return f"https://{_HOST}:{self.https_port}"

    @property
    def home(self) -> Path:
        """The server's folder. Raises KeycloakServerError before the first start."""
        if self._home is None:
            raise KeycloakServerError(f"Keycloak {self.name} has not been started: call start() first")
        return self._home

    @property
    def ca_file(self) -> Path:
        """The certificate authority of `https_url`, PEM."""
        return self.home / "pki" / "ca.crt"

    @property
    def log_path(self) -> Path:
        """The server's log file."""
        return self.home / "keycloak.log"

    @property
    def running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return self._server is not None and self._server.alive

    @property
    def pid(self) -> int:
        """Id of the server's process. Raises KeycloakServerError while there is none."""
        if self._server is None or not self._server.alive:
            raise KeycloakServerError(f"Keycloak {self.name} does not run")
        return self._server.pid

    @property
    def admin(self) -> Admin:
        """Everything that tests do as the administrator of the server: realms, users, logins."""
        if self._admin is None:
            folder = self._prepared or prepared()
            self._admin = Admin(self.url, _ADMIN, (folder / _PASSWORD_FILE).read_text())
        return self._admin

    def start(self) -> None:
        """Start the process; does not wait until it serves. The first time on a machine it prepares for minutes."""
        if self.running:
            return
        if self._home is None:
            self._home = self._make_home()
        guard = self._guard = self._guard or Guard()
        guard.remove_at_end(self.home)
        self._server = Server(
            f"Keycloak {self.name}", self._command(), log=self.log_path, guard=guard, env=self._env(), cwd=self.home
        )
        try:
            self._server.start()
        except ProcessError as error:
            raise KeycloakServerError(str(error)) from error

    def wait_ready(self, timeout: float = _START_TIMEOUT_SECONDS) -> None:
        """Return once it serves. Raises KeycloakServerError after `timeout` seconds, or when it has ended."""
        if self._server is None:
            raise KeycloakServerError(f"Keycloak {self.name} has not been started: call start() first")
        try:
            wait_until(f"Keycloak {self.name}", self._answers, [self._server], timeout)
        except ProcessError as error:
            self._server.stop(0)
            raise KeycloakServerError(str(error)) from error

    def stop(self) -> None:
        """Stop the server as an operator of it would; its data stays. No error if it does not run."""
        self._end(_STOP_SECONDS)

    def kill(self) -> None:
        """Have the server die without notice; what was committed stays."""
        self._end(0)

    def restart(self, down_for: float = 0.0) -> None:
        """Stop, stay down for `down_for` seconds, start again at the same address, and wait until it serves."""
        self.stop()
        time.sleep(down_for)
        self.start()
        self.wait_ready()

    def pause(self) -> None:
        """From now on it accepts connections and answers nothing, until `resume`: as slow as a server can be."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`; no error if it was not paused."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill the server and delete its data; its ports are free again."""
        self.kill()
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._ports.release()

    def _end(self, grace: float) -> None:
        if self._server is not None:
            self._server.stop(grace)
            self._server = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/realms/master", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _make_home(self) -> Path:
        source = distribution()
        data = self._prepared or prepared()
        home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.name}-"))
        for part in ("lib", "providers", "themes", "conf"):
            (home / part).symlink_to(source / part)
        (home / "data").mkdir()
        if (data / _DATABASE).is_dir():
            shutil.copytree(data / _DATABASE, home / "data" / _DATABASE)
        Pki(home / "pki").server("keycloak", ["localhost", _HOST])
        if not self._classes and (data / _CLASSES).exists():
            self._classes = (f"-XX:SharedArchiveFile={data / _CLASSES}",)
        return home

    def _command(self) -> list[str]:
        return [
            str(java()),
            *_JAVA_OPTIONS,
            *self._classes,
            f"-Dkc.home.dir={self.home}",
            f"-Djboss.server.config.dir={self.home / 'conf'}",
            "-cp",
            # Not by way of the home's link: the archive of classes is good for this path alone.
            str(distribution() / "lib" / "quarkus-run.jar"),
            "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
            "start",
            "--optimized",
            "--cache=local",  # else it looks for other members of a cluster, on more than the loopback interface
            "--http-enabled=true",
            "--hostname-strict=false",
            f"--http-host={_HOST}",
            f"--http-port={self.port}",
            f"--https-port={self.https_port}",
            f"--https-certificate-file={self.home / 'pki' / 'keycloak.crt'}",
            f"--https-certificate-key-file={self.home / 'pki' / 'keycloak.key'}",
        ]

    def _env(self) -> dict[str, str]:
        password = ((self._prepared or prepared()) / _PASSWORD_FILE).read_text()
        return {"KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": password}
