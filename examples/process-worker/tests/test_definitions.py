"""The example definition order to cash, along each of its ways, against a small order service."""

import json
from pathlib import Path
from typing import Any

import pytest
from process_worker_support import Request, World, replace, working

from process_operator.bpmn import Dependencies, compile
from process_worker.tables import TABLES

FILE = Path(__file__).parents[2] / "definitions" / "order-to-cash.json"


class Orders:
    """Keeps orders as the example Domain does."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> tuple[int, Any]:
        if request.method == "GET":
            return 200, {"orders": self.kept}
        if not request.body.get("item"):
            return 400, {"error": "an order has an item"}
        self.kept.append({"id": len(self.kept) + 1, **request.body})
        return 201, self.kept[-1]


@pytest.fixture
async def orders(world: World) -> Orders:
    """The definition deployed, with its Domain at hand."""
    definition = json.loads(FILE.read_text())
    compiled = compile(definition, Dependencies(domains=frozenset({"orders"}), agents=frozenset()))
    TABLES.current = TABLES.add(compiled.bytes)
    service = Orders()
    world.dependency.answers["orders"] = service
    return service


@pytest.fixture
async def shop(world: World, orders: Orders) -> Any:
    """A world whose worker knows the Domain `orders`; the first worker's queue is left alone."""
    world.queue += "-orders"
    config = replace(
        world.config, task_queue=world.queue, dependencies={"domain/orders": {"http": world.dependency.url}}
    )
    async with working(world.client, config):
        yield world


async def test_a_small_order_is_paid(shop: World, orders: Orders) -> None:
    handle = await shop.start({"item": "book", "quantity": 2})
    await shop.at(handle, "await_payment")
    await handle.signal("payment", args=[{"amount": 20}, 1])
    outcome = await shop.outcome(handle)
    assert outcome.failed is None
    assert outcome.path[-1] == "paid"
    assert orders.kept == [{"id": 1, "item": "book", "quantity": 2}]
    assert [each.method for each in shop.dependency.requests] == ["POST", "GET"]


async def test_a_large_order_that_is_not_approved_is_taken_back(shop: World, orders: Orders) -> None:
    handle = await shop.start({"item": "book", "quantity": 50})
    await shop.at(handle, "approve_order")
    await handle.execute_update("completeTask", {"task": "approve_order", "result": {"approved": False}})
    outcome = await shop.outcome(handle)
    assert outcome.path[-1] == "rejected"
    assert [order["item"] for order in orders.kept] == ["book", "cancelled: book"]


async def test_an_order_that_is_not_paid_in_time_is_taken_back(shop: World, orders: Orders) -> None:
    outcome = await shop.outcome(await shop.start({"item": "book", "quantity": 1, "paymentLimit": "PT0.2S"}))
    assert outcome.path[-1] == "unpaid"
    assert len(orders.kept) == 2


async def test_an_order_that_the_domain_refuses_ends_there(shop: World, orders: Orders) -> None:
    outcome = await shop.outcome(await shop.start({"quantity": 1}))
    assert outcome.path == ["order_received", "place_order", "order_refused", "refused"]
    assert orders.kept == []
