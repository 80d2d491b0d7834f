"""The release on a real node, as `make acceptance-node`: the operators' images as pods, and a Domain with a database.

Everything here is what a cluster has: images built from the release's Dockerfiles, containerd and runc, the kubelet's
probes, the restricted Pod Security Standard, service accounts' tokens, DNS and Services, Jobs that run Flyway. Only
CloudNativePG is a stand-in, with a real PostgreSQL server behind its Services.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx
import yaml

from ameide_dev import buildah, crds, demo_release, node_checks, node_dns, node_images, release_images, tools
from ameide_dev.buildah import BuildError
from ameide_dev.client import ApiError, KubeClient, UnavailableError, WaitTimeoutError, condition_of
from ameide_dev.cnpg import CnpgStandIn
from ameide_dev.controlplane import ControlPlane
from ameide_dev.demo_domains import API, CLUSTER, EXAMPLES, SHOP
from ameide_dev.demo_screen import Screen
from ameide_dev.flyway import FlywayError
from ameide_dev.node import Node, NodeError, missing
from ameide_dev.node_checks import AcceptanceError
from ameide_dev.node_evidence import keep_evidence
from ameide_dev.node_files import HOST_ADDRESS
from ameide_dev.operators import NAMESPACE
from ameide_dev.processes import Guard, ProcessError
from ameide_dev.progress import CommandError
from ameide_dev.testing.waiting import until

TAG = "0.0.0-node"
_FIRST, _SECOND, _BROKEN = "1.0.0", "1.1.0", "1.2.0-broken"
_ERRORS = (
    AcceptanceError,
    ApiError,
    BuildError,
    CommandError,
    FlywayError,
    NodeError,
    ProcessError,
    TimeoutError,
    UnavailableError,
    WaitTimeoutError,
    crds.CrdError,
    demo_release.ReleaseError,
    httpx.HTTPError,
    tools.ToolError,
)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the steps share."""

    screen: Screen
    node: Node
    control_plane: ControlPlane
    directory: Path

    @property
    def client(self) -> KubeClient:
        return self.control_plane.client


def unable() -> str:
    """Why this machine cannot run it, with the remedy; empty when it can."""
    reason = missing()
    if not reason and (absent := [name for name in ("buildah", "debootstrap", "mvn") if shutil.which(name) is None]):
        packages = " ".join("maven" if name == "mvn" else name for name in absent)
        reason = f"programs are missing: apt-get install {packages}"
    return reason


def run(*, keep: bool = False) -> int:
    """Run all steps, and remove everything again; returns the exit code. keep: leave the logs after a success, too."""
    screen = Screen()
    if reason := unable():
        screen.text(f"error: {reason}", "red")
        return 2
    screen.title("The release on a real node")
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="ameide-node-"))
    guard = Guard()
    began, code = time.monotonic(), 0
    try:
        _accept(screen, guard, directory)
        screen.text(f"All of it took {time.monotonic() - began:.0f} s, and every check held.", "green")
    except KeyboardInterrupt:
        code = 130
    except _ERRORS as error:
        screen.text(f"The acceptance failed: {error}", "red")
        code = 1
    finally:
        guard.close()
        if code or keep:
            screen.text(f"Logs are kept in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return code


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _accept(screen: Screen, guard: Guard, directory: Path) -> None:
    names = _images(screen)
    node = Node(directory / "node", guard)
    control_plane = ControlPlane(directory / "control-plane", keep=True, guard=guard, address=HOST_ADDRESS)
    stand_in: CnpgStandIn | None = None
    try:
        with screen.step("node", "namespaces, network, control plane, containerd, kubelet, kube-proxy") as step:
            node.plug_in()
            control_plane.start(nodes=())
            node.prepare(control_plane)
            node.start_runtime()
            node.join(control_plane)
            step.detail = "node-0 is Ready: containerd and runc, kubelet and kube-proxy of the control plane's version"
        run = _Run(screen, node, control_plane, directory)
        with screen.step("images", "into containerd") as step:
            node.load_images(buildah.export(names, directory / "images.tar"))
            (directory / "images.tar").unlink()
            step.detail = f"{len(names)} images are in containerd"
        with screen.step("cluster", "CoreDNS, the CRDs of CloudNativePG and its stand-in") as step:
            node_dns.install(run.client)
            crds.install_objects(crds.load("cnpg"), run.client)
            stand_in = CnpgStandIn(run.client, host=HOST_ADDRESS)
            stand_in.start()
            step.detail = "CoreDNS answers; CloudNativePG's stand-in has a real PostgreSQL"
        _walk(run)
    except BaseException:
        keep_evidence(control_plane.client, directory)
        raise
    finally:
        with screen.step("clean up", "ending the node and the control plane") as step:
            if stand_in is not None:
                stand_in.stop()
            node.stop()
            control_plane.stop()
            step.detail = "node, network, control groups and control plane are gone"


def _images(screen: Screen) -> list[str]:
    with screen.step("images", "building them, with debootstrap and buildah", spinner=False) as step:
        operators = release_images.build_all(TAG)
        for image in operators:
            if faults := release_images.faults(image):
                raise AcceptanceError(f"the image {image.name} is not as it should be: {'; '.join(faults)}")
        others = node_images.build_all((_FIRST, _SECOND), (_FIRST, _SECOND, _BROKEN))
        step.detail = f"{len(operators)} release images and {len(others)} others are built"
    for image in operators:
        screen.text(f"{image.name}: {_mb(image.total_bytes)}, of which Python and its base {_mb(image.base_bytes)}")
    return [*(image.name for image in operators), *others]


def _walk(run: _Run) -> None:
    _install(run)
    _domain(run)
    _takeover(run)
    _release(run)
    _failing_migration(run)
    _report_memory(run)


def _values() -> dict[str, Any]:
    return {
        "operators": {name: {"image": {"tag": TAG}} for name in release_images.OPERATORS}
        | {
            "domain": {
                "image": {"tag": TAG},
                "settings": {"database": {"clientImage": node_images.PSQL_IMAGE}},
            }
        },
        "settings": {"images": {"allowed": ["ghcr.io/ameide/*"]}},
    }


def _install(run: _Run) -> None:
    with run.screen.step("operators", "helm upgrade --install --wait, under the restricted standard") as step:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        run.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        demo_release.install(run.control_plane.kubeconfig, _values(), run.directory)
        node_checks.refuses_ordinary_pod(run.client)
        replicas = node_checks.all_ready(run.client)
        for operator in release_images.OPERATORS:
            for pod in node_checks.operator_pods(run.client, operator):
                node_checks.probe(pod, "/readyz")
        step.detail = f"pods ready at their first start: {replicas}"


def _domain(run: _Run) -> None:
    for name in ("00-namespaces.yaml", "10-cluster.yaml"):
        run.client.apply_file(EXAMPLES / name)
    with run.screen.step("database", f"the Cluster {'/'.join(CLUSTER)}") as step:
        namespace, name = CLUSTER
        run.client.wait_condition("postgresql.cnpg.io/v1", "Cluster", name, "Ready", namespace, timeout=90)
        step.detail = f"Cluster {namespace}/{name} is Ready"
    with run.screen.step("Domain", "orders: a database, Flyway in a Job, two pods") as step:
        domain = yaml.safe_load((EXAMPLES / "orders.yaml").read_text())
        domain["spec"]["image"] = node_images.orders(_FIRST)
        domain["spec"]["db"]["migrationJobImage"] = node_images.migrator(_FIRST)
        run.client.apply(domain)
        step.detail = (
            f"Ready; schema at version {_ready(run, '1')}; orders: {node_checks.order_is_kept(run.client, SHOP)}"
        )


def _takeover(run: _Run) -> None:
    with run.screen.step("leader", "SIGKILL to the Domain operator's leader") as step:
        before = node_checks.leader(run.client, "domain")
        victim = next(
            (pod for pod in node_checks.operator_pods(run.client, "domain") if before.startswith(pod.name)), None
        )
        if victim is None:
            raise AcceptanceError(f"the Lease of the Domain operator names no pod of its: {before!r}")
        began = time.monotonic()
        run.node.kill_container(victim.container)

        def taken_over() -> str:
            holder = node_checks.leader(run.client, "domain")
            return holder if holder and holder != before else ""

        after = until("another leads", taken_over, timeout=45)
        took = time.monotonic() - began
        until(
            "the killed pod is started anew and ready",
            lambda: any(
                pod.name == victim.name and pod.restarts == 1 and pod.ready
                for pod in node_checks.operator_pods(run.client, "domain")
            ),
            timeout=60,
        )
        step.detail = f"after {took:.1f} s {after.rpartition('_')[0] or after} led; the kubelet restarted the other"


def _release(run: _Run) -> None:
    with run.screen.step("release", f"orders {_SECOND}: migrated and rolled by the new leader") as step:
        _patch(run, _SECOND)
        version = _ready(run, "2")
        step.detail = (
            f"orders {_SECOND} runs, schema at version {version}; {node_checks.order_is_kept(run.client, SHOP)}"
        )


def _failing_migration(run: _Run) -> None:
    with run.screen.step("failure", f"orders {_BROKEN}: its third migration fails") as step:
        pods = {pod.name for pod in node_checks.deployment_pods(run.client, SHOP, "orders-domain")}
        _patch(run, _BROKEN)
        failed = run.client.wait_condition(API, "Domain", "orders", "MigrationFailed", SHOP, timeout=180)
        message = str((condition_of(failed, "MigrationFailed") or {}).get("message", ""))
        if "already exists" not in message:
            raise AcceptanceError(f"the failed migration does not say what PostgreSQL said: {message!r}")
        if {pod.name for pod in node_checks.deployment_pods(run.client, SHOP, "orders-domain") if pod.ready} != pods:
            raise AcceptanceError("the pods of the release before a failed migration are not the ones that were there")
        node_checks.order_is_kept(run.client, SHOP)
        step.detail = "MigrationFailed with PostgreSQL's words; the pods of before go on serving"


def _report_memory(run: _Run) -> None:
    used = node_checks.memory(run.client)
    run.screen.title("Memory")
    for name, size in sorted(used.items()):
        run.screen.text(f"{_mb(size):>8}  {name}")
    for name, size in sorted(run.node.memory().items()):
        run.screen.text(f"{_mb(size):>8}  {name}, on the node itself")


def _patch(run: _Run, tag: str) -> None:
    spec = {"image": node_images.orders(tag), "db": {"migrationJobImage": node_images.migrator(tag)}}
    run.client.merge_patch(API, "Domain", "orders", {"spec": spec}, SHOP)


def _ready(run: _Run, version: str) -> str:
    """Wait until the Domain is Ready with its schema at `version`."""
    domain = run.client.wait_condition(API, "Domain", "orders", "Ready", SHOP, timeout=180)
    found = str(domain["status"].get("db", {}).get("migrationVersion"))
    if found != version:
        raise AcceptanceError(f"Domain orders is Ready with its schema at version {found}, not {version}")
    return found


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
