"""One token bucket for all requests of a process, which also stops everybody when the API server says 429."""

from __future__ import annotations

import asyncio
import math


class Limiter:
    """A token bucket: `burst` requests at once, `qps` a second after that; qps 0 means no limit.

    Waiters are served in order. `pause` holds everybody, for a Retry-After that concerns the whole client.
    """

    def __init__(self, qps: float = 50.0, burst: int = 100) -> None:
        if qps < 0 or (qps and burst < 1):
            raise ValueError(f"limiter: qps {qps} must be 0 or more and burst {burst} 1 or more")
        self._interval = 1.0 / qps if qps else 0.0
        self._window = self._interval * burst
        self._next_free = -math.inf  # when the bucket would be full again, minus the window: see acquire
        self._paused_until = -math.inf

    async def acquire(self) -> float:
        """Take a token, waiting for it if need be; the seconds waited."""
        loop = asyncio.get_running_loop()
        started = now = loop.time()
        if self._interval:
            # Virtual scheduling: each request moves the time at which the bucket is full by one interval, and may go
            # as soon as that time is no more than a whole burst ahead. One number is the whole state.
            full_at = max(self._next_free, now) + self._interval
            self._next_free = full_at
            go_at = full_at - self._window
            if go_at > now:
                await asyncio.sleep(go_at - now)
                now = loop.time()
        while self._paused_until > now:
            await asyncio.sleep(self._paused_until - now)
            now = loop.time()
        return now - started

    def pause(self, seconds: float) -> None:
        """Nobody gets a token for this long; a longer pause already in force stays."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)
