"""What is kept of a demo that failed: logs and the cluster's state, without Secrets, certificates or tokens."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ameide_dev import tools
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.operators import RELEASE
from ameide_dev.processes import clean_environment

_QUESTIONS = {
    "domains.yaml": ("get", "domains.ameide.io", "-A", "-o", "yaml"),
    "describe-domains.txt": ("describe", "domains.ameide.io", "-A"),
    "objects.txt": ("get", "all,databases,databaseroles,clusters.postgresql.cnpg.io,leases", "-A", "-o", "wide"),
    "describe-pods.txt": ("describe", "pods", "-A"),
    "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "operator.log": (
        "logs",
        "-n",
        SYSTEM,
        f"--selector=app.kubernetes.io/instance={RELEASE}",
        "--prefix",
        "--all-containers",
        "--tail=-1",
    ),
    "workloads.log": (
        "logs",
        "-n",
        "shop",
        "--selector=app.kubernetes.io/part-of=ameide",
        "--prefix",
        "--all-containers",
        "--tail=200",
    ),
}
_ENOUGH_SECONDS = 20


def collect(kubeconfig: Path | None, directory: Path) -> Path:
    """Ask the cluster (None: it never came up) and copy the demo's own logs; returns the folder with all of it."""
    folder = Path(tempfile.mkdtemp(prefix="ameide-demo-logs-"))
    for source in directory.rglob("*.log"):
        # The pods' own logs come from the API server; the audit log is large and says what the others say.
        if "pods" not in source.parts and source.name != "audit.log":
            shutil.copy(source, folder / source.name)
    if kubeconfig is None:
        return folder
    for name, question in _QUESTIONS.items():
        command = [str(tools.find("kubectl")), f"--kubeconfig={kubeconfig}", "--request-timeout=5s", *question]
        with (folder / name).open("wb") as file:
            try:
                subprocess.run(
                    command, stdout=file, stderr=file, env=clean_environment(), timeout=_ENOUGH_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                file.write(b"no answer in time\n")
    return folder
