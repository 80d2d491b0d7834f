"""`settings`: everything that an operator can be told, for people, for programs and for the docs."""

from __future__ import annotations

from dataclasses import asdict

import click

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.output import emit, to_json
from ameide_shared.settings import Setting, describe


def settings_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""

    @click.command("settings", short_help="List every setting of the operator.")
    @click.option("-o", "--output", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
    def command(output: str) -> None:
        """List every setting: environment variable, key in the settings file, type, default and meaning.

        JSON: [{env, path, type, default, description}]
        """
        settings = describe(definition.settings)
        match output:
            case "json":
                emit(to_json([asdict(setting) for setting in settings]), "json")
            case "markdown":
                emit(markdown(settings), "markdown")
            case _:
                emit(text(settings), "text")

    return command


def markdown(settings: list[Setting]) -> str:
    """A table with a row per setting."""
    rows = (
        f"| `{s.env}` | `{s.path}` | {_cell(s.type)} | {f'`{_cell(s.default)}`' if s.default else '-'} "
        f"| {_cell(s.description)} |\n"
        for s in settings
    )
    return "| Variable | In the file | Type | Default | Meaning |\n|---|---|---|---|---|\n" + "".join(rows)


def text(settings: list[Setting]) -> str:
    """Two lines per setting."""
    lines = []
    for setting in settings:
        default = f", default {setting.default}" if setting.default else ""
        lines.append(f"{setting.env} ({setting.type}{default})\n    {setting.description}\n")
    return "".join(lines)


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
