"""The click program of an operator: one group, the subcommands in files of their own."""

from __future__ import annotations

import click

from ameide_shared.cli.check import check_command
from ameide_shared.cli.crd import crd_command
from ameide_shared.cli.definition import Definition
from ameide_shared.cli.diff import diff_command
from ameide_shared.cli.explain import explain_command
from ameide_shared.cli.reasons import reasons_command
from ameide_shared.cli.render import render_command
from ameide_shared.cli.run import run_command
from ameide_shared.cli.settings import settings_command
from ameide_shared.version import version_of

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


def program(definition: Definition) -> click.Group:
    """The console script of an operator."""

    @click.group(name=definition.operator, context_settings=_CONTEXT)
    @click.version_option(version_of(definition.operator), prog_name=definition.operator)
    def group() -> None:
        pass

    group.help = f"""The operator that compiles {definition.resource.kind} resources (ameide.io/v1) to what runs them.

    \b
    Exit codes of subcommands that judge (render, diff, check, explain):
      0  all well: nothing differs, nothing is wrong, it is Ready
      1  there are differences, findings, or it is not Ready
      2  it could not be found out
    """
    for make in (run_command, render_command, diff_command, explain_command, check_command, crd_command):
        group.add_command(make(definition))
    group.add_command(settings_command(definition))
    group.add_command(reasons_command)
    return group
