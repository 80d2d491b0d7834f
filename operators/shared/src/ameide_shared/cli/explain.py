import click
from ameide_shared.cli.definition import Definition


def explain_command(d: Definition) -> click.Command:
    return click.Command("explain")
