"""The click program of an operator: one group, the subcommands in files of their own."""

from __future__ import annotations

import sys

import click

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.run import run
from ameide_shared.settings import SettingsError, load


def program(definition: Definition) -> click.Group:
    """The console script of an operator."""

    @click.group(name=definition.operator)
    def group() -> None:
        """Compiles one kind of ameide.io/v1 resources to what runs them."""

    @group.command("run")
    @click.option("--kubeconfig", type=click.Path(exists=True), help="Default: $KUBECONFIG, else in-cluster.")
    def run_command(kubeconfig: str | None) -> None:
        """Run the operator until SIGTERM."""
        try:
            settings = load(definition.settings)
        except SettingsError as error:
            raise click.ClickException(str(error)) from None
        sys.exit(run(definition, settings, kubeconfig))

    return group
