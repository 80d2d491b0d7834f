"""What the demo shows: steps with their times, the live table of resources, and blocks of output between them."""

from __future__ import annotations

import datetime as dt
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ameide_dev.client import condition_of

Object = dict[str, Any]

_COLOURS = {"True": "green", "False": "red", "Unknown": "yellow"}
_TRANSIENT = "yellow"
_PLAIN_WIDTH = 120
"""Columns where nobody looks at a terminal, as in a CI log."""
_MESSAGE = 180
"""Characters of a message beside the table; `explain` has the whole of it."""
_WIDE = 130
"""Columns from which messages have room in the table."""


class Step:
    """A step that is under way; `detail` is what its line says once it is done."""

    def __init__(self) -> None:
        self.detail = ""


class Screen:
    """The terminal, or a log where there is none: then every change is a line, and nothing is drawn over."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(
            highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH, soft_wrap=False
        )
        self.live = self.console.is_terminal

    def title(self, text: str) -> None:
        """A heading."""
        self.console.print()
        self.console.print(Text(text, style="bold"))
        self.console.print()

    def text(self, text: str, style: str = "") -> None:
        """A line of plain text, taken as it is."""
        self.console.print(Text(f"  {text}", style=style), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """A table or another block, indented."""
        self.console.print(Padding(renderable, (0, 0, 0, 2)))

    def command(self, line: str) -> None:
        """A command that was run or can be run, unbroken so that it can be copied."""
        self.console.print(Text.assemble(("  $ ", "dim"), (line, "cyan")), soft_wrap=True)

    def output(self, text: str) -> None:
        """What a command or a server answered: long lines are continued at their own indentation."""
        for line in text.rstrip("\n").splitlines():
            indent = "  " + " " * (len(line) - len(line.lstrip()))
            wrapped = textwrap.wrap(
                line.strip(),
                self.console.width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            self.console.print(Text("\n".join(wrapped)), soft_wrap=True)

    @contextmanager
    def step(self, name: str, doing: str, *, spinner: bool = True) -> Iterator[Step]:
        """A step: on a terminal a spinner with `doing`, afterwards a line with its time. `spinner=False` where the
        step itself draws on the terminal."""
        step, began = Step(), time.monotonic()
        if not self.live or not spinner:
            self.console.print(Text(f"  … {name:<10} {doing}", style="dim"))
        try:
            if self.live and spinner:
                with self.console.status(f"  {name:<10} {doing}"):
                    yield step
            else:
                yield step
        except BaseException:
            self._line("✗", "red", name, doing, time.monotonic() - began)
            raise
        self._line("✓", "green", name, step.detail or doing, time.monotonic() - began)

    def _line(self, mark: str, colour: str, name: str, detail: str, seconds: float) -> None:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=3, justify="right")
        grid.add_column(width=10)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(width=8, justify="right")
        grid.add_row(Text(mark, style=colour), Text(name, style="bold"), Text(detail), Text(f"{seconds:.1f} s", "dim"))
        self.console.print(grid)

    def follow(
        self,
        read: Callable[[], list[Object]],
        done: Callable[[list[Object]], bool],
        *,
        timeout: float | None,
        remark: str = "",
        interval: float = 0.25,
    ) -> list[Object]:
        """Show resources until `done` says so; returns the last reading. `timeout` in seconds, None for no end.

        Raises TimeoutError; what `read` raises is shown and tried again until the time is up.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        seen: dict[str, str] = {}
        domains = read()
        with Live(console=self.console, auto_refresh=False, transient=False) if self.live else _Nothing() as live:
            while True:
                if isinstance(live, Live):
                    live.update(_frame(domains, remark, self.console.width), refresh=True)
                else:
                    self._print_changes(domains, seen)
                if done(domains):
                    return domains
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"not everything came to rest within {timeout:g} s")
                time.sleep(interval)
                domains = read()

    def _print_changes(self, domains: Sequence[Object], seen: dict[str, str]) -> None:
        for domain in domains:
            name, (ready, reason, runs, message) = f"{domain['kind']} {key(domain)}", summary(domain)
            line = f"Ready={ready} {reason}" + (f", {runs}" if runs else "")
            if seen.get(name) != line:
                seen[name] = line
                self.text(f"{name:<26} {line:<60} {_shortened(message)}".rstrip())


class _Nothing:
    """In place of Live where nothing is drawn over."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def key(domain: Mapping[str, Any]) -> str:
    """namespace/name."""
    return f"{domain['metadata']['namespace']}/{domain['metadata']['name']}"


def summary(domain: Object) -> tuple[str, str, str, str]:
    """(Ready's status, its reason, which schema or definition it runs on or where it is, what keeps it from Ready)."""
    current = condition_of(domain, "Ready")
    if current is None:
        return "-", "-", "", "waiting for the operator"
    message = current.get("message", "") if current["status"] != "True" else ""
    return current["status"], current["reason"], _runs(domain), message


def _runs(resource: Object) -> str:
    """The version of a Domain's schema, or its migration's state; that of a Process's definition; a surface's URL."""
    if resource["kind"] == "UISurface":
        serves = (condition_of(resource, "RoutingReady") or {}).get("status") == "True"
        return str(((resource.get("status") or {}).get("endpoints") or {}).get("url") or "") if serves else ""
    if resource["kind"] == "Process":
        version = ((resource.get("status") or {}).get("definition") or {}).get("version")
        return f"definition {version}" if version else ""
    return _migration(resource)


def _migration(domain: Object) -> str:
    if "db" not in domain["spec"]:
        return ""
    state = condition_of(domain, "MigrationSucceeded")
    version = ((domain.get("status") or {}).get("db") or {}).get("migrationVersion")
    if state is not None and state["status"] == "True":
        return f"schema {version}" if version else "migrated"
    return str(state["reason"]) if state is not None else ""


def _frame(domains: Sequence[Object], remark: str, width: int) -> RenderableType:
    """The table, and below it, where it is too narrow for them, the messages; it has to fit on the screen."""
    wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, border_style="dim", header_style="bold", padding=(0, 1), show_edge=False)
    for name in ("Kind", "Name", "Ready", "Reason", "Runs", "Pods", "Age"):
        table.add_column(name, no_wrap=True, justify="right" if name == "Age" else "left")
    if wide:
        table.add_column("Message", overflow="fold", ratio=1)
    messages = []
    for domain in sorted(domains, key=lambda each: (each["kind"], key(each))):
        ready, reason, runs, message = summary(domain)
        workload = (domain.get("status") or {}).get("workload") or {}
        pods = f"{workload.get('readyReplicas', 0)}/{workload['desiredReplicas']}" if workload.get("name") else "-"
        # Under way is no failure yet: only one whose migration or rollout has ended badly is shown in red.
        colour = _TRANSIENT if _under_way(domain) else _COLOURS.get(ready, "dim")
        row: list[RenderableType] = [
            domain["kind"],
            key(domain),
            Text(ready, colour),
            Text(reason, colour),
            runs or "-",
            pods,
            _age(domain),
        ]
        table.add_row(*row, *([Text(_shortened(message))] if wide else ()))
        if message and not wide:
            messages.append(Text.assemble((f"{key(domain)}: ", "bold"), _shortened(message)))
    grid = Table.grid()
    grid.add_row(Padding(table, (0, 0, 0, 1)))
    for number, line in enumerate(messages):
        grid.add_row(Padding(line, (0 if number else 1, 0, 0, 2)))
    if remark:
        grid.add_row(Padding(Text(remark, "dim"), (1, 0, 0, 2)))
    return grid


def _shortened(message: str) -> str:
    return textwrap.shorten(message, _MESSAGE, placeholder=" …")


def _under_way(domain: Object) -> bool:
    progressing = condition_of(domain, "Progressing")
    return progressing is not None and progressing["status"] == "True"


def _age(domain: Object) -> str:
    created = dt.datetime.fromisoformat(domain["metadata"]["creationTimestamp"])
    seconds = max(0, int((dt.datetime.now(dt.UTC) - created).total_seconds()))
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
