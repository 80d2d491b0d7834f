"""Makes the runtime, which is a project of its own, importable, and its test support."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "src"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from agent_runtime_support import model, program, start_program, tool  # noqa: E402 (the path comes first)

__all__ = ["model", "program", "start_program", "tool"]
