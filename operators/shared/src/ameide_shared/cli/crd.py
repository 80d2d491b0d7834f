"""`crd`: the CustomResourceDefinition of the operator's kind, from its typed model."""

from __future__ import annotations

import click

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.output import emit
from ameide_shared.crd import crd_yaml


def crd_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""

    @click.command("crd", help=f"Print the CustomResourceDefinition of {definition.resource.kind} as YAML.")
    def command() -> None:
        emit(crd_yaml(definition.model))

    return command
