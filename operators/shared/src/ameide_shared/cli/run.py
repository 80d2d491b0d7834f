"""`run`: the operator itself."""

from __future__ import annotations

from ameide_shared import logging as logs
from ameide_shared.cli.definition import Definition
from ameide_shared.controller.runtime import run_loop
from ameide_shared.kube.connection import connect
from ameide_shared.reconcile import Reconciler
from ameide_shared.settings import OperatorSettings


def run(definition: Definition, settings: OperatorSettings, kubeconfig: str | None = None) -> int:
    """Run until told to stop; the exit code."""
    logs.configure(settings.log_level, settings.log_format)

    async def serve() -> int:
        async with connect(kubeconfig) as connection:
            runtime, kind = definition.start(settings, connection)
            reconciler = Reconciler(kind, runtime.client, runtime.cache, runtime.recorder)
            return await runtime.run(reconciler, on_failure=reconciler.on_failure)

    return run_loop(serve())
