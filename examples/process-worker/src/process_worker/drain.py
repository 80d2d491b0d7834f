"""Whether the Process is being drained: a file, mounted from a ConfigMap, that says true."""

from __future__ import annotations

from pathlib import Path


def draining(file: Path) -> bool:
    """Whether new workflows are to be refused. No file, or anything but true in it, means no."""
    try:
        return file.read_text(encoding="utf-8").strip().lower() == "true"
    except OSError:
        return False
