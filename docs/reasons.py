"""The page of reasons: each with its cause, its remedy, and the kinds that can give it, read off the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ameide_shared.reasons import CATALOGUE, Reason

_HEAD = """# Reasons

What the `reason` of a condition, of `status.blocker` or of an Event means. Programs may compare these names; messages
are for people and may change. `<operator> reasons` prints the same, and `explain` the entry of what is in the way.

While a resource is not Ready its condition `Ready` has the reason of the first thing in the way, and `status.blocker`
the object, the remedy for just this case, and when the operator looks again by itself. A condition that waits for
another says `Blocked`. `Stalled` is there where nothing will heal by itself.

"""
# A reason is named in the code, or is the value of an enumeration, as those of the Transformation service are.
_NAMED = re.compile(r"\bReason\.(\w+)|^    [A-Z_]+ = \"(\w+)\"$", re.MULTILINE)


def kinds_of(sources: Mapping[str, Path], shared: Path) -> dict[Reason, list[str]]:
    """The kinds whose code names a reason, that of `shared` included as far as it is imported.

    `sources` are the folders of the kinds' code, `shared` is the one that holds `ameide_shared`.
    """
    found: dict[Reason, list[str]] = {reason: [] for reason in Reason}
    for kind, folder in sources.items():
        code = reached(folder, shared)
        named = {one or other for text in code for one, other in _NAMED.findall(text)}
        for reason in Reason:
            if reason.value in named:
                found[reason].append(kind)
    return found


def reached(folder: Path, shared: Path) -> list[str]:
    """The texts of a folder's modules, and of those of `shared` that they import, and these in turn.

    Without those that name reasons of others: the catalogue, the command line, and documents that are read offline.
    """
    texts: dict[Path, str] = {}
    left = sorted(folder.rglob("*.py"))
    while left:
        path = left.pop()
        others = path.name in ("reasons.py", "documents.py") or path.parent.name == "cli"
        if path in texts or others or not path.is_file():
            continue
        text = path.read_text()
        # A set of reasons is there to compare with, not to give.
        texts[path] = re.sub(r"frozenset\(\s*\{.*?\}\s*\)", "", text, flags=re.DOTALL)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    module = shared / name.replace(".", "/")
                    left += [module.with_suffix(".py"), module / "__init__.py"]
    return list(texts.values())


def page(
    table: Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str],
    cell: Callable[[str], str],
    sources: Mapping[str, Path],
    shared: Path,
) -> str:
    """The page, without its head. Raises ValueError for a reason that no code gives."""
    kinds = kinds_of(sources, shared)
    if unused := [reason.value for reason, users in kinds.items() if not users]:
        raise ValueError(f"no operator gives the reasons {', '.join(unused)}: remove them from reasons.py")
    rows = [
        (
            f"`{reason}`",
            cell(CATALOGUE[reason].cause),
            cell(CATALOGUE[reason].remedy) or "nothing is to be done",
            "all" if len(kinds[reason]) == len(sources) else ", ".join(kinds[reason]),
        )
        for reason in Reason
    ]
    return _HEAD + table(("reason", "cause", "remedy", "kinds"), rows)
