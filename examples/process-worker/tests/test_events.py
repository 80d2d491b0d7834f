"""Events of all kinds: intermediate, on boundaries, at gateways and in event sub-processes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bpmn_json import (
    boundary,
    catch,
    definitions,
    end,
    error,
    escalation,
    event,
    event_sub,
    expression,
    message,
    node,
    output,
    process,
    script,
    service,
    signal,
    start,
    sub,
    throw,
    timer,
    user,
)
from process_worker_support import World
from temporalio.client import WorkflowUpdateFailedError

LINE = "start -> wait\nwait -> end"


async def test_timers_take_their_time(world: World) -> None:
    began = datetime.now(UTC)
    outcome = await world.run(definitions(process("sleepy", [start(), catch("wait", timer()), end()], LINE)))
    assert outcome.failed is None
    assert timedelta(seconds=0.2) <= datetime.now(UTC) - began < timedelta(seconds=8)


@pytest.mark.parametrize(
    ("kind", "value", "failed"),
    [
        ("timeDuration", "PT0.1S", None),
        ("timeDate", "2020-01-01T00:00:00Z", None),
        ("timeDuration", "soon", "InvalidTimer"),
        ("timeDuration", None, "InvalidTimer"),
    ],
)
async def test_timers_can_be_computed(world: World, kind: str, value: str | None, failed: str | None) -> None:
    nodes = [start(), catch("wait", timer(kind, "=delay")), end()]
    outcome = await world.run(definitions(process("computed", nodes, LINE)), {"delay": value})
    assert outcome.failed == failed
    assert failed is None or "'wait'" in outcome.told


async def test_a_receive_task_takes_the_message_with_its_key(world: World) -> None:
    key = {"$type": "ameide:Correlation", "key": "order"}
    nodes = [start(), node("ReceiveTask", "wait", key, output("paid"), messageRef="message_Paid"), end()]
    world.deploy(definitions(process("paying", nodes, LINE), message("Paid")))
    handle = await world.start({"order": 7})
    state = await world.at(handle, "wait")
    assert state["active"][0]["waitsFor"] == {"message": "Paid", "key": 7}
    await handle.signal("Paid", args=[{"amount": 1}, 8])
    await handle.signal("Paid", {"amount": 2})
    assert [each["id"] for each in (await handle.query("state"))["active"]] == ["wait"]
    await handle.signal("message", {"name": "Paid", "payload": {"amount": 3}, "key": 7})
    outcome = await world.outcome(handle)
    assert outcome.variables == {"order": 7, "paid": {"amount": 3}}


async def test_a_message_that_comes_before_it_is_waited_for_is_kept(world: World) -> None:
    definition = event("Message", messageRef="message_Early")
    nodes = [start(), user("first"), catch("wait", definition, output("got")), end()]
    world.deploy(definitions(process("early", nodes, "start -> first\nfirst -> wait\nwait -> end"), message("Early")))
    handle = await world.start()
    await handle.signal("Early", "one")
    await handle.signal("Unheard", "of")
    await world.at(handle, "first")
    await handle.signal("completeTask", {"task": "first"})
    assert (await world.outcome(handle)).variables == {"got": "one"}


async def test_user_tasks_are_shown_and_completed_once(world: World) -> None:
    about = {"$type": "ameide:Assignment", "assignee": "clerk", "candidateGroups": "sales,back-office", "due": "PT1H"}
    nodes = [start(), user("wait", about, output("decision"), name="Approve the order"), end()]
    world.deploy(definitions(process("approval", nodes, LINE)))
    handle = await world.start({"clerk": "ada"})
    [task] = (await world.at(handle, "wait"))["tasks"]
    assert task["assignee"] == "ada"
    assert task["candidateGroups"] == ["sales", "back-office"]
    assert (task["id"], task["name"]) == ("wait", "Approve the order")
    assert datetime.fromisoformat(task["due"]) > datetime.now(UTC) + timedelta(minutes=50)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("completeTask", {"task": "another"})
    assert "open: wait" in str(refused.value.cause)
    await handle.execute_update("completeTask", {"task": "wait", "result": "yes"})
    assert (await world.outcome(handle)).variables == {"clerk": "ada", "decision": "yes"}


def race(interrupting: bool) -> dict[str, Any]:
    return definitions(
        process(
            "race",
            [
                start(),
                user("task", output("done", "true")),
                boundary("late", "task", timer(), interrupting=interrupting),
                service("remind"),
                end(),
                end("reminded"),
            ],
            "start -> task\ntask -> end\nlate -> remind\nremind -> reminded",
        )
    )


async def test_an_interrupting_boundary_timer_ends_the_activity(world: World) -> None:
    outcome = await world.run(race(interrupting=True))
    assert outcome.path == ["start", "task", "late", "remind", "reminded"]
    assert outcome.variables == {}


async def test_a_non_interrupting_boundary_timer_leaves_the_activity_alone(world: World) -> None:
    world.deploy(race(interrupting=False))
    handle = await world.start()
    await world.state(handle, lambda state: "reminded" in state["path"])
    assert [each["id"] for each in (await handle.query("state"))["tasks"]] == ["task"]
    await handle.signal("completeTask", {"task": "task"})
    assert (await world.outcome(handle)).variables == {"done": True}


async def test_a_repeating_boundary_timer_fires_as_often_as_it_says(world: World) -> None:
    definition = definitions(
        process(
            "nagging",
            [
                start(),
                user("task"),
                boundary("nag", "task", timer("timeCycle", "R3/PT0.1S"), interrupting=False),
                script("count", "nags", "if nags = null then 1 else nags + 1"),
                end("nagged"),
                catch("pause", timer(text="PT0.6S")),
                node("ParallelGateway", "fork"),
                end(),
            ],
            "start -> fork\nfork -> task\nfork -> pause\npause -> end\ntask -> end\nnag -> count\ncount -> nagged",
        )
    )
    world.deploy(definition)
    handle = await world.start()
    await world.at(handle, "task")
    await world.state(handle, lambda state: "end" in state["path"])
    await handle.signal("completeTask", {"task": "task"})
    assert (await world.outcome(handle)).variables == {"nags": 3}


def business_error(caught: str | None) -> dict[str, Any]:
    reference = {} if caught is None else {"errorRef": f"error_{caught}"}
    return definitions(
        process(
            "reserving",
            [
                start(),
                service("reserve"),
                boundary("refused", "reserve", event("Error", **reference), output("why", "result.details.item")),
                end("stopped"),
                end(),
            ],
            "start -> reserve\nreserve -> end\nrefused -> stopped",
        ),
        error("OutOfStock"),
        error("Other"),
    )


@pytest.mark.parametrize(
    ("caught", "path", "failed"),
    [
        ("OutOfStock", ["start", "reserve", "refused", "stopped"], None),
        (None, ["start", "reserve", "refused", "stopped"], None),
        ("Other", ["start", "reserve"], "OutOfStock"),
    ],
)
async def test_a_failed_call_is_caught_by_the_boundary_of_its_code(
    world: World, caught: str | None, path: list[str], failed: str | None
) -> None:
    world.dependency.answers["reserve"] = (409, {"errorCode": "OutOfStock", "detail": "none left", "item": "book"})
    outcome = await world.run(business_error(caught))
    assert (outcome.path, outcome.failed) == (path, failed)
    assert len(world.dependency.requests) == 1
    if failed:
        assert "none left" in outcome.told
    else:
        assert outcome.variables == {"why": "book"}


async def test_the_first_event_at_an_event_based_gateway_wins(world: World) -> None:
    definition = definitions(
        process(
            "waiting",
            [
                start(),
                node("EventBasedGateway", "either"),
                catch("paid", event("Message", messageRef="message_Paid"), output("paid")),
                catch("late", timer(text="PT5S")),
                script("cancel", "cancelled", "true"),
                end(),
            ],
            "start -> either\neither -> paid\neither -> late\npaid -> end\nlate -> cancel\ncancel -> end",
        ),
        message("Paid"),
    )
    world.deploy(definition)
    handle = await world.start()
    state = await world.at(handle, "either")
    assert set(state["active"][0]["waitsFor"]) == {"paid", "late"}
    await handle.signal("Paid", 12)
    assert (await world.outcome(handle)).variables == {"paid": 12}


async def test_signals_reach_everyone_who_listens(world: World) -> None:
    definition = definitions(
        process(
            "bells",
            [
                start(),
                node("ParallelGateway", "fork"),
                catch("one", event("Signal", signalRef="signal_Bell"), output("one")),
                catch("two", event("Signal", signalRef="signal_Bell"), output("two")),
                catch("soon", timer()),
                throw("ring", event("Signal", signalRef="signal_Bell")),
                end(),
            ],
            "start -> fork\nfork -> one\nfork -> two\nfork -> soon\nsoon -> ring\none -> end\ntwo -> end\nring -> end",
        ),
        signal("Bell"),
    )
    outcome = await world.run(definition)
    assert outcome.failed is None
    assert outcome.path.count("end") == 3


async def test_a_conditional_event_happens_when_its_condition_turns_true(world: World) -> None:
    condition = event("Conditional", condition=expression("level > 2"))
    definition = definitions(
        process(
            "rising",
            [
                start(),
                node("ParallelGateway", "fork"),
                catch("high", condition),
                node("ReceiveTask", "tell", output("level"), messageRef="message_Level"),
                end(),
            ],
            "start -> fork\nfork -> high\nfork -> tell\nhigh -> end\ntell -> end",
        ),
        message("Level"),
    )
    world.deploy(definition)
    handle = await world.start({"level": 1})
    await world.at(handle, "high", "tell")
    await handle.signal("Level", 3)
    outcome = await world.outcome(handle)
    assert outcome.variables == {"level": 3}
    assert outcome.path.count("end") == 2


def guarded(definition: dict[str, Any], interrupting: bool, *roots: dict[str, Any]) -> dict[str, Any]:
    begin = {**start("on", eventDefinitions=[definition]), **({} if interrupting else {"isInterrupting": False})}
    inner = event_sub("handler", [begin, script("note", "handled", "true"), end("off")], "on -> note\nnote -> off")
    nodes = [start(), user("task"), script("normal", "normal", "true"), end(), inner]
    return definitions(process("guarded", nodes, "start -> task\ntask -> normal\nnormal -> end"), *roots)


async def test_an_interrupting_event_sub_process_takes_over(world: World) -> None:
    definition = event("Message", messageRef="message_Stop")
    world.deploy(guarded(definition, True, message("Stop")))
    handle = await world.start()
    await world.at(handle, "task")
    await handle.signal("Stop")
    assert (await world.outcome(handle)).variables == {"handled": True}


async def test_a_non_interrupting_event_sub_process_runs_beside(world: World) -> None:
    world.deploy(guarded(timer(), False))
    handle = await world.start()
    await world.state(handle, lambda state: "off" in state["path"])
    await handle.signal("completeTask", {"task": "task"})
    assert (await world.outcome(handle)).variables == {"handled": True, "normal": True}


async def test_an_error_event_sub_process_catches_what_its_scope_raises(world: World) -> None:
    inner = event_sub(
        "handler",
        [
            node("StartEvent", "on", output("code", "result.code"), eventDefinitions=[event("Error")]),
            end("off"),
        ],
        "on -> off",
    )
    raising = end("boom", event("Error", errorRef="error_Broken"))
    outcome = await world.run(
        definitions(process("careful", [start(), raising, inner], "start -> boom"), error("Broken"))
    )
    assert outcome.failed is None
    assert outcome.variables == {"code": "Broken"}


async def test_an_error_that_nothing_catches_fails_the_workflow_with_its_code(world: World) -> None:
    raising = end("boom", event("Error", errorRef="error_Broken"))
    outcome = await world.run(definitions(process("careless", [start(), raising], "start -> boom"), error("Broken")))
    assert outcome.failed == "Broken"


@pytest.mark.parametrize("interrupting", [True, False])
async def test_escalations_reach_the_boundary_of_the_sub_process(world: World, interrupting: bool) -> None:
    inner = sub(
        "inner",
        [
            start("in"),
            throw("raise", event("Escalation", escalationRef="escalation_Late")),
            script("go_on", "wentOn", "true"),
            end("out"),
        ],
        "in -> raise\nraise -> go_on\ngo_on -> out",
    )
    nodes = [
        start(),
        inner,
        boundary("late", "inner", event("Escalation", escalationRef="escalation_Late"), interrupting=interrupting),
        script("tell", "told", "true"),
        end(),
    ]
    flows = "start -> inner\ninner -> end\nlate -> tell\ntell -> end"
    outcome = await world.run(definitions(process("escalating", nodes, flows), escalation("Late")))
    assert outcome.variables == ({"told": True} if interrupting else {"told": True, "wentOn": True})


async def test_a_terminate_end_event_ends_everything_in_its_scope(world: World) -> None:
    nodes = [start(), node("ParallelGateway", "fork"), user("never"), end("stop", event("Terminate")), end()]
    flows = "start -> fork\nfork -> never\nfork -> stop\nnever -> end"
    outcome = await world.run(definitions(process("abrupt", nodes, flows)))
    assert outcome.failed is None
    assert outcome.state["active"] == []


async def test_links_jump(world: World) -> None:
    nodes = [
        start(),
        throw("leap", event("Link", name="over")),
        catch("land", event("Link", name="over")),
        script("landed", "landed", "true"),
        end(),
    ]
    outcome = await world.run(definitions(process("linked", nodes, "start -> leap\nland -> landed\nlanded -> end")))
    assert outcome.variables == {"landed": True}
