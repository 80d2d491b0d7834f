"""The platform of docs/tutorial.md: the operators of Domains and Processes, as the chart installs them.

Where the demo shows everything at once, here nothing is applied: whoever follows the tutorial does that.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from ameide_dev import crds, demo_processes, demo_release, flyway, tools
from ameide_dev.demo import interrupt_on_termination, no_interruption
from ameide_dev.demo_screen import Screen
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.platform import Platform
from ameide_dev.processes import Guard

_TOOLS = ("kube", "kwok", "kubectl", "helm", "temporal")


def run(*, folder: Path | None = None) -> None:
    """Start it, say how to use it, and keep it up until Ctrl-C or SIGTERM.

    folder: where it makes its temporary folder (default: the system's place for them). Raises what tools, platform and
    helm raise.
    """
    screen = Screen()
    interrupt_on_termination()
    directory = Path(tempfile.mkdtemp(prefix="ameide-tutorial-", dir=folder)).absolute()
    guard = Guard()
    guard.remove_at_end(directory)
    try:
        with ExitStack() as stack:
            environment = _start(screen, stack, directory)
            stack.callback(no_interruption)
            screen.title("In another terminal, in this folder")
            screen.command(f"source {environment}")
            screen.text("Ctrl-C here ends it all.")
            threading.Event().wait()
    except KeyboardInterrupt:
        screen.text("everything that was started is stopped")
    finally:
        guard.close()
        shutil.rmtree(directory, ignore_errors=True)


def _start(screen: Screen, stack: ExitStack, directory: Path) -> Path:
    """Everything that the tutorial finds; the file to source."""
    with screen.step("tools", "looking for them; what is missing is fetched or built, once", spinner=False) as step:
        for name in _TOOLS:
            tools.find(name)
        crds.fetch_all()
        flyway.jars()
        step.detail = ", ".join((*_TOOLS, "flyway"))
    with screen.step("platform", "starting Kubernetes, CloudNativePG's stand-in, the host node") as step:
        platform = stack.enter_context(Platform(directory=directory / "platform", crd_sources=("cnpg",)))
        step.detail = f"Kubernetes {tools.KUBERNETES}, CloudNativePG stand-in, host node: all on loopback"
    with screen.step("servers", "starting Temporal and a Transformation service") as step:
        servers = demo_processes.start(stack)
        step.detail = servers.where
    with screen.step("operators", "helm upgrade --install ameide-operators --wait") as step:
        client = platform.client
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        servers.prepare(client)
        values = demo_release.host_node_values(servers.values())
        values["operators"]["uisurface"] = {"enabled": False}
        values["defaults"] = {"replicas": 1}
        demo_release.install(platform.kubeconfig, values, directory)
        step.detail = "the operators of Domains and Processes"
    return demo_release.write_environment(client, platform.kubeconfig, directory)
