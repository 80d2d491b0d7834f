"""The demo on an existing cluster: a release of the chart, one Domain, and what the operator makes of it.

No images are published for a checkout, so the operator runs on this machine with the kubeconfig's user, in place of the
chart's Deployment (which gets no replicas), unless an image is named or the cluster has the release already. The
Domains with a database need PostgreSQL and a node that both run on this machine: they are applied where the cluster is
one that `python -m ameide_dev up` started. Namespaces that the demo did not make are never touched.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ameide_dev import demo_release
from ameide_dev.client import KubeClient, condition_of
from ameide_dev.demo import (
    API,
    EXAMPLES,
    SHOP,
    DemoError,
    at_rest,
    fail,
    interrupt_on_termination,
    no_interruption,
    stay,
    unfinished,
)
from ameide_dev.demo_screen import Object, Screen, key
from ameide_dev.operators import OperatorProcess
from ameide_dev.processes import Guard

_READY_SECONDS = 90.0
_GONE_SECONDS = 60.0


def run(kubeconfig: Path, image: str = "", *, keep: bool = False) -> int:
    """The demo on the cluster of `kubeconfig`; returns the exit code.

    image: of the Domain operator, for the chart's Deployment; empty to run the operator here. keep: leave the demo's
    namespaces and release in the cluster at the end, and this machine's logs.
    """
    screen = Screen()
    screen.title(f"Ameide operators on the cluster of {kubeconfig}")
    directory = Path(tempfile.mkdtemp(prefix="ameide-demo-"))
    interrupt_on_termination()
    code = 0
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        guard = stack.enter_context(_guard())
        client = stack.enter_context(KubeClient.from_kubeconfig(kubeconfig))
        try:
            try:
                _walk(screen, client, kubeconfig, directory, image, guard, stack)
            except KeyboardInterrupt:
                code = 130
            except Exception as error:
                code = fail(screen, error, kubeconfig, directory)
            no_interruption()
            if not keep:
                _clean_up(screen, client, kubeconfig, directory)
        except Exception as error:
            # What is left has to be named, whatever became of the rest.
            screen.text(f"Cleaning up failed: {error}", "red")
            screen.text(f"What the demo made bears the label {_LABEL}; the release is {demo_release.RELEASE}", "red")
            code = code or 1
    return code


_LABEL = "ameide.dev/demo"


@contextmanager
def _guard() -> Iterator[Guard]:
    guard = Guard()
    try:
        yield guard
    finally:
        guard.close()


def _walk(
    screen: Screen,
    client: KubeClient,
    kubeconfig: Path,
    directory: Path,
    image: str,
    guard: Guard,
    stack: ExitStack,
) -> None:
    local = client.find("v1", "Node", "host") is not None and bool(
        client.list("v1", "Node", label_selector="ameide.dev/host-node=true")
    )
    _make_namespaces(client, local)
    with screen.step("operator", "helm upgrade --install ameide-operators") as step:
        step.detail = _operator(client, kubeconfig, directory, image, local, guard, stack)
    if not local:
        screen.text("Without this machine's PostgreSQL and host node: only examples/catalog.yaml is applied.", "yellow")
    began = time.monotonic()
    files = _files(local)
    for file in files:
        client.apply_file(file)
    screen.title(f"kubectl apply -f {' -f '.join(str(file.relative_to(EXAMPLES.parent)) for file in files)}")
    environment = demo_release.write_environment(client, kubeconfig, directory)

    def read() -> list[Object]:
        return client.list(API, "Domain", SHOP)

    try:
        screen.follow(read, at_rest, timeout=_READY_SECONDS)
        screen.text(f"All of it took {time.monotonic() - began:.0f} s.", "green")
    except TimeoutError as error:
        _judge(screen, client, kubeconfig, directory, error)
    stay(screen, client, environment, [f"domain-operator explain catalog -n {SHOP}", "kubectl get ameide -A"])


def _judge(screen: Screen, client: KubeClient, kubeconfig: Path, directory: Path, error: TimeoutError) -> None:
    """A pod that does not run here (its image is made up) is no failure of the operator; anything else is."""
    domains = client.list(API, "Domain", SHOP)
    for domain in domains:
        ready = condition_of(domain, "Ready")
        if ready is None or ready["status"] != "True" and ready["reason"] not in ("DeploymentNotReady", "RolloutInProgress"):
            raise DemoError(f"{error}: {'; '.join(unfinished(domains))}") from error
        name = domain["metadata"]["name"]
        if client.find("apps/v1", "Deployment", f"{name}-domain", SHOP) is None:
            raise DemoError(f"{key(domain)} has no Deployment {name}-domain") from error
        screen.command(f"domain-operator explain {name} -n {SHOP}")
        screen.output(demo_release.explain(kubeconfig, SHOP, name, directory / "settings.yaml"))
    screen.text("The operator did its part; the example's image is not in a registry that this cluster reaches.", "yellow")


def _files(local: bool) -> list[Path]:
    if local:
        return [EXAMPLES / "10-cluster.yaml", *sorted(EXAMPLES.glob("[!0-9]*.yaml")), *sorted(EXAMPLES.glob("failing/*.yaml"))]
    return [EXAMPLES / "catalog.yaml"]
