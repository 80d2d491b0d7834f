"""The demo as its users run it, and the examples that it applies."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev.demo_checks import CheckError, order_something
from ameide_dev.demo_domains import EXAMPLES, FAILING, KINDS, DemoError, at_rest, resource_files, unfinished
from ameide_dev.platform import Platform

BIN = Path(sys.executable).parent
DEMO = [sys.executable, "-m", "ameide_dev", "demo"]


def environment(**more: str) -> dict[str, str]:
    """A user's environment, without what leads to a cluster or says that nobody looks."""
    return {**{name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "CI")}, **more}


def demo(tmp_path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    command = [*DEMO, "--directory", str(tmp_path), *arguments]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=600, check=False)


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that have something to do with a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def descendants(pid: int) -> set[int]:
    """The process ids of all children of a process, and of theirs."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found |= {child, *descendants(child)}
    return found


# Examples


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_valid(kind: str) -> None:
    """Offline, by the schema and the rules that the API server has."""
    command = [str(BIN / f"{kind.lower()}-operator"), "check", "-f", str(EXAMPLES), "-o", "json"]
    connection = {"url": "https://login.example.com", "realm": "shop", "clientId": "ameide", "clientSecretFile": "/x"}
    settings = {"AMEIDE_KEYCLOAK__CONNECTIONS": json.dumps({"default": connection})} if kind == "UISurface" else {}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**settings))
    answer = json.loads(result.stdout)
    assert (result.returncode, answer["findings"]) == (0, [])
    gitops = [item for file in EXAMPLES.glob("gitops/*/shop/*.yaml") for item in yaml.safe_load_all(file.read_text())]
    assert answer["checked"] == len(resource_files((kind,))) + [item["kind"] for item in gitops].count(kind)


def test_examples_readme_names_each_file() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    linked = set(re.findall(r"\]\(((?:failing/)?[^)/]+\.yaml)\)", readme))
    # The files of gitops/ are in a list of their own.
    files = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml") if "gitops" not in path.parts}
    assert linked == files


def test_failing_examples_are_those_the_demo_expects_to_fail() -> None:
    named = set()
    for path in EXAMPLES.glob("failing/*.yaml"):
        metadata = yaml.safe_load(path.read_text())["metadata"]
        named.add(f"{metadata['namespace']}/{metadata['name']}")
        assert FAILING[f"{metadata['namespace']}/{metadata['name']}"] in (EXAMPLES / "README.md").read_text()
    assert named == set(FAILING)


# What the demo takes for success


def domain(name: str, status: str, reason: str, *, observed: int = 1) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": observed}
    metadata = {"name": name, "namespace": "shop", "generation": 1}
    return {"kind": "Domain", "metadata": metadata, "spec": {}, "status": {"conditions": [ready]}}


def test_at_rest() -> None:
    good, bad = domain("orders", "True", "AllResourcesHealthy"), domain("returns", "False", "MigrationFailed")
    assert at_rest([good, bad])
    assert not at_rest([good, domain("returns", "True", "AllResourcesHealthy")])
    assert not at_rest([domain("orders", "True", "AllResourcesHealthy", observed=0), bad])
    assert unfinished([{"metadata": good["metadata"], "spec": {}}]) == ["shop/orders has no status yet"]
    waiting = domain("orders", "False", "RolloutInProgress")
    assert unfinished([waiting, bad]) == ["shop/orders should be Ready, but is RolloutInProgress (m)"]
    with pytest.raises(DemoError, match="shop/orders is not Ready: MigrationFailed: m"):
        at_rest([domain("orders", "False", "MigrationFailed")])


@contextmanager
def orders_service(*, keeps_tenants_apart: bool = True, status: int = 201) -> Iterator[tuple[str, int]]:
    """A service like the example's, with the faults that the demo has to notice."""
    orders: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            tenant = self.headers["x-tenant-id"]
            seen = [order for owner, order in orders if owner == tenant or not keeps_tenants_apart]
            self.answer(200, {"orders": seen})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            orders.append((self.headers["x-tenant-id"], {"id": len(orders) + 1, **sent}))
            self.answer(status, orders[-1][1])

        def answer(self, code: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield "127.0.0.1", server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_order_is_seen_by_its_tenant_alone() -> None:
    with orders_service() as address:
        exchanges = order_something(address, "acme", "globex")
    assert [(item.method, item.tenant, item.status) for item in exchanges] == [
        ("POST", "acme", 201),
        ("GET", "acme", 200),
        ("GET", "globex", 200),
    ]
    apart = "tenant globex should not see order 1 of acme"
    with orders_service(keeps_tenants_apart=False) as address, pytest.raises(CheckError, match=apart):
        order_something(address, "acme", "globex")
    with orders_service(status=503) as address, pytest.raises(CheckError, match="answered 503 instead of 201"):
        order_something(address, "acme", "globex")


# The demo itself


@pytest.mark.platform
def test_without_a_terminal_it_checks_and_leaves_nothing(tmp_path: Path) -> None:
    result = demo(tmp_path, CI="true")
    assert result.returncode == 0, result.stdout + result.stderr
    for proof in (
        "replicas: 2 of domain and 2 of process and 2 of agent and 2 of uisurface",  # Helm's release, its pods ready
        "Ready=True AllResourcesHealthy, schema 2",
        "Ready=True AllResourcesHealthy, definition 1",
        "completed: the order is paid",  # a workflow on Temporal, by workers that the operator deployed
        "Process shop/dunning is not Ready: DefinitionInvalid",
        "ada, who has the role orders:write, logs in: 200 Hello, Ada Example",  # by Keycloak's own form
        "bob, who has not, is refused: 403 You may not use this surface: orders:write is missing",
        "with ada's token: 2 orders of the tenant",  # that of the service and that of the workflow
        "the running app shows newCheckout as on after",
        "UISurface shop/campaigns is not Ready: DependencyNotFound",
        "Domain shop/prices does not exist",
        "user ada   password ",
        "id, tenant_id, item, quantity, created_at, status",  # a table's columns, read from PostgreSQL
        '201 {"id": 1, "item": "espresso machine", "quantity": 2}',
        '200 {"orders": []}',  # the other tenant's
        "Domain shop/returns is not Ready: MigrationFailed",
        'relation "orders" already exists',
        "Domain shop/storefront is not Ready: ImageNotAllowed",
        "every check held",
    ):
        assert proof in result.stdout, proof
    assert re.search(
        r"UISurface shop/portal +Ready=True AllResourcesHealthy, http://portal\.localhost:\d+/", result.stdout
    )
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


@pytest.mark.platform
def test_on_a_terminal_it_stays_until_interrupted(tmp_path: Path) -> None:
    """The printed environment leads to the cluster, the table is live, and Ctrl-C takes everything down."""
    master, slave = pty.openpty()
    env = environment(TERM="xterm-256color", COLUMNS="160", LINES="50")
    command = [*DEMO, "--directory", str(tmp_path)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)
    shown = bytearray()

    def read() -> None:
        try:
            while piece := os.read(master, 65536):
                shown.extend(piece)
        except OSError:
            pass  # a terminal whose last user has gone reports an error, not an end

    reader = threading.Thread(target=read)
    reader.start()

    def wait_for(text: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while text.encode() not in shown:
            assert process.poll() is None, shown.decode(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"no {text!r} in {shown.decode(errors='replace')[-3000:]}"
            time.sleep(0.05)

    try:
        wait_for("Ctrl-C stops everything.", 500)
        file = next(tmp_path.glob("ameide-demo-*/env"))
        script = f"""
            source {file} && domain-operator diff -f {EXAMPLES}/orders.yaml &&
            process-operator explain order-to-cash -n shop &&
            uisurface-operator explain portal -n shop &&
            kubectl patch uisurface campaigns -n shop --type=merge \\
                -p '{{"spec": {{"dependencies": {{"domains": ["catalog"]}}}}}}' &&
            kubectl wait uisurface campaigns -n shop --for=condition=Ready --timeout=60s &&
            kubectl patch domain storefront -n shop --type=merge -p '{{"spec": {{"image": "ghcr.io/ameide/web:1"}}}}' &&
            kubectl wait domain storefront -n shop --for=condition=Ready --timeout=60s && kubectl get ameide -A
        """
        used = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment())
        assert used.returncode == 0, used.stdout + used.stderr
        assert re.search(r"domain.ameide.io/storefront +True", used.stdout)
        assert re.search(r"process.ameide.io/order-to-cash +True", used.stdout)
        started = descendants(process.pid)
        assert any(b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(timeout=10)
        os.close(master)
    assert b"everything that was started is stopped" in shown
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.platform
def test_failure_keeps_logs_and_says_where(tmp_path: Path) -> None:
    result = demo(tmp_path, CI="true", AMEIDE_HELM="/bin/false")
    assert result.returncode == 1
    assert "The demo failed: helm upgrade failed" in result.stdout
    found = re.search(r"kept in (\S+)", result.stdout)
    assert found is not None
    logs = Path(found[1])
    assert {"apiserver.log", "etcd.log"} <= {path.name for path in logs.iterdir()}
    assert list(tmp_path.iterdir()) == [logs]
    assert processes_of(tmp_path) == []


@pytest.mark.platform
def test_existing_cluster_is_left_as_it_was(tmp_path: Path) -> None:
    """The operator runs beside it; afterwards only the CRDs are left. A namespace of the user's is not touched."""
    with Platform(crd_sources=["cnpg"], cnpg=False, host_node=False) as other:
        kinds = ("namespaces", "clusterroles", "clusterrolebindings", "crds")
        before = {kind: set(other.kubectl("get", kind, "-o", "name").splitlines()) for kind in kinds}
        result = demo(tmp_path, "--kubeconfig", str(other.kubeconfig))
        assert result.returncode == 0, result.stdout + result.stderr
        assert "a process on this machine" in result.stdout
        assert "Domain shop/catalog is Ready: AllResourcesHealthy" in result.stdout
        after = {kind: set(other.kubectl("get", kind, "-o", "name").splitlines()) for kind in kinds}
        plurals = ("domains", "processes", "agents", "uisurfaces")
        crds = {f"customresourcedefinition.apiextensions.k8s.io/{kind}.ameide.io" for kind in plurals}
        assert after["crds"] - before["crds"] == crds
        assert {kind: after[kind] - before[kind] for kind in kinds[:3]} == {kind: set() for kind in kinds[:3]}
        other.kubectl("create", "namespace", "shop")
        refused = demo(tmp_path, "--kubeconfig", str(other.kubeconfig))
        assert (refused.returncode, "namespace shop exists in this cluster" in refused.stdout) == (1, True)
        assert other.client.get("v1", "Namespace", "shop")["status"]["phase"] == "Active"
    assert list(tmp_path.iterdir()) == []
