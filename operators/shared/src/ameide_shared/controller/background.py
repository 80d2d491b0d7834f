"""Tasks that run beside the main line of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Tasks that run beside the main line; the first one that fails ends the wait. All are cancelled at the end."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` beside the rest."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def first(self, stopped: asyncio.Task[Any], wanted: asyncio.Task[Any] | None = None) -> bool:
        """Wait for `wanted`: True when it has ended well, False when told to stop or when anything has failed."""
        waiting = set(self._tasks)
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = asyncio.CancelledError() if task.cancelled() else task.exception()  # nobody cancels them here
                if error is not None:
                    log.error("%s gave way", task.get_name(), exc_info=error)
                    self.exit_code = 1
                    return False
            if stopped in done:
                return False
            if wanted in done:
                return True

    async def __aenter__(self) -> Background:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            if not task.cancelling():  # a second time would interrupt its own clearing up
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
