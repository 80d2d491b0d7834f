"""`run`: the operator itself."""

from __future__ import annotations

import gc
import logging
import platform
import sys

import click

from ameide_shared import logging as logs
from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import reported
from ameide_shared.cli.options import cluster_options, settings_option
from ameide_shared.cli.settings import text
from ameide_shared.controller.runtime import run_loop
from ameide_shared.kube.connection import connect
from ameide_shared.reconcile import Reconciler
from ameide_shared.settings import FILE_VARIABLE, OperatorSettings, describe, load, unknown_variables
from ameide_shared.version import version_of

log = logging.getLogger(__name__)


def run_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""

    @click.command("run", short_help="Run the operator until SIGTERM.")
    @cluster_options
    @settings_option
    def command(kubeconfig: str | None, context: str | None) -> None:
        for name in unknown_variables(definition.settings):
            click.echo(f"warning: {name} is not a setting of this operator, and has no effect", err=True)
        with reported():
            code = run(definition, load(definition.settings), kubeconfig, context)
        sys.exit(code)

    command.help = f"""Run the operator until SIGTERM.

    It is told what to do by environment variables over the YAML file that {FILE_VARIABLE} names over defaults:

    \b
    """ + text(describe(definition.settings)).replace("\n", "\n    ")
    return command


def run(
    definition: Definition, settings: OperatorSettings, kubeconfig: str | None = None, context: str | None = None
) -> int:
    """Run until told to stop; the exit code."""
    # Caches are many small objects that stay: with the default thresholds the collector walks them so often that it
    # takes 9 % of the CPU of a burst.
    gc.set_threshold(20_000, 20, 50)
    logs.configure(settings.log_level, settings.log_format)
    version = version_of(definition.operator)
    log.info("starting", extra={"operator": definition.operator, "version": version})

    async def serve() -> int:
        async with connect(kubeconfig, context) as connection:
            runtime, kind = definition.start(settings, connection)
            runtime.metrics.built(version, platform.python_version())
            reconciler = Reconciler(kind, runtime.client, runtime.cache, runtime.recorder)
            return await runtime.run(reconciler, on_failure=reconciler.on_failure)

    return run_loop(serve())
