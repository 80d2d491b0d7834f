"""The chart as the demo installs it: values, the real helm, and the shell environment to work with the result."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ameide_dev import tools
from ameide_dev.client import KubeClient
from ameide_dev.operators import CHART, NAMESPACE, RELEASE
from ameide_dev.processes import clean_environment

OPERATOR = f"{RELEASE}-domain"
"""The Deployment, ServiceAccount, ConfigMap and Lease of the Domain operator."""
OPERATORS = ("domain", "process", "agent", "uisurface")

_TIMEOUT = 300

_SETTINGS: Mapping[str, Any] = {"images": {"allowed": ["ghcr.io/ameide/*"]}}
_DOMAIN: Mapping[str, Any] = {"settings": {"database": {"clientImage": "ghcr.io/ameide/hostnode-postgres:18"}}}
# The default, said aloud: the host node translates paths that it sees, and no others.
_POLICY_FILE: Mapping[str, Any] = {"name": "AMEIDE_POLICY__FILE", "value": "/etc/ameide/policy/policy.yaml"}


def host_node_values(
    process: Mapping[str, Any] | None = None,
    agent: Mapping[str, Any] | None = None,
    uisurface: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The chart's values on the local platform: its Deployments run the operators of this checkout, on the host node.

    process, agent, uisurface: the blocks of these operators; without one there is no such operator.
    """
    blocks: dict[str, Mapping[str, Any]] = {"domain": _DOMAIN}
    if process is not None:
        blocks["process"] = process
    if agent is not None:
        blocks["agent"] = {**agent, "env": [_POLICY_FILE, *agent.get("env", ())]}
    if uisurface is not None:
        blocks["uisurface"] = uisurface
    running = {name: _on_host_node(name, block) for name, block in blocks.items()}
    return {"operators": only(running), "settings": _SETTINGS}


def only(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The chart's value `operators` for these operators and no others."""
    return {name: blocks.get(name, {"enabled": False}) for name in OPERATORS}


def _on_host_node(operator: str, block: Mapping[str, Any]) -> dict[str, Any]:
    # Processes of the host node share this machine's ports, so each listens on its pod's own address.
    address = {"name": "AMEIDE_HTTP__HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    image = {"repository": f"ameide/hostnode-{operator}-operator", "tag": "checkout"}
    return {**block, "image": image, "env": [address, *block.get("env", ())]}


class ReleaseError(Exception):
    """helm could not do what it was asked; the message has what it said."""


def helm(kubeconfig: Path, *arguments: str) -> str:
    """Run the real helm in the release's namespace; returns its standard output. Raises ReleaseError, ToolError."""
    command = [str(tools.find("helm")), f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
    if result.returncode != 0:
        raise ReleaseError(f"helm {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout


def is_installed(kubeconfig: Path) -> bool:
    """Whether the cluster has the release already."""
    releases = json.loads(helm(kubeconfig, "list", f"--filter=^{RELEASE}$", "--output=json"))
    return bool(releases)


def install(kubeconfig: Path, values: Mapping[str, Any], directory: Path) -> None:
    """Install or upgrade the chart, with `values` kept in `directory`/values.yaml, and wait until its pods are ready.

    Raises ReleaseError.
    """
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values), sort_keys=False))
    options = ("--create-namespace", "--wait", f"--timeout={_TIMEOUT}s", f"--values={file}")
    helm(kubeconfig, "upgrade", "--install", RELEASE, str(CHART), *options)


def uninstall(kubeconfig: Path) -> None:
    """Remove the release; the chart keeps its CRDs. Raises ReleaseError."""
    helm(kubeconfig, "uninstall", RELEASE, "--wait")


def leader(client: KubeClient) -> str:
    """The pod that leads, empty when none does."""
    lease = client.find("coordination.k8s.io/v1", "Lease", OPERATOR, NAMESPACE)
    holder = str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
    return holder.rpartition("_")[0] or holder


def write_settings(client: KubeClient, directory: Path, operator: str = "domain") -> Path:
    """The settings of an operator of the release as a file, for the subcommands that judge by them; its path."""
    file = directory / ("settings.yaml" if operator == "domain" else f"{operator}-settings.yaml")
    file.write_text(client.get("v1", "ConfigMap", f"{RELEASE}-{operator}", NAMESPACE)["data"]["settings.yaml"])
    return file


def write_environment(client: KubeClient, kubeconfig: Path, directory: Path) -> Path:
    """A file to source: cluster, the operators with the release's settings, and the programs on PATH. Its path."""
    installed = [name for name in OPERATORS if client.find("v1", "ConfigMap", f"{RELEASE}-{name}", NAMESPACE)]
    folders = [Path(sys.executable).parent, tools.find("kubectl").parent, tools.find("helm").parent]
    path = ":".join(shlex.quote(str(folder)) for folder in dict.fromkeys(folders))
    file = directory / "env"
    file.write_text(
        f"export KUBECONFIG={shlex.quote(str(kubeconfig.absolute()))}\n"
        # kubectl's usual cache may know another cluster by this one's address.
        f"export KUBECACHEDIR={shlex.quote(str(directory / 'kubectl-cache'))}\n"
        f"export PATH={path}:$PATH\n"
        # Each operator has settings of its own, which the others would not understand.
        + "".join(_with_settings(name, write_settings(client, directory, name)) for name in installed)
    )
    return file


def _with_settings(operator: str, settings: Path) -> str:
    """A shell function of the operator's name that runs it with these settings."""
    program = f"{operator}-operator"
    return f'{program}() {{ AMEIDE_SETTINGS_FILE={shlex.quote(str(settings))} command {program} "$@"; }}\n'


def explain(kubeconfig: Path, namespace: str, name: str, settings: Path, operator: str = "domain") -> str:
    """What `domain-operator explain` says about a Domain, or another operator about a resource of its kind.

    Raises ReleaseError when it could not find out.
    """
    program = Path(sys.executable).parent / f"{operator}-operator"
    command = [str(program), "explain", name, "-n", namespace, "--kubeconfig", str(kubeconfig)]
    env = clean_environment({"AMEIDE_SETTINGS_FILE": str(settings), "COLUMNS": "110"})
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    # 0: it is Ready, 1: it is not; both are answers.
    if result.returncode not in (0, 1) or not result.stdout:
        raise ReleaseError(f"{program.name} explain {name} failed: {result.stderr.strip()}")
    return result.stdout
