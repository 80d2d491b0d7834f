"""Activities: loops, sub-processes, called processes, compensation and transactions, and calls that fail."""

import asyncio
from typing import Any

import pytest
from bpmn_json import (
    RETRY,
    boundary,
    definitions,
    end,
    event,
    event_sub,
    expression,
    given,
    node,
    output,
    process,
    script,
    service,
    start,
    sub,
    throw,
    user,
)
from process_worker_support import Request, World

LINE = "start -> work\nwork -> end"


def multi(sequential: bool, **more: Any) -> dict[str, Any]:
    collection = {"$type": "ameide:Collection", "collection": "items", "element": "item", "output": "answers"}
    held = {"extensionElements": {"$type": "bpmn:ExtensionElements", "values": [collection]}}
    kind = "bpmn:MultiInstanceLoopCharacteristics"
    return {"$type": kind, "isSequential": sequential, **held, **more}


@pytest.mark.parametrize("sequential", [True, False])
async def test_multi_instance_runs_once_for_each_item(world: World, sequential: bool) -> None:
    running, most = 0, 0

    def answer(request: Request) -> tuple[int, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        deadline = asyncio.new_event_loop()
        deadline.run_until_complete(asyncio.sleep(0.1))
        deadline.close()
        running -= 1
        return 200, request.body["item"] * 10

    world.dependency.answers["work"] = answer
    task = service("work", None, given("item", "item"), loopCharacteristics=multi(sequential))
    outcome = await world.run(definitions(process("each", [start(), task, end()], LINE)), {"items": [1, 2, 3]})
    assert outcome.variables == {"items": [1, 2, 3], "answers": [10, 20, 30]}
    assert (most == 1) == sequential


async def test_a_completion_condition_ends_the_loop_early(world: World) -> None:
    enough = expression("numberOfCompletedInstances = 2")
    task = service("work", None, given("n", "loopCounter"), loopCharacteristics=multi(True, completionCondition=enough))
    outcome = await world.run(definitions(process("some", [start(), task, end()], LINE)), {"items": [5, 6, 7]})
    assert [each.body for each in world.dependency.requests] == [{"n": 1}, {"n": 2}]
    assert outcome.variables is not None
    assert len(outcome.variables["answers"]) == 2


async def test_no_items_means_no_instances(world: World) -> None:
    task = service("work", None, loopCharacteristics=multi(False))
    outcome = await world.run(definitions(process("nothing", [start(), task, end()], LINE)), {"items": []})
    assert outcome.variables == {"items": [], "answers": []}
    assert world.dependency.requests == []


async def test_a_collection_that_is_no_list_fails_and_names_the_activity(world: World) -> None:
    task = service("work", None, loopCharacteristics=multi(False))
    outcome = await world.run(definitions(process("wrong", [start(), task, end()], LINE)), {"items": "many"})
    assert outcome.failed == "InvalidLoop"
    assert "'work'" in outcome.told


@pytest.mark.parametrize(("before", "n", "calls"), [(True, 3, 3), (True, 0, 0), (False, 0, 1)])
async def test_standard_loops(world: World, before: bool, n: int, calls: int) -> None:
    loop = {"$type": "bpmn:StandardLoopCharacteristics", "testBefore": before, "loopCondition": expression("left > 0")}
    task = service("work", None, output("left", "left - 1"), loopCharacteristics=loop)
    outcome = await world.run(definitions(process("while", [start(), task, end()], LINE)), {"left": n})
    assert outcome.failed is None
    assert len(world.dependency.requests) == calls


async def test_user_tasks_of_several_people(world: World) -> None:
    task = user("work", output("last"), loopCharacteristics=multi(False))
    world.deploy(definitions(process("voting", [start(), task, end()], LINE)))
    handle = await world.start({"items": ["ada", "bob"]})
    state = await world.state(handle, lambda state: len(state["tasks"]) == 2)
    assert [each["id"] for each in state["tasks"]] == ["work/1", "work/2"]
    for number, vote in ((2, "no"), (1, "yes")):
        await handle.signal("completeTask", {"task": f"work/{number}", "result": vote})
    outcome = await world.outcome(handle)
    assert outcome.variables is not None
    assert outcome.variables["answers"] == ["yes", "no"]


async def test_a_called_process_has_variables_of_its_own(world: World) -> None:
    called = {
        **process("callee", [start("c1"), script("double", "y", "x * 2"), end("c2")], "c1 -> double\ndouble -> c2")
    }
    called["isExecutable"] = False
    task = node("CallActivity", "work", given("x", "n"), output("doubled", "result.y"), calledElement="callee")
    caller = process("caller", [start(), task, end()], LINE)
    outcome = await world.run(definitions(caller, called), {"n": 21})
    assert outcome.variables == {"n": 21, "doubled": 42}


async def test_a_called_process_on_a_queue_is_a_child_workflow(world: World) -> None:
    queue = {"$type": "ameide:Call", "taskQueue": world.queue}
    task = node("CallActivity", "work", queue, given("n", "n"), output("got", "result.n"), calledElement="elsewhere")
    world.deploy(definitions(process("parent", [start(), task, end()], LINE)))
    outcome = await world.outcome(await world.start({"n": 1}))
    # The queue is our own, whose worker runs `parent` only: the child is refused, and that reaches the caller.
    assert outcome.failed == "UnknownProcess"
    assert "'elsewhere'" in outcome.told


def undo(identity: str) -> list[dict[str, Any]]:
    return [
        service(identity, None, given("n", "n")),
        boundary(f"{identity}_back", identity, event("Compensate")),
        service(f"un{identity}", None, given("n", "n"), isForCompensation=True),
    ]


async def test_compensation_undoes_in_reverse_order_with_the_values_of_then(world: World) -> None:
    nodes = [
        start(),
        *undo("book"),
        script("later", "n", "n + 1"),
        *undo("pay"),
        script("latest", "n", "n + 1"),
        throw("undo", event("Compensate")),
        end(),
    ]
    flows = """
        start -> book
        book -> later
        later -> pay
        pay -> latest
        latest -> undo
        undo -> end
        book_back -> ~unbook
        pay_back -> ~unpay
    """
    outcome = await world.run(definitions(process("travel", nodes, flows)), {"n": 1})
    assert outcome.failed is None
    assert [(call.path, call.body["n"]) for call in world.dependency.requests] == [
        ("/book", 1),
        ("/pay", 2),
        ("/unpay", 2),
        ("/unbook", 1),
    ]


async def test_one_activity_can_be_compensated_alone_and_only_once(world: World) -> None:
    nodes = [
        start(),
        *undo("book"),
        *undo("pay"),
        throw("undo", event("Compensate", activityRef="book")),
        throw("again", event("Compensate", activityRef="book")),
        end(),
    ]
    flows = "start -> book\nbook -> pay\npay -> undo\nundo -> again\nagain -> end"
    flows += "\nbook_back -> ~unbook\npay_back -> ~unpay"
    await world.run(definitions(process("partly", nodes, flows)), {"n": 1})
    assert world.dependency.operations() == ["book", "pay", "unbook"]


async def test_a_completed_sub_process_is_compensated_from_outside(world: World) -> None:
    inner = sub(
        "inner",
        [start("in"), *undo("book"), *undo("pay"), end("out")],
        "in -> book\nbook -> pay\npay -> out\nbook_back -> ~unbook\npay_back -> ~unpay",
    )
    nodes = [start(), inner, end("undo", event("Compensate"))]
    await world.run(definitions(process("outer", nodes, "start -> inner\ninner -> undo")), {"n": 1})
    assert world.dependency.operations() == ["book", "pay", "unpay", "unbook"]


async def test_an_error_handler_compensates_its_scope(world: World) -> None:
    world.dependency.answers["pay"] = (402, {"errorCode": "NoMoney"})
    handler = event_sub(
        "handler",
        [
            node("StartEvent", "on", eventDefinitions=[event("Error")]),
            throw("undo", event("Compensate")),
            end("off"),
        ],
        "on -> undo\nundo -> off",
    )
    nodes = [start(), *undo("book"), service("pay"), end(), handler]
    flows = "start -> book\nbook -> pay\npay -> end\nbook_back -> ~unbook"
    outcome = await world.run(definitions(process("saga", nodes, flows)), {"n": 1})
    assert outcome.failed is None
    assert world.dependency.operations() == ["book", "pay", "unbook"]


async def test_a_cancelled_transaction_is_undone_and_left_by_its_cancel_event(world: World) -> None:
    inner = sub(
        "deal",
        [start("in"), *undo("book"), end("off", event("Cancel"))],
        "in -> book\nbook -> off\nbook_back -> ~unbook",
        kind="Transaction",
    )
    nodes = [start(), inner, boundary("cancelled", "deal", event("Cancel")), service("tell"), end(), end("told")]
    flows = "start -> deal\ndeal -> end\ncancelled -> tell\ntell -> told"
    outcome = await world.run(definitions(process("dealing", nodes, flows)), {"n": 1})
    assert world.dependency.operations() == ["book", "unbook", "tell"]
    assert outcome.path[-1] == "told"


async def test_a_dependency_that_is_down_is_tried_again(world: World) -> None:
    answers = iter([(503, {}), (500, b"oops"), (200, b"no json"), (429, {}), (200, {"ok": True})])
    world.dependency.answers["work"] = lambda _: next(answers)
    nodes = [start(), service("work", None, output("got")), end()]
    outcome = await world.run(definitions(process("stubborn", nodes, LINE)))
    assert outcome.variables == {"got": {"ok": True}}
    keys = {each.headers["idempotency-key"] for each in world.dependency.requests}
    assert (len(world.dependency.requests), len(keys)) == (5, 1)


async def test_attempts_end_where_the_retry_policy_says(world: World) -> None:
    world.dependency.answers["work"] = (500, {"detail": "still broken"})
    nodes = [start(), service("work", None, {**RETRY, "maximumAttempts": 2}), end()]
    outcome = await world.run(definitions(process("limited", nodes, LINE)))
    assert outcome.failed == "HTTP_500"
    assert "still broken" in outcome.told
    assert len(world.dependency.requests) == 2


@pytest.mark.parametrize(
    ("value", "path"), [("a b/c", "/orders/a%20b%2Fc"), ("ä?x=1", "/orders/%C3%A4%3Fx%3D1"), (7, "/orders/7")]
)
async def test_path_segments_are_escaped(world: World, value: Any, path: str) -> None:
    call = {"$type": "ameide:Binding", "target": "domain/shop", "operation": "Get", "method": "GET"}
    task = node("ServiceTask", "work", {**call, "path": "/orders/{id}"}, given("page", "2"), given("none", "null"))
    outcome = await world.run(definitions(process("reading", [start(), task, end()], LINE)), {"id": value})
    assert outcome.failed is None
    assert world.dependency.requests[0].path == f"{path}?page=2"


@pytest.mark.parametrize("value", ["..", ".", "", None, {"a": 1}])
async def test_what_cannot_be_a_path_segment_is_refused(world: World, value: Any) -> None:
    call = {"$type": "ameide:Binding", "target": "domain/shop", "operation": "Get", "method": "GET"}
    task = node("ServiceTask", "work", {**call, "path": "/orders/{id}"})
    outcome = await world.run(definitions(process("reading", [start(), task, end()], LINE)), {"id": value})
    assert outcome.failed == "InvalidPath"
    assert world.dependency.requests == []


async def test_cancelling_the_workflow_ends_its_calls_and_timers(world: World) -> None:
    world.deploy(definitions(process("endless", [start(), user("work"), end()], LINE)))
    handle = await world.start()
    await world.at(handle, "work")
    await handle.cancel()
    outcome = await world.outcome(handle)
    assert outcome.failed == "CancelledError"
    assert outcome.state["tasks"] == []
