"""What is kept when the acceptance on a real node fails: the cluster's objects and the pods' logs, as files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from ameide_dev.client import KubeClient, Object
from ameide_dev.demo_domains import API

_KINDS: tuple[tuple[str, str], ...] = (
    ("v1", "Pod"),
    ("v1", "Event"),
    ("batch/v1", "Job"),
    (API, "Domain"),
    ("coordination.k8s.io/v1", "Lease"),
)


def keep_evidence(client: KubeClient, directory: Path) -> None:
    """Write it into `directory`. What cannot be found out is said in its file; nothing is raised."""
    for api_version, kind in _KINDS:
        _write(directory / f"{kind}.yaml", partial(_objects, client, api_version, kind))
    try:
        pods = client.list("v1", "Pod")
    except Exception:
        return
    for pod in pods:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        _write(directory / f"{namespace}-{name}.log", partial(client.logs, namespace, name))


def _objects(client: KubeClient, api_version: str, kind: str) -> str:
    found: list[Object] = client.list(api_version, kind)
    return yaml.safe_dump_all(found)


def _write(path: Path, text: Callable[[], str]) -> None:
    try:
        path.write_text(text())
    except Exception as error:
        path.write_text(f"could not be found out: {error}\n")
