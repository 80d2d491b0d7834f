"""The CustomResourceDefinitions of the systems the operators talk to, read from those systems' published Go modules."""

import json
import os
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ameide_dev import tools
from ameide_dev.cache import artefact
from ameide_dev.client import KubeClient, UnknownKindError, condition_of
from ameide_dev.progress import CommandError


@dataclass(frozen=True, slots=True)
class Source:
    """Where a system's CRDs are: a Go module at a version, a folder in it, and the plurals that are installed."""

    module: str
    version: str
    folder: str
    plurals: tuple[str, ...]


# Only kinds that the operators or the demo use: each large schema costs the API server time and memory.
SOURCES: dict[str, Source] = {
    "cnpg": Source(
        "github.com/cloudnative-pg/cloudnative-pg",
        "v1.30.0",
        "config/crd/bases",
        ("clusters", "databases", "databaseroles"),
    ),
    "external-secrets": Source(
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "config/crds/bases",
        ("externalsecrets",),
    ),
    "gateway-api": Source(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "config/crd/standard",
        ("gatewayclasses", "gateways", "httproutes", "referencegrants"),
    ),
    "envoy-gateway": Source(
        "github.com/envoyproxy/gateway",
        "v1.9.1",
        "charts/gateway-helm/charts/crds/crds/generated",
        ("securitypolicies",),
    ),
    "prometheus-operator": Source(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.93.0",
        "example/prometheus-operator-crd",
        ("servicemonitors", "podmonitors", "prometheusrules"),
    ),
    "keda": Source(
        "github.com/kedacore/keda/v2",
        "v2.20.2",
        "config/crd/bases",
        ("scaledobjects", "triggerauthentications", "clustertriggerauthentications"),
    ),
    "temporal-worker-controller": Source(
        "github.com/temporalio/temporal-worker-controller",
        "v1.8.1",
        "helm/temporal-worker-controller-crds/templates",
        ("connections", "workerdeployments"),
    ),
}


API_VERSION, KIND = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


class CrdError(Exception):
    """CRDs could not be fetched, or are not what SOURCES says."""


def load(name: str) -> list[dict[str, Any]]:
    """The CRDs of the system `name` (a key of SOURCES), fetched once into the cache. Raises CrdError."""
    source = SOURCES.get(name)
    if source is None:
        raise CrdError(f"no CRDs are known for {name!r}; known are {', '.join(SOURCES)}")

    def fetch(folder: Path) -> None:
        # As JSON, which loads a hundred times faster than YAML.
        (folder / "crds.json").write_text(json.dumps(list(_read(source))))

    # The cache keeps every version apart, since an upgrade may be tried on one branch and not on another.
    inputs = (source.module, source.version, source.folder, *source.plurals)
    folder = artefact(f"crds-{name}", inputs, fetch)
    crds: list[dict[str, Any]] = json.loads((folder / "crds.json").read_text())
    return crds


def fetch_all() -> None:
    """Fetch what is missing from the cache. Raises CrdError."""
    for name in SOURCES:
        load(name)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C loader is optional
    """YAML as Kubernetes reads it: a lone "=" is a string, not YAML 1.1's default-value marker."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def _read(source: Source) -> Iterator[dict[str, Any]]:
    folder = _module_folder(source) / source.folder
    for plural in source.plurals:
        files = list(folder.glob(f"*_{plural}.yaml"))
        if len(files) != 1:
            raise CrdError(
                f"{source.module}@{source.version}: expected one file *_{plural}.yaml in {source.folder}, "
                f"found {len(files)}; correct SOURCES"
            )
        yield from (document for document in yaml.load_all(files[0].read_text(), Loader=_Loader) if document)


def _module_folder(source: Source) -> Path:
    module = f"{source.module}@{source.version}"
    try:
        go = tools.go_command()
    except (tools.ToolError, CommandError) as error:
        raise CrdError(f"the CRDs of {module} cannot be fetched: {error}") from error
    env = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    # cwd: away from any go.mod, so that only this module is asked for.
    result = subprocess.run(
        [go, "mod", "download", "-json", module], capture_output=True, text=True, env=env, cwd="/", check=False
    )
    answer = json.loads(result.stdout or "{}")
    if "Dir" not in answer:
        reason = answer.get("Error") or result.stderr.strip()
        raise CrdError(f"the CRDs of {module} cannot be fetched: {reason}; check that Go can download modules")
    return Path(answer["Dir"])


def install(names: Collection[str], client: KubeClient, *, timeout: float = 60.0) -> list[str]:
    """Install the CRDs of the systems `names` and wait until they are served; returns their names."""
    return install_objects([crd for name in names for crd in load(name)], client, timeout=timeout)


def _wait_served(client: KubeClient, crd: dict[str, Any], timeout: float) -> None:
    """Discovery may lag behind the condition Established. Raises UnknownKindError when it does for too long."""
    spec = crd["spec"]
    version = next(entry["name"] for entry in spec["versions"] if entry.get("served"))
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.resource(f"{spec['group']}/{version}", spec["names"]["kind"])
        except UnknownKindError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)
        else:
            return


def install_objects(crds: Sequence[dict[str, Any]], client: KubeClient, *, timeout: float = 60.0) -> list[str]:
    """Apply CRDs and wait until each is Established and its newest version is served."""

    def one(crd: dict[str, Any]) -> str:
        name: str = crd["metadata"]["name"]
        client.apply(crd)

        def established(obj: dict[str, Any] | None) -> bool:
            condition = condition_of(obj, "Established")
            return condition is not None and condition["status"] == "True"

        client.wait_for(API_VERSION, KIND, name, established, timeout=timeout, what="condition Established")
        _wait_served(client, crd, timeout)
        return name

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(one, crds))
