"""The demo on an existing cluster: a release of the chart, the examples that can run there, and a clean end.

Who plays the operator: the release that the cluster has already; else the chart's own Deployment, where an image is
named or a host node can run this checkout; else a process on this machine with the rights of the kubeconfig's user, in
place of the chart's Deployment, which then gets no replicas. Domains with a database are applied only to a cluster that
`python -m ameide_dev up` started, as their images and PostgreSQL exist on its host node alone. Namespaces that the demo
did not make are never touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ameide_dev import demo_release
from ameide_dev.client import KubeClient, condition_of
from ameide_dev.demo import fail, interrupt_on_termination, no_interruption, stay
from ameide_dev.demo_domains import (
    API,
    CLUSTER,
    EXAMPLES,
    FAILING,
    SHOP,
    DemoError,
    RefusalError,
    at_rest,
    resource_files,
    unfinished,
)
from ameide_dev.demo_screen import Screen, key
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.operators import RELEASE, OperatorProcess
from ameide_dev.processes import Guard

Object = dict[str, Any]

_READY_SECONDS = 90.0
_GONE_SECONDS = 60.0
_STARTING = frozenset({"DeploymentNotReady", "RolloutInProgress"})
"""What a Domain says whose children are all there, while the cluster cannot start its pods."""


def run(kubeconfig: Path, image: str = "", *, folder: Path | None = None, keep: bool = False) -> int:
    """The demo on the cluster of `kubeconfig`; returns the exit code.

    image: of the Domain operator, for the chart's Deployment; empty for the choice that the module describes.
    folder: where it makes its temporary folder (default: the system's place for them). keep: leave everything in the
    cluster at the end.
    """
    screen = Screen()
    screen.title(f"Ameide operators on the cluster of {kubeconfig}")
    directory = Path(tempfile.mkdtemp(prefix="ameide-demo-", dir=folder)).absolute()
    guard, made, running = Guard(), ExitStack(), ExitStack()
    interrupt_on_termination()
    code = 0
    try:
        with KubeClient.from_kubeconfig(kubeconfig) as client:
            try:
                _walk(_Demo(screen, client, kubeconfig, directory, guard, made, running), image)
            except KeyboardInterrupt:
                code = 130
            except Exception as error:
                code = fail(screen, error, kubeconfig, directory)
            no_interruption()
            if not keep:
                with screen.step("clean up", "deleting what the demo made") as step:
                    made.close()
                    step.detail = "what the demo made is deleted; the chart keeps its CRDs"
    except Exception as error:
        screen.text(f"Cleaning up failed, so that some of it may be left: {error}", "red")
        code = code or 1
    finally:
        running.close()
        guard.close()
        shutil.rmtree(directory, ignore_errors=True)
    return code


@dataclass(frozen=True, slots=True)
class _Demo:
    """What the steps share. `made` takes back what was put into the cluster, `running` ends what runs here."""

    screen: Screen
    client: KubeClient
    kubeconfig: Path
    directory: Path
    guard: Guard
    made: ExitStack
    running: ExitStack


def _walk(demo: _Demo, image: str) -> None:
    client, screen = demo.client, demo.screen
    host_node = bool(client.list("v1", "Node", label_selector="ameide.dev/host-node=true"))
    _make_namespaces(demo, (SHOP, CLUSTER[0]) if host_node else (SHOP,))
    with screen.step("operator", "looking for the release, else installing it") as step:
        ours, step.detail = _operator(demo, image, host_node)
    files = resource_files(("Domain",)) if host_node else [EXAMPLES / "catalog.yaml"]
    if not ours:
        # The image that one of them is refused for may well be allowed by the settings of this release.
        files = [file for file in files if file.parent == EXAMPLES]
    if not host_node:
        screen.text("Only examples/catalog.yaml: the others need the PostgreSQL and the host node of a local platform.")
    else:
        screen.text("Domains only: the other kinds need servers that a demo of its own platform starts, as Temporal.")
    screen.title(f"kubectl apply -f {' -f '.join(str(file.relative_to(EXAMPLES.parent)) for file in files)}")
    if host_node:
        client.apply_file(EXAMPLES / "10-cluster.yaml")
    demo.made.callback(_delete_domains, client)
    for file in files:
        client.apply_file(file)
    environment = demo_release.write_environment(client, demo.kubeconfig, demo.directory)
    try:
        screen.follow(lambda: client.list(API, "Domain", SHOP), at_rest, timeout=_READY_SECONDS)
    except TimeoutError as error:
        _judge(demo, error)
    names = sorted(key(domain).partition("/")[2] for domain in client.list(API, "Domain", SHOP))
    explained = [name for name in names if f"{SHOP}/{name}" in FAILING] or names[:1]
    for name in explained:
        _explain(demo, name)
    commands = [("every Ameide resource", "kubectl get ameide -A")]
    stay(screen, client, environment, [*commands, ("what is made of it", f"kubectl get all -n {SHOP}")])


def _make_namespaces(demo: _Demo, names: Sequence[str]) -> None:
    """Create the examples' namespaces. Raises RefusalError for one that exists: at the end it would be deleted."""
    for manifest in yaml.safe_load_all((EXAMPLES / "00-namespaces.yaml").read_text()):
        name = manifest["metadata"]["name"]
        if name not in names:
            continue
        if demo.client.find("v1", "Namespace", name) is not None:
            raise RefusalError(
                f"namespace {name} exists in this cluster, and the demo deletes the namespaces that it uses; "
                "delete it yourself if it is left over from a demo, or use another cluster"
            )
        demo.client.create(manifest)
        demo.made.callback(demo.client.delete, "v1", "Namespace", name, wait=_GONE_SECONDS, missing_ok=True)


def _operator(demo: _Demo, image: str, host_node: bool) -> tuple[bool, str]:
    """See that an operator looks after the namespace; returns whether its settings are the demo's, and who it is."""
    if demo_release.is_installed(demo.kubeconfig):
        return False, f"the release {RELEASE} that this cluster has already"
    values: dict[str, Any] = {
        "watch": {"namespaces": [SHOP], "referencedNamespaces": [CLUSTER[0]] if host_node else []}
    }
    if image:
        values["operators"] = demo_release.only({"domain": {"image": _image_values(image)}})
    elif host_node:
        values.update(demo_release.host_node_values())
    else:
        values |= {"defaults": {"replicas": 0}, "operators": demo_release.only({"domain": {}})}
    if demo.client.find("v1", "Namespace", SYSTEM) is None:
        demo.made.callback(demo.client.delete, "v1", "Namespace", SYSTEM, wait=_GONE_SECONDS, missing_ok=True)
    demo.made.callback(demo_release.uninstall, demo.kubeconfig)
    demo_release.install(demo.kubeconfig, values, demo.directory)
    if image or host_node:
        return True, "the chart's Deployment, with its service account"
    process = OperatorProcess(
        None,
        demo.directory / "operator",
        kubeconfig=demo.kubeconfig.absolute(),
        # The chart's settings, its Lease among them: should somebody scale its Deployment up, only one of them works.
        settings={
            "AMEIDE_SETTINGS_FILE": str(demo_release.write_settings(demo.client, demo.directory)),
            "AMEIDE_LEADER_ELECTION__ENABLED": "true",
        },
        guard=demo.guard,
    )
    demo.running.callback(process.stop)
    process.start()
    return True, "a process on this machine with the rights of this kubeconfig's user; CRDs and roles are the chart's"


def _image_values(image: str) -> Mapping[str, str]:
    """The chart's values for an image reference such as `ghcr.io/ameide/domain-operator:1.0.0`."""
    name, _, digest = image.partition("@")
    registry, slash, repository = name.partition("/")
    repository, _, tag = repository.partition(":")
    if not slash or not ({".", ":"} & {*registry} or registry == "localhost"):
        raise RefusalError(f"--operator-image {image} names no registry; write registry/repository:tag")
    return {"registry": registry, "repository": repository, "tag": tag, "digest": digest}


def _judge(demo: _Demo, error: TimeoutError) -> None:
    """A pod that cannot start, as its image is made up, is no failure of the operator; anything else is."""
    domains = demo.client.list(API, "Domain", SHOP)
    for domain in domains:
        ready = condition_of(domain, "Ready")
        waits = ready is not None and (ready["status"] == "True" or ready["reason"] in _STARTING)
        deployment = f"{domain['metadata']['name']}-domain"
        if not waits or demo.client.find("apps/v1", "Deployment", deployment, SHOP) is None:
            raise DemoError(f"{error}: {'; '.join(unfinished(domains))}") from error
    demo.screen.text(
        "All children are there, but this cluster cannot start the pods: the example's image is made up. With one of "
        f'yours: kubectl patch domain catalog -n {SHOP} --type=merge -p \'{{"spec": {{"image": "…"}}}}\'',
        "yellow",
    )


def _explain(demo: _Demo, name: str) -> None:
    demo.screen.console.print()
    demo.screen.command(f"domain-operator explain {name} -n {SHOP}")
    demo.screen.output(demo_release.explain(demo.kubeconfig, SHOP, name, demo.directory / "settings.yaml"))


def _delete_domains(client: KubeClient) -> None:
    """Delete the Domains while their operator still runs: it takes back what it made in other namespaces."""
    names = [domain["metadata"]["name"] for domain in client.list(API, "Domain", SHOP)]
    for name in names:
        client.delete(API, "Domain", name, SHOP, missing_ok=True)
    for name in names:
        client.wait_gone(API, "Domain", name, SHOP, timeout=_GONE_SECONDS)
