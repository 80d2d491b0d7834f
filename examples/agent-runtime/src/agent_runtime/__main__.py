"""The command line: `agent-runtime` serves sessions until it is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from agent_runtime import server
from agent_runtime.config import Config, ConfigError, read
from agent_runtime.credentials import Credentials

EXIT_CONFIG: Final = 2


class _JsonLines(logging.Formatter):
    """One JSON object a line, without values of credentials."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._credentials.scrub(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = self._credentials.scrub(self.formatException(record.exc_info))
        return json.dumps(entry | getattr(record, "fields", {}))


def main() -> int:
    """Returns the exit code: 0, 1 when it cannot serve, 2 for a wrong environment."""
    try:
        config = read()
    except ConfigError as error:
        sys.stderr.write(f"agent-runtime: {error}\n")
        return EXIT_CONFIG
    credentials = Credentials(config.root)
    _log(config, credentials)
    asyncio.run(server.run(config, credentials))
    return 0


def program() -> NoReturn:
    """Run `main` and end the process with its exit code."""
    sys.exit(main())


def _log(config: Config, credentials: Credentials) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(credentials))
    level = config.log_level if config.log_level in logging.getLevelNamesMapping() else "INFO"
    logging.basicConfig(level=level, handlers=[handler])
    for noisy in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


if __name__ == "__main__":
    program()
