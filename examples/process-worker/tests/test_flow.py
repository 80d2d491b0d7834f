"""Tokens through tasks and gateways, on the real Temporal server; every history is replayed."""

import pytest
from bpmn_json import definitions, end, given, node, output, process, script, service, start, user
from process_worker_support import TENANT, World


async def test_service_tasks_call_the_dependency_with_tenant_and_inputs(world: World) -> None:
    world.dependency.answers["Place"] = (201, {"id": 7})
    outcome = await world.run(
        definitions(
            process(
                "shopping",
                [start(), service("place", "Place", given("item", "item"), output("order")), end()],
                "start -> place\nplace -> end",
            )
        ),
        {"item": "book"},
    )
    assert outcome.variables == {"item": "book", "order": {"id": 7}}
    [request] = world.dependency.requests
    assert (request.method, request.path, request.body) == ("POST", "/Place", {"item": "book"})
    assert request.headers["x-tenant-id"] == TENANT
    assert outcome.path == ["start", "place", "end"]


@pytest.mark.parametrize(("quantity", "way"), [(50, "bulk"), (5, "some"), (0, "none"), (None, "none")])
async def test_exclusive_gateway_takes_the_first_that_holds_else_the_default(
    world: World, quantity: int | None, way: str
) -> None:
    outcome = await world.run(
        definitions(
            process(
                "choice",
                [
                    start(),
                    node("ExclusiveGateway", "which"),
                    *(script(each, "way", f'"{each}"') for each in ("bulk", "some", "none")),
                    node("ExclusiveGateway", "merge"),
                    end(),
                ],
                """
                start -> which
                which -> bulk : quantity > 10
                which -> some : quantity > 0
                which -> none : default
                bulk -> merge
                some -> merge
                none -> merge
                merge -> end
                """,
            )
        ),
        {"quantity": quantity},
    )
    assert outcome.variables is not None
    assert outcome.variables["way"] == way


def fork(kind: str, *conditions: str) -> dict[str, object]:
    """Three branches between two gateways of a kind; each branch calls the dependency."""
    names = ("a", "b", "c")
    split = "\n".join(
        f"split -> {name}{f' : {condition}' if condition else ''}"
        for name, condition in zip(names, conditions or ("", "", ""), strict=True)
    )
    join = "\n".join(f"{name} -> join" for name in names)
    return definitions(
        process(
            "forked",
            [
                start(),
                node(kind, "split"),
                *(service(each) for each in names),
                node(kind, "join"),
                service("after"),
                end(),
            ],
            f"start -> split\n{split}\n{join}\njoin -> after\nafter -> end",
        )
    )


async def test_parallel_gateways_fork_and_join(world: World) -> None:
    outcome = await world.run(fork("ParallelGateway"))
    assert outcome.failed is None
    assert sorted(world.dependency.operations()[:3]) == ["a", "b", "c"]
    assert world.dependency.operations()[3:] == ["after"]


@pytest.mark.parametrize(
    ("variables", "taken"), [({"x": 3}, ["a", "b"]), ({"x": 1}, ["a"]), ({"x": 0}, ["c"]), ({}, ["c"])]
)
async def test_inclusive_gateways_join_what_was_forked(
    world: World, variables: dict[str, int], taken: list[str]
) -> None:
    outcome = await world.run(fork("InclusiveGateway", "x > 0", "x > 2", "default"), variables)
    assert outcome.failed is None
    assert sorted(world.dependency.operations()[:-1]) == taken
    assert world.dependency.operations()[-1] == "after"


async def test_inclusive_join_waits_for_a_token_that_may_still_come(world: World) -> None:
    world.deploy(
        definitions(
            process(
                "patient",
                [
                    start(),
                    node("InclusiveGateway", "split"),
                    script("quick", "quick", "true"),
                    user("slow"),
                    node("ExclusiveGateway", "turn"),
                    script("leave", "left", "true"),
                    end("aside"),
                    node("InclusiveGateway", "join"),
                    script("after", "joined", "true"),
                    end(),
                ],
                """
                start -> split
                split -> quick : true
                split -> slow : true
                quick -> join
                slow -> turn
                turn -> join : stay
                turn -> leave : default
                leave -> aside
                join -> after
                after -> end
                """,
            )
        )
    )
    handle = await world.start({"stay": False})
    await world.at(handle, "slow")
    state = await world.state(handle, lambda state: "join" in state["path"])
    assert "after" not in state["path"]
    await handle.signal("completeTask", {"task": "slow"})
    # The slow token goes aside: then, and only then, nothing can come any more and the join goes on.
    outcome = await world.outcome(handle)
    assert outcome.path[-2:] in (["after", "end"], ["end", "aside"]) or "after" in outcome.path
    assert outcome.variables is not None
    assert outcome.variables["joined"]
    assert outcome.variables["left"]


async def test_an_activity_takes_every_flow_whose_condition_holds(world: World) -> None:
    outcome = await world.run(
        definitions(
            process(
                "conditional",
                [
                    start(),
                    script("work", "n", "5"),
                    *(script(each, each, "true") for each in ("always", "small", "big", "otherwise")),
                    end(),
                ],
                """
                start -> work
                work -> always
                work -> small : n < 10
                work -> big : n >= 10
                work -> otherwise : default
                always -> end
                small -> end
                big -> end
                otherwise -> end
                """,
            )
        )
    )
    assert outcome.variables == {"n": 5, "always": True, "small": True}


async def test_no_flow_to_take_fails_and_names_the_gateway(world: World) -> None:
    outcome = await world.run(
        definitions(
            process(
                "dead_end",
                [start(), node("ExclusiveGateway", "which"), end("left"), end("right")],
                "start -> which\nwhich -> left : x > 0\nwhich -> right : x < 0",
            )
        ),
        {"x": 0},
    )
    assert outcome.failed == "NoFlowTaken"
    assert "'which'" in outcome.told


async def test_a_join_that_can_never_complete_fails_and_names_the_gateway(world: World) -> None:
    outcome = await world.run(
        definitions(
            process(
                "stuck",
                [
                    start(),
                    node("ExclusiveGateway", "one"),
                    script("a", "a", "1"),
                    script("b", "b", "1"),
                    node("ParallelGateway", "join"),
                    end(),
                ],
                "start -> one\none -> a : true\none -> b : default\na -> join\nb -> join\njoin -> end",
            )
        )
    )
    assert outcome.failed == "StuckAtJoin"
    assert "'join'" in outcome.told


async def test_a_circle_without_a_wait_fails_instead_of_blocking_the_worker(world: World) -> None:
    outcome = await world.run(
        definitions(
            process(
                "circle",
                [start(), node("ExclusiveGateway", "again"), script("count", "n", "n + 1"), end()],
                "start -> again\nagain -> end : n < 0\nagain -> count : default\ncount -> again",
            )
        ),
        {"n": 0},
    )
    assert outcome.failed == "EndlessLoop"


async def test_a_loop_of_flows_repeats_until_its_condition_is_over(world: World) -> None:
    outcome = await world.run(
        definitions(
            process(
                "counting",
                [
                    start(),
                    node("ExclusiveGateway", "merge"),
                    script("count", "n", "n + 1"),
                    node("ExclusiveGateway", "enough"),
                    end(),
                ],
                "start -> merge\nmerge -> count\ncount -> enough\nenough -> end : n >= 5\nenough -> merge : default",
            )
        ),
        {"n": 0},
    )
    assert outcome.variables == {"n": 5}
    assert outcome.path.count("count") == 5
