"""The command line: `process-worker` works, `process-worker job PURPOSE …` does one thing and ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from temporalio.service import RPCError

from process_worker import jobs, worker
from process_worker.config import Config, ConfigError, read
from process_worker.connection import UnreachableError, connect
from process_worker.tables import TableError

EXIT_CONFIG = 2
EXIT_TEMPORAL = 3


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def main(line: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 2 for a wrong environment, 3 when Temporal refuses a job, 4 for a job's findings."""
    commands = argparse.ArgumentParser("process-worker", description=__doc__)
    modes = commands.add_subparsers(dest="mode", metavar="MODE")
    modes.add_parser("run", help="work until stopped (the default)")
    jobs.parser(modes.add_parser("job", help="run one scheduled purpose"))
    args = commands.parse_args(line)
    try:
        config = read()
        _log(config.log_level)
        if args.mode == "job":
            return asyncio.run(_job(config, args))
        asyncio.run(worker.run(config))
    except (ConfigError, TableError) as error:
        sys.stderr.write(f"process-worker: {error}\n")
        return EXIT_CONFIG
    except UnreachableError as error:
        sys.stderr.write(f"process-worker: Temporal namespace {config.namespace} at {config.address}: {error}\n")
        return EXIT_TEMPORAL
    except RPCError as error:
        sys.stderr.write(f"process-worker: Temporal at {config.address}: {error.status.name}: {error.message}\n")
        return EXIT_TEMPORAL
    return 0


async def _job(config: Config, args: argparse.Namespace) -> int:
    return await jobs.run(await connect(config), config, args)


def program() -> NoReturn:
    """Run `main` and end the process with its exit code."""
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread of the SDK that comes back to Python while the interpreter is being taken down aborts the
    # process (PyGILState_Release), and a job that went well would count as failed.
    os._exit(code)


def _log(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    program()
