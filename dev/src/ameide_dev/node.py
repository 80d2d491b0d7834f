"""A real Kubernetes node on this machine, for a control plane of ours: containerd, runc, kubelet, kube-proxy, as root.

It lives in network, mount and process namespaces of its own, like another machine at the end of a cable. When the first
process in them ends, the kernel ends all others and takes away mounts, network and packet filter rules; only control
groups and files are left to remove.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ameide_dev import node_files, tools
from ameide_dev.client import condition_of
from ameide_dev.controlplane import ControlPlane
from ameide_dev.node_files import HOST_ADDRESS, NODE_ADDRESS, PODS, PREFIX, Files
from ameide_dev.processes import Guard, Server, wait_until

CABLE = "ameide-node"
"""The network interface on this machine's side; there can be one node at a time."""
_CGROUPS = Path("/sys/fs/cgroup")
_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "ctr": "containerd",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "conntrack": "conntrack",
}
# As a machine of its own the node would not share its processor; the pods' small requests shall not starve them here.
_CPU_SHARES = {"cpu.shares": "65536", "cpu.weight": "2000"}
_FIRST_PROCESS = """\
set -e
mount --make-rshared /
# What the parts write to fixed places stays in here.
for place in /var/log /var/lib/cni; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
touch "$1"
# It also reaps the processes whose parent has gone.
while true; do sleep 3600 & wait; done
"""


class NodeError(Exception):
    """The machine cannot be or hold a node; the message says why and what to do."""


def missing() -> str:
    """Why there can be no node on this machine, with the remedy; empty when there can."""
    if os.geteuid() != 0:
        return "a node needs root, to run containers: run this as root"
    absent = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if node_files.cni_plugins() is None:
        absent.append("containernetworking-plugins")
    if absent:
        return f"programs are missing: apt-get install {' '.join(dict.fromkeys(absent))}"
    return ""


class Node:
    """One node. `plug_in` makes the network, `join` starts it for a control plane; leaving `with` ends all of it."""

    def __init__(self, directory: Path, guard: Guard) -> None:
        self.directory = directory
        self._guard = guard
        self._files = Files(directory, f"{CABLE}-{os.getpid()}")
        self._servers: dict[str, Server] = {}
        self._init = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def plug_in(self) -> None:
        """Make the node's namespaces and the cable to them: its address and the pods' can be reached from then on.

        Raises NodeError, ProcessError.
        """
        if reason := missing():
            raise NodeError(reason)
        if Path("/sys/class/net", CABLE).exists():
            raise NodeError(f"there is a node on this machine already: the network interface {CABLE} exists")
        self.directory.mkdir(parents=True)
        started = self.directory / "started"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        namespaces = self._server("namespaces", [*unshare, "bash", "-c", _FIRST_PROCESS, "node", str(started)])
        namespaces.start()
        wait_until("The node's namespaces", started.exists, [namespaces], timeout=10)
        children = Path(f"/proc/{namespaces.pid}/task/{namespaces.pid}/children").read_text().split()
        self._init = int(children[0])
        _ip("link", "add", CABLE, "type", "veth", "peer", "name", "uplink", "netns", str(self._init))
        _ip("address", "add", f"{HOST_ADDRESS}/{PREFIX}", "dev", CABLE)
        _ip("link", "set", CABLE, "up")
        _ip("route", "add", PODS, "via", NODE_ADDRESS)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{NODE_ADDRESS}/{PREFIX}", "dev", "uplink")
        self.run("ip", "link", "set", "uplink", "up")
        self.run("ip", "route", "add", "default", "via", HOST_ADDRESS)
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def start_runtime(self) -> None:
        """Start containerd: images can be loaded then, and still nothing runs. Raises ProcessError."""
        runtime = self._server("containerd", self._inside("containerd", "--config", str(self._files.containerd)))
        runtime.start()
        wait_until("containerd", self._runtime_answers, [runtime], timeout=30)

    def prepare(self, control_plane: ControlPlane) -> None:
        """Write the configuration that ties the node to a control plane which listens on HOST_ADDRESS."""
        users = self.directory / "users"
        kubelet = control_plane.kubeconfig_for_user(f"system:node:{node_files.NAME}", ["system:nodes"], directory=users)
        proxy = control_plane.kubeconfig_for_user("system:kube-proxy", directory=users)
        node_files.write(self._files, control_plane.pki, kubelet, proxy)

    def join(self, control_plane: ControlPlane) -> None:
        """Start kubelet and kube-proxy, and wait until the node is Ready. Raises ProcessError, ToolError."""
        for controller in _controllers():
            group = controller / self._files.cgroup
            group.mkdir(exist_ok=True)
            for file, share in _CPU_SHARES.items():
                if (group / file).exists():
                    (group / file).write_text(share)
        users = self.directory / "users"
        kubelet = self._server(
            "kubelet",
            self._inside(
                str(tools.find("kubelet")),
                f"--config={self._files.kubelet}",
                f"--kubeconfig={users / f'system_node_{node_files.NAME}.kubeconfig'}",
                f"--root-dir={self.directory / 'kubelet'}",
                f"--node-ip={NODE_ADDRESS}",
                f"--hostname-override={node_files.NAME}",
            ),
        )
        proxy = self._server("kube-proxy", self._inside(str(tools.find("kube-proxy")), f"--config={self._files.proxy}"))
        kubelet.start()
        proxy.start()

        def ready() -> bool:
            node = control_plane.client.find("v1", "Node", node_files.NAME)
            if node is None or node["spec"].get("taints"):
                return False
            return (condition_of(node, "Ready") or {}).get("status") == "True"

        wait_until("The node", ready, [kubelet, proxy], timeout=90)

    def load_images(self, archive: Path) -> None:
        """Give the node the images of an archive. Raises NodeError."""
        self.run("ctr", f"--address={self._files.socket}", "--namespace=k8s.io", "images", "import", str(archive))

    def kill_container(self, container: str) -> None:
        """SIGKILL the first process of a container, by its id. Raises NodeError."""
        command = ["ctr", f"--address={self._files.socket}", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL"]
        self.run(*command, container)

    def memory(self) -> dict[str, int]:
        """Resident memory of the node's own parts by name, in bytes."""
        found: dict[str, int] = {}
        for name, server in self._servers.items():
            # nsenter waits for what it started, which is its child.
            with contextlib.suppress(OSError, IndexError):
                child = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0]
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
                found[name] = pages * os.sysconf("SC_PAGE_SIZE")
        return {name: size for name, size in found.items() if name != "namespaces"}

    def run(self, *command: str) -> str:
        """Run a command on the node; returns its standard output. Raises NodeError."""
        result = subprocess.run(self._inside(*command), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise NodeError(f"on the node, {' '.join(command)} failed: {result.stderr.strip()}")
        return result.stdout

    def logs(self) -> list[Path]:
        """The logs of the node's parts."""
        return [server.log for server in self._servers.values()]

    def stop(self) -> None:
        """End everything on the node, and remove what the kernel leaves."""
        for name in ("kubelet", "kube-proxy", "containerd", "namespaces"):
            if name in self._servers:
                # Containers end with the namespaces, so there is nothing to wait for.
                self._servers[name].stop(grace=0)
        self._servers.clear()
        for controller in _controllers():
            _remove_cgroup(controller / self._files.cgroup)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _server(self, name: str, command: list[str]) -> Server:
        log = self.directory.parent / f"node-{name}.log"
        self._servers[name] = Server(name, command, log=log, guard=self._guard, env={"HOME": str(self.directory)})
        return self._servers[name]

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self._init}", "--net", "--mount", "--pid", "--", *command]

    def _runtime_answers(self) -> bool:
        try:
            self.run("ctr", f"--address={self._files.socket}", "version")
        except NodeError:
            return False
        return True


def _ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise NodeError(f"ip {' '.join(arguments)} failed: {result.stderr.strip()}")


def _controllers() -> Iterator[Path]:
    """The roots of the control group hierarchies: one of version 2, or one for each controller of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        yield _CGROUPS
        return
    yield from (path for path in _CGROUPS.iterdir() if path.is_dir() and (path / "cgroup.procs").exists())


def _remove_cgroup(group: Path, within: float = 10.0) -> None:
    """Remove a control group with all below it; what the kernel has just killed may still be going."""
    deadline = time.monotonic() + within
    while group.is_dir():
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
