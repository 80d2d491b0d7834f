"""The policy in force: read from a file, followed, kept when its successor is broken."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_operator.policysource import PolicySource, PolicyState

EMPTY = "{version: policy.ameide.io/v1, tiers: {}, models: [], providers: {}}"
OTHER = "{version: policy.ameide.io/v1, tiers: {}, models: [], providers: {echo: {}}}"
BROKEN = "{version: policy.ameide.io/v1, tiers: {}, models: [], provider: {}}"


class Clock:
    """A time that moves a minute with each look."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(minutes=1)
        return self.time


def put(path: Path, content: str | bytes | None) -> None:
    """Replace a file's content; None removes it."""
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


@pytest.fixture
def seen() -> list[PolicyState]:
    return []


@pytest.fixture
def source(path: Path, seen: list[PolicyState]) -> PolicySource:
    return PolicySource(path, poll_seconds=0.01, on_change=seen.append, now=Clock())


async def test_nothing_is_allowed_before_there_is_a_policy(
    source: PolicySource, path: Path, seen: list[PolicyState]
) -> None:
    assert source.state == PolicyState()
    state = await source.refresh()
    assert state.policy is None
    assert state.fault is not None
    assert "cannot be read: No such file" in state.fault.message
    assert str(path) in state.fault.remedy
    assert len(seen) == 1
    await source.refresh()
    assert len(seen) == 1
    put(path, EMPTY)
    state = await source.refresh()
    assert state.policy is not None
    assert state.fault is None
    assert len(seen) == 2


async def test_a_broken_successor_changes_nothing_but_is_told(
    source: PolicySource, path: Path, seen: list[PolicyState], caplog: pytest.LogCaptureFixture
) -> None:
    put(path, EMPTY)
    good = (await source.refresh()).policy
    assert good is not None
    put(path, BROKEN)
    with caplog.at_level(logging.ERROR):
        state = await source.refresh()
    assert state.policy is good
    assert state.fault is not None
    assert "line 1: provider: is not a field that policies know; did you mean providers?" in state.fault.message
    assert "the policy before it stays in force" in caplog.text
    since = state.fault.since
    put(path, "[]")
    state = await source.refresh()
    assert state.fault is not None
    assert state.fault.since == since
    put(path, None)
    state = await source.refresh()
    assert state.policy is good
    assert state.fault is not None
    assert (state.fault.since, "cannot be read" in state.fault.message) == (since, True)
    put(path, EMPTY)
    state = await source.refresh()
    assert (state.policy, state.fault) == (good, None)
    assert len(seen) == 5


async def test_a_fault_that_stays_is_logged_once(
    source: PolicySource, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await source.refresh()
    put(path, BROKEN)
    for _ in range(3):
        await source.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_only_another_meaning_is_a_change(source: PolicySource, path: Path, seen: list[PolicyState]) -> None:
    put(path, EMPTY)
    first = await source.refresh()
    put(path, f"# a comment\n{EMPTY}\n")
    assert await source.refresh() == first
    put(path, OTHER)
    second = await source.refresh()
    assert second.policy is not None
    assert first.policy is not None
    assert second.policy.digest != first.policy.digest
    assert second.loaded_at is not None
    assert first.loaded_at is not None
    assert second.loaded_at > first.loaded_at
    assert [state.policy for state in seen] == [first.policy, second.policy]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"a: [", "readable as YAML"),
        (b"#" * 1_048_577, "longer than 1048576 bytes"),
        (b"", "is empty"),
    ],
)
async def test_files_that_hold_no_policy(source: PolicySource, path: Path, content: bytes, words: str) -> None:
    put(path, content)
    state = await source.refresh()
    assert state.fault is not None
    assert words in state.fault.message


async def test_many_faults_are_cut_for_statuses(source: PolicySource, path: Path) -> None:
    put(path, "{version: policy.ameide.io/v1, tiers: {}, models: [1, 2, 3, 4, 5, 6, 7, 8], providers: {}}")
    state = await source.refresh()
    assert state.fault is not None
    assert "(and 3 more)" in state.fault.message


async def test_following_a_mounted_config_map(tmp_path: Path) -> None:
    """The kubelet swaps a link to a directory; the file's path and times may stay as they were."""
    for name, text in (("one", EMPTY), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
        os.utime(tmp_path / name / "policy.yaml", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    changes: asyncio.Queue[PolicyState] = asyncio.Queue()
    source = PolicySource(tmp_path / "policy.yaml", poll_seconds=0.01, on_change=changes.put_nowait)
    task = asyncio.create_task(source.run())
    try:
        first = await asyncio.wait_for(changes.get(), 5)
        (tmp_path / "..tmp").symlink_to("two")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        second = await asyncio.wait_for(changes.get(), 5)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert first.policy is not None
    assert second.policy is not None
    assert "echo" not in first.policy.document.providers
    assert "echo" in second.policy.document.providers


async def test_a_listener_that_fails_does_not_end_the_watch(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(path, EMPTY)
    calls: asyncio.Queue[PolicyState] = asyncio.Queue()

    def listener(state: PolicyState) -> None:
        calls.put_nowait(state)
        raise RuntimeError("no")

    source = PolicySource(path, poll_seconds=0.01, on_change=listener)
    task = asyncio.create_task(source.run())
    try:
        await asyncio.wait_for(calls.get(), 5)
        put(path, OTHER)
        await asyncio.wait_for(calls.get(), 5)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "could not be told" in caplog.text
