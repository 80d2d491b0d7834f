"""`make demo`: the chart on the local platform, the manifests of `examples/`, and proof that what they ask for is real.

On a terminal it stays up, with a live table of the resources, until Ctrl-C; elsewhere, and with CI=true, it checks,
takes everything down and ends. On an existing cluster see `demo_existing`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import psycopg
from rich import box
from rich.table import Table as RichTable

from ameide_dev import (
    crds,
    demo_agents,
    demo_checks,
    demo_processes,
    demo_release,
    demo_surfaces,
    flyway,
    keycloak,
    keycloak_realm,
    tools,
)
from ameide_dev.cache import cache_dir
from ameide_dev.client import ApiError, KubeClient, UnavailableError, WaitTimeoutError
from ameide_dev.demo_diagnosis import collect
from ameide_dev.demo_domains import (
    API,
    CLUSTER,
    EXAMPLES,
    FAILING,
    KINDS,
    SHOP,
    DemoError,
    RefusalError,
    at_rest,
    resource_files,
    unfinished,
)
from ameide_dev.demo_processes import Servers
from ameide_dev.demo_release import OPERATORS
from ameide_dev.demo_screen import Screen
from ameide_dev.demo_surfaces import Surroundings
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.operators import RELEASE
from ameide_dev.platform import Platform, PlatformError
from ameide_dev.postgres import PostgresError
from ameide_dev.processes import Guard, ProcessError

Object = dict[str, Any]

_READY_SECONDS = 180.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXPECTED_ERRORS = (
    ApiError,
    UnavailableError,
    WaitTimeoutError,
    TimeoutError,
    crds.CrdError,
    demo_checks.CheckError,
    demo_release.ReleaseError,
    flyway.FlywayError,
    keycloak.KeycloakServerError,
    keycloak_realm.KeycloakRefusal,
    httpx.HTTPError,
    PlatformError,
    PostgresError,
    ProcessError,
    psycopg.Error,
    tools.ToolError,
)
"""Errors whose message says it all; any other is a fault of the demo and comes with its traceback."""


def stays_up() -> bool:
    """Whether somebody is there to use the platform after the checks."""
    return sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")


def run(*, folder: Path | None = None, keep: bool = False) -> int:
    """The demo on a platform of its own; returns the exit code.

    folder: where it makes its temporary folder (default: the system's place for them). keep: leave data and logs there.
    """
    screen = Screen()
    screen.title("Ameide operators: from manifests to a Domain, a Process and an Agent that use it, and a page for all")
    directory = Path(tempfile.mkdtemp(prefix="ameide-demo-", dir=folder)).absolute()
    guard = Guard()
    if not keep:
        guard.remove_at_end(directory)
    interrupt_on_termination()
    platform = Platform(directory=directory / "platform", keep=keep)
    kubeconfig: Path | None = None
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            try:
                _prepare_tools(screen)
                around = demo_surfaces.Surroundings()
                around.start(stack)  # Keycloak takes its time, which it has while the others start
                with screen.step("platform", "starting Kubernetes, CloudNativePG's stand-in, the host node") as step:
                    stack.callback(_stop, screen, platform)
                    platform.start()
                    kubeconfig = platform.kubeconfig
                    step.detail = f"Kubernetes {tools.KUBERNETES}, CloudNativePG stand-in, host node: all on loopback"
                with screen.step("servers", "starting Temporal, a Transformation service and a gateway") as step:
                    servers = demo_processes.start(stack)
                    around.open_gateway(platform, stack)
                    step.detail = f"{servers.where}, gateway at port {around.port}"
                # Its own folder: the store holds secrets.
                store = ExternalSecrets(platform.client, directory / "platform" / "secret-store.json")
                demo_agents.fill_store(store, demo_processes.TENANT)
                stack.enter_context(store)
                _walk(screen, platform, servers, around, directory, began)
            except KeyboardInterrupt:
                raise
            except Exception as error:
                return fail(screen, error, kubeconfig, directory)
    except KeyboardInterrupt:
        # Asked to end before there was anything to see.
        return 130
    finally:
        guard.close()
        if keep:
            screen.text(f"data and logs: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


def interrupt_on_termination() -> None:
    """Have SIGTERM and SIGHUP unwind as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, interrupt)


def no_interruption() -> None:
    """From here on a second Ctrl-C has no effect: it must not leave half of it behind."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(screen: Screen, platform: Platform) -> None:
    no_interruption()
    with screen.step("clean up", "stopping everything that was started") as step:
        platform.stop()
        step.detail = "everything that was started is stopped"


def fail(screen: Screen, error: Exception, kubeconfig: Path | None, directory: Path) -> int:
    """Say what failed, and keep what helps to find out why. Returns the exit code."""
    screen.console.print()
    if isinstance(error, RefusalError):
        screen.text(str(error), "red")
        return 1
    logs = collect(kubeconfig, directory)
    if isinstance(error, (*EXPECTED_ERRORS, DemoError)):
        screen.text(f"The demo failed: {error}", "red")
    else:
        (logs / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        screen.text(f"The demo failed by a fault of its own: {type(error).__name__}: {error}", "red")
    screen.text(f"Logs and the cluster's state are kept in {logs}")
    return 1


def _prepare_tools(screen: Screen) -> None:
    """Find or build every program. Builds draw their own progress, each with its usual time."""
    names = ("kube", "kwok", "kubectl", "helm", "temporal")
    missing = not all((cache_dir() / name).is_dir() for name in ("kube", "kwok", "helm", "temporal"))
    doing = "building Kubernetes, kwok, Helm and Temporal from source, once: about 13 min" if missing else "looking"
    with screen.step("tools", doing, spinner=False) as step:
        for name in names:
            tools.find(name)
        crds.fetch_all()
        flyway.jars()
        keycloak.prepared()
        step.detail = f"{len(names)} programs, Flyway and {len(crds.SOURCES)} sets of CRDs in {cache_dir()}"


def _walk(
    screen: Screen, platform: Platform, servers: Servers, around: Surroundings, directory: Path, began: float
) -> None:
    """Everything that is shown. Raises DemoError and EXPECTED_ERRORS."""
    client, kubeconfig = platform.client, platform.kubeconfig
    with screen.step("operators", "helm upgrade --install ameide-operators --wait") as step:
        # The strictest of Kubernetes' pod standards holds for the operators too.
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}})
        servers.prepare(client)
        around.prepare(client)
        values = demo_release.host_node_values(servers.values(), servers.agent_values(), around.values())
        values["agentPolicy"] = {"text": demo_agents.policy_text()}
        demo_release.install(kubeconfig, values, directory)
        deployments = [client.get("apps/v1", "Deployment", f"{RELEASE}-{name}", SYSTEM) for name in OPERATORS]
        ready = " and ".join(
            f"{d['status']['readyReplicas']} of {n}" for d, n in zip(deployments, OPERATORS, strict=True)
        )
        step.detail = f"replicas: {ready}; service accounts, rights and settings are the chart's"
    with screen.step("database", f"waiting for the Cluster {'/'.join(CLUSTER)}") as step:
        for name in ("00-namespaces.yaml", "10-cluster.yaml", "15-echo-model.yaml"):
            client.apply_file(EXAMPLES / name)
        namespace, name = CLUSTER
        client.wait_condition("postgresql.cnpg.io/v1", "Cluster", name, "Ready", namespace, timeout=60)
        version = demo_checks.server_version(platform.cnpg.postgres(namespace, name))
        step.detail = f"Cluster {namespace}/{name} is Ready: PostgreSQL {version}"
    with screen.step("keycloak", "waiting for Keycloak, making a realm with two users") as step:
        realm = around.make_realm()
        step.detail = f"realm {realm.name} at {around.keycloak.url}, users {around.ada.name} and {around.bob.name}"
    _apply(screen, client)
    _show_database(screen, client, platform)
    _show_orders(screen, platform)
    order = _show_workflow(screen, client, servers, platform)
    _show_agent(screen, client, order, platform)
    url = demo_surfaces.show(screen, client, around, realm)
    environment = demo_release.write_environment(client, kubeconfig, directory)
    settings = {name: demo_release.write_settings(client, directory, name) for name in OPERATORS}
    screen.title(f"{len(FAILING)} fail, as they should, and say why")
    for name in sorted(FAILING):
        short = name.partition("/")[2]
        operator = next(kind.lower() for kind in KINDS if client.find(API, kind, short, SHOP))
        screen.command(f"{operator}-operator explain {short} -n {SHOP}")
        screen.output(demo_release.explain(kubeconfig, SHOP, short, settings[operator], operator))
        screen.console.print()
    screen.text(f"All of it took {time.monotonic() - began:.0f} s, and every check held.", "green")
    demo_surfaces.invite(screen, url, around)
    stay(screen, client, environment, _try_out(client))


def _apply(screen: Screen, client: KubeClient) -> None:
    files = resource_files()
    screen.title("kubectl apply -f examples -f examples/failing")
    applied = time.monotonic()
    for file in files:
        client.apply_file(file)
    try:
        found = screen.follow(lambda: _resources(client), at_rest, timeout=_READY_SECONDS)
    except TimeoutError as error:
        raise DemoError(f"{error}: {'; '.join(unfinished(_resources(client)))}") from error
    good = len(found) - len(FAILING)
    screen.text(f"{good} Ready, {len(FAILING)} refused for a reason, in {time.monotonic() - applied:.1f} s")


def _resources(client: KubeClient) -> list[Object]:
    """Every resource that the examples have."""
    return [each for kind in KINDS for each in client.list(API, kind)]


def _show_database(screen: Screen, client: KubeClient, platform: Platform) -> None:
    """The tables of the Domain `orders`, read from PostgreSQL itself."""
    db = client.get(API, "Domain", "orders", SHOP)["status"]["db"]
    found = demo_checks.tables(platform.cnpg.postgres(*CLUSTER), db["database"], db["schema"])
    screen.title(
        f"PostgreSQL itself: database {db['database']}, schema {db['schema']}, version {db['migrationVersion']}"
    )
    table = RichTable(box=box.SIMPLE_HEAD, border_style="dim", header_style="bold", show_edge=False)
    for heading in ("Table", "Owner", "Rows", "Row security", "Columns"):
        table.add_column(heading, justify="right" if heading == "Rows" else "left", overflow="fold")
    for item in found:
        table.add_row(
            item.name, item.owner, str(item.rows), "on" if item.row_security else "-", ", ".join(item.columns)
        )
    screen.show(table)
    if not any(item.name == "orders" and item.row_security for item in found):
        raise DemoError("the migrations have succeeded, but there is no table orders with row security")


def _show_orders(screen: Screen, platform: Platform) -> None:
    """An order, placed and listed over HTTP through the Service."""
    address = platform.host_node.wait_for_service(SHOP, "orders-domain", 8080)
    screen.title("The service itself: Service orders-domain, port 8080")
    for exchange in demo_checks.order_something(address, "acme", "globex"):
        sent = f" -d '{exchange.sent}'" if exchange.sent else ""
        screen.command(f"curl -H 'x-tenant-id: {exchange.tenant}'{sent} {exchange.url}")
        screen.output(f"{exchange.status} {exchange.answer}")


def _show_workflow(screen: Screen, client: KubeClient, servers: Servers, platform: Platform) -> str:
    """A workflow of the definition, executed by the pods that the operator deployed, and its trace in the Domain.

    Returns the id of the order that it booked.
    """
    process = client.get(API, "Process", "order-to-cash", SHOP)
    definition, queue = process["status"]["definition"], process["spec"]["temporal"]["taskQueue"]
    screen.title(
        f"A workflow on Temporal: definition {definition['id']} version {definition['version']}, queue {queue}"
    )
    done = demo_processes.run_workflow(servers.temporal.address, queue, screen.text)
    if not done.variables.get("booked"):
        raise DemoError(f"workflow {done.workflow} ended, but the Domain does not list its order: {done.variables}")
    screen.text(f"completed: the order is paid, and Domain orders lists it: {done.variables['order']}")
    return str(done.variables["order"]["id"])


def _show_agent(screen: Screen, client: KubeClient, order: str, platform: Platform) -> None:
    """Sessions with an Agent: it uses the tool that it is granted, and is refused what it is not."""
    grants = client.get(API, "Agent", "order-desk", SHOP)["status"]["grants"]
    screen.title(f"An Agent with {grants['count']} granted tool: Service order-desk-agent, port 8080")
    address = platform.host_node.wait_for_service(SHOP, "order-desk-agent", 8080)
    for session in demo_agents.sessions(address, order):
        screen.command(f"curl -d '{json.dumps({'input': session.said})}' http://{address[0]}:{address[1]}/v1/sessions")
        for refusal in session.refusals:
            screen.output(f"{refusal['code']}: {refusal['message']}")
        if not session.refusals:
            screen.output(session.answer)


def _try_out(client: KubeClient) -> list[tuple[str, str]]:
    """Commands for the other terminal, each with what it is good for."""
    return [
        ("every Ameide resource; -o wide has the message", "kubectl get ameide -A"),
        ("conditions and Events", f"kubectl describe domain orders -n {SHOP}"),
        ("why is it not Ready?", f"domain-operator explain returns -n {SHOP}"),
        ("why does a Process not start?", f"process-operator explain dunning -n {SHOP}"),
        ("which rule does an Agent break?", f"agent-operator explain refunds -n {SHOP}"),
        ("why is a UISurface not reachable?", f"uisurface-operator explain campaigns -n {SHOP}"),
        ("and before it is applied?", "agent-operator check -f examples --policy examples/20-agent-policy.yaml"),
        ("what a manifest compiles to, offline", "domain-operator render -f examples/orders.yaml"),
        ("what applying it would change", "domain-operator diff -f examples/orders.yaml"),
        ("a new release", _patch("orders", "image", "ghcr.io/ameide/hostnode-orders:1.1.1")),
        (
            "a broken one: the old pods go on serving",
            _patch("orders", "image", "ghcr.io/ameide/hostnode-orders:1.1.2-bad"),
        ),
        (
            "try a failed migration again",
            f"kubectl annotate domain returns -n {SHOP} --overwrite ameide.io/retry-migration=$(date +%s)",
        ),
        (
            "or mend it",
            _patch("returns", "db.migrationJobImage", "ghcr.io/ameide/hostnode-flyway-migrator:1.1.0"),
        ),
        (
            "the other replica takes over",
            f"kubectl delete pod -n {SYSTEM} {demo_release.leader(client) or '<leader>'}",
        ),
    ]


def stay(screen: Screen, client: KubeClient, environment: Path, commands: Sequence[tuple[str, str]]) -> None:
    """On a terminal: show (comment, command) for another one, and the live table until Ctrl-C."""
    if not stays_up():
        return
    screen.title("Now you, in another terminal")
    for comment, command in (
        ("this cluster, the operator's settings; kubectl, helm and domain-operator on PATH", f"source {environment}"),
        *commands,
    ):
        screen.text(f"# {comment}", "dim")
        screen.command(command)
    screen.console.print()
    try:
        screen.follow(
            lambda: _read(client), lambda _: False, timeout=None, remark="Ctrl-C stops everything.", interval=0.5
        )
    except KeyboardInterrupt:
        screen.console.print()


def _read(client: KubeClient) -> list[Object]:
    try:
        return _resources(client)
    except (ApiError, UnavailableError):
        # Whoever restarts or breaks the cluster in the other terminal sees it there.
        return []


def _patch(name: str, field: str, value: str) -> str:
    patch = f'"{value}"'
    for part in reversed(f"spec.{field}".split(".")):
        patch = f'{{"{part}": {patch}}}'
    return f"kubectl patch domain {name} -n {SHOP} --type=merge -p '{patch}'"
