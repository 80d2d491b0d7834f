"""The command line that every operator has: run, render, diff, explain, check, crd."""

from ameide_shared.cli.definition import Companion, Definition
from ameide_shared.cli.program import program

__all__ = ["Companion", "Definition", "program"]
