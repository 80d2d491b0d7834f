"""`reasons`: what every reason that conditions, blockers and Events carry means, and what to do about it."""

from __future__ import annotations

import click

from ameide_shared.cli.output import emit, to_json
from ameide_shared.reasons import CATALOGUE, Reason


@click.command("reasons", short_help="What each reason means, and what to do about it.")
@click.argument("reason", required=False, type=click.Choice([reason.value for reason in Reason]))
@click.option("-o", "--output", type=click.Choice(["markdown", "json"]), default="markdown", show_default=True)
def reasons_command(reason: str | None, output: str) -> None:
    """Print the catalogue of reasons, or one of them.

    JSON: {REASON: {cause, remedy}}
    """
    chosen = [Reason(reason)] if reason else list(Reason)
    if output == "json":
        emit(to_json({r.value: {"cause": CATALOGUE[r].cause, "remedy": CATALOGUE[r].remedy} for r in chosen}), "json")
    else:
        emit(markdown(chosen), "markdown")


def markdown(reasons: list[Reason]) -> str:
    """A table with a row per reason."""
    rows = [f"| `{reason}` | {CATALOGUE[reason].cause} | {CATALOGUE[reason].remedy or '-'} |\n" for reason in reasons]
    return "| Reason | What it means | What to do |\n|---|---|---|\n" + "".join(rows)
