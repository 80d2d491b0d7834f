"""What is kept of a demo that failed: logs and the cluster's state, without Secrets, certificates or tokens."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ameide_dev import tools
from ameide_dev.demo_domains import CLUSTER, SHOP
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.operators import RELEASE
from ameide_dev.processes import clean_environment

_OBJECTS = "all,databases.postgresql.cnpg.io,databaseroles.postgresql.cnpg.io,clusters.postgresql.cnpg.io,leases"
_OPERATOR = ("logs", f"--selector=app.kubernetes.io/instance={RELEASE}", "--prefix", "--all-containers", "--tail=-1")
_WORKLOADS = ("logs", "--selector=app.kubernetes.io/part-of=ameide", "--prefix", "--all-containers", "--tail=200")
_QUESTIONS = {
    "domains.yaml": (SHOP, ("get", "domains.ameide.io", "-o", "yaml")),
    "describe-domains.txt": (SHOP, ("describe", "domains.ameide.io")),
    "objects.txt": (SHOP, ("get", _OBJECTS, "-o", "wide", "--ignore-not-found")),
    "describe-pods.txt": (SHOP, ("describe", "pods")),
    "events.txt": (SHOP, ("get", "events", "--sort-by=.lastTimestamp")),
    "workloads.log": (SHOP, _WORKLOADS),
    "database-objects.txt": (CLUSTER[0], ("get", _OBJECTS, "-o", "wide", "--ignore-not-found")),
    "database-events.txt": (CLUSTER[0], ("get", "events", "--sort-by=.lastTimestamp")),
    "operator-pods.txt": (SYSTEM, ("describe", "pods")),
    "operator-events.txt": (SYSTEM, ("get", "events", "--sort-by=.lastTimestamp")),
    "operator.log": (SYSTEM, _OPERATOR),
}
"""File → namespace and what kubectl is asked there; only in namespaces of the demo's."""

_ENOUGH_SECONDS = 20


def collect(kubeconfig: Path | None, directory: Path) -> Path:
    """Ask the cluster (None: it never came up) and copy the demo's own logs; returns the folder, beside `directory`."""
    folder = Path(tempfile.mkdtemp(prefix="ameide-demo-logs-", dir=directory.parent))
    for source in directory.rglob("*.log"):
        # The pods' own logs come from the API server; the audit log is large and says what the others say.
        if "pods" not in source.parts and source.name != "audit.log":
            shutil.copy(source, folder / source.name)
    if kubeconfig is None:
        return folder
    kubectl = [str(tools.find("kubectl")), f"--kubeconfig={kubeconfig}", "--request-timeout=5s"]
    for name, (namespace, question) in _QUESTIONS.items():
        command = [*kubectl, f"--namespace={namespace}", *question]
        with (folder / name).open("wb") as file:
            try:
                subprocess.run(
                    command, stdout=file, stderr=file, env=clean_environment(), timeout=_ENOUGH_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                file.write(b"no answer in time\n")
        if not (folder / name).read_bytes().strip():
            (folder / name).unlink()
    return folder
