"""Has test runs leave what operators asked of the API server, and fails one in which the chart did not grant it.

Whatever runs in this run leaves its summaries in a folder of the run: workers and programs that tests start inherit
the variable that names it. A run of all tests begins afresh, others add to it; `testing.rights` judges them together.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

import pytest

from ameide_dev.operators import render_chart
from ameide_dev.requests import FOLDER as VARIABLE
from ameide_dev.requests import read
from ameide_dev.testing import rights

_folder = pytest.StashKey[Path]()
_missing = pytest.StashKey[list[str]]()


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests were asked for."""
    narrowed = ("keyword", "markexpr", "lf", "failedfirst", "deselect", "ignore", "ignore_glob", "stepwise", "maxfail")
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not any(
        getattr(config.option, name, None) for name in narrowed
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of this run to whatever it starts."""
    if _is_worker(config) or config.option.collectonly:
        return
    runs = config.rootpath / rights.RUNS
    if _is_whole(config):
        shutil.rmtree(runs, ignore_errors=True)
    config.stash[_folder] = runs / secrets.token_hex(4)
    os.environ[VARIABLE] = str(config.stash[_folder])


@pytest.hookimpl(trylast=True)  # after the workers have ended
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Judge what this run asked for."""
    folder = session.config.stash.get(_folder, None)
    if folder is None:
        return
    asked = read(folder)
    if _is_whole(session.config) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / rights.WHOLE).write_text(json.dumps(_skipped(session.config)))
    if not asked:
        return
    session.config.stash[_missing] = rights.missing(asked, rights.granted(render_chart()))
    if session.config.stash[_missing] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skipped(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return sorted({report.nodeid for report in reporter.stats.get("skipped", ())}) if reporter else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what the chart should have granted."""
    if lines := config.stash.get(_missing, []):
        terminalreporter.section("rights that the chart does not grant", red=True)
        for line in lines:
            terminalreporter.line(line)
