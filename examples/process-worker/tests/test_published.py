"""Definitions rebuilt from published BPMN examples run to an end, with somebody who answers whatever they wait for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from process_worker_support import World, replace, working
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from process_worker.tables import TABLES

GOLDEN = Path(__file__).parents[3] / "operators/process-operator/tests/bpmn/golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/table.json"))

VARIABLES: dict[str, dict[str, Any]] = {
    "credit-application": {"application": {"id": 7}, "accepted": True},
    "every-element": {
        "ready": True,
        "order": {"due": "2020-01-01T00:00:00Z"},
        "rule": {"id": 1},
        "big": True,
        "b": True,
    },
    "nobel-prize": {"nominators": ["ada", "bob"]},
}
ANSWERS: dict[str, dict[str, tuple[int, Any]]] = {
    "credit-application": {"score": (200, {"id": 5, "score": 3})},
    "email-voting": {"issues": (200, {"issues": ["one"]}), "Vote": (200, {"majority": True})},
    "nobel-prize": {"Screen": (200, {"candidates": ["x", "y"]})},
}
PASSES: dict[str, set[str]] = {
    "credit-application": {"request", "opinion", "accepted"},
    "dispatch-of-goods": {"fork", "join", "label", "shipped"},
    "email-voting": {"discuss", "vote", "collect", "announce"},
    "every-element": {"service", "rule", "call", "catch_link", "throw_message", "finish"},
    "incident-management": {"first_level", "second_level", "done"},
    "insurance-claim": {"inspect", "settle", "closed"},
    "nobel-prize": {"invite", "collect", "screen", "reports", "write", "vote"},
    "pizza": {"order", "got_pizza", "pay", "full"},
    "travel-booking": {"flight", "hotel", "charge", "done"},
}
"""Elements that each must pass; a case that is new needs none, but must end all the same."""


def hurried(value: Any) -> Any:
    """The table with all times cut to a tenth of a second, so that the process ends while we wait."""
    if isinstance(value, list):
        return [hurried(item) for item in value]
    if not isinstance(value, dict):
        return value
    short = {key: hurried(item) for key, item in value.items()}
    if value.get("protocol") == "grpc":
        short["protocol"] = "http"  # the only one that the worker speaks
    match value.get("kind"):
        case "duration" | "cycle" if "milliseconds" in value:
            short = {**short, "milliseconds": min(value["milliseconds"], 100)}
            short.pop("months", None)
            short.pop("start", None)
        case "date" if "at" in value:
            short["at"] = "2020-01-01T00:00:00Z"
    return short


async def answer_everything(handle: WorkflowHandle[Any, Any]) -> None:
    """Complete every user task and send every message and signal that is waited for."""
    told: dict[tuple[str, str], int] = {}
    while (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
        state = await handle.query("state")
        for task in state["tasks"]:
            await handle.signal("completeTask", {"task": task["id"], "result": {"approved": True, "laureates": ["x"]}})
        for entry in state["active"]:
            waits = entry.get("waitsFor", {})
            for wait in [waits, *(each for each in waits.values() if isinstance(each, dict))]:
                name = wait.get("message") or wait.get("signal")
                if name and told.setdefault((entry["since"], name), 0) < 1:
                    told[entry["since"], name] += 1
                    await handle.signal("message", {"name": name, "payload": {"ok": True}, "key": wait.get("key")})
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("case", CASES)
async def test_a_published_process_runs_to_its_end(world: World, case: str) -> None:
    table = hurried(json.loads((GOLDEN / case / "table.json").read_text()))
    TABLES.current = TABLES.add(json.dumps(table).encode())
    targets = [element["binding"]["target"] for element in table["elements"].values() if "binding" in element]
    names = {"/".join(filter(None, (each["kind"], each.get("namespace"), each["name"]))) for each in targets}
    world.queue += "-published"
    config = replace(
        world.config,
        task_queue=world.queue,
        dependencies={name: {"http": world.dependency.url} for name in names},
    )
    async with working(world.client, config):
        world.dependency.answers |= ANSWERS.get(case, {})
        handle = await world.start(VARIABLES.get(case, {}))
        async with asyncio.timeout(15):
            await answer_everything(handle)
        outcome = await world.outcome(handle)
    assert outcome.failed is None, f"{outcome.told} after {outcome.path}"
    assert PASSES.get(case, set()) <= set(outcome.path)
