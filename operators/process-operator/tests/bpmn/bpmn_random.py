"""Random definitions: valid ones, built from blocks that nest, and mutations of any definition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from bpmn_documents import (
    Json,
    ameide,
    association,
    binding,
    definitions,
    element,
    event,
    flow,
    formal,
    given,
    output,
    process,
)
from hypothesis import strategies as st

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
CONDITIONS = st.sampled_from(
    ["a > 1", 'order.tier = "gold" and not(late)', "count(lines) >= 3", "x in (1, 2)", "if a then b else c", "= ok"]
)
DURATIONS = st.sampled_from(["PT1S", "P1DT2H", "P3M", "PT0.5S", "= limit"])
SPANS = st.sampled_from(["PT30S", "PT5M", "PT1H"])


class Builder:
    """Grows one scope; every id is new. `ends` are elements from which nothing leads on yet."""

    def __init__(self, draw: Callable[[Any], Any], ids: Iterator[int]) -> None:
        self.draw = draw
        self.ids = ids
        self.elements: list[Json] = []
        self.artifacts: list[Json] = []

    def identifier(self, kind: str) -> str:
        return f"{kind}_{next(self.ids)}"

    def add(self, kind: str, *extensions: Json, **attributes: Any) -> str:
        name = self.identifier(kind)
        if self.draw(st.booleans()):
            attributes["name"] = self.draw(TEXTS)
        self.elements.append(element(kind, name, *extensions, **attributes))
        return name

    def join(self, source: str, target: str, condition: str = "") -> str:
        name = self.identifier("Flow")
        self.elements.append(flow(name, source, target, condition))
        return name

    def scope(self, depth: int) -> None:
        """A start, a chain of blocks, and an end."""
        last = self.add("StartEvent")
        for _ in range(self.draw(st.integers(0, 3))):
            first, then = self.block(depth)
            self.join(last, first)
            last = then
        self.join(last, self.add("EndEvent"))

    def block(self, depth: int) -> tuple[str, str]:
        """The first and the last element of a block."""
        blocks = [self.task, self.task, self.wait]
        if depth > 0:
            blocks += [self.choice, self.parallel, self.race, self.loop, self.sub_process]
        return self.draw(st.sampled_from(blocks))(depth - 1)

    def task(self, _: int) -> tuple[str, str]:
        kind = self.draw(
            st.sampled_from(
                ["Task", "ServiceTask", "SendTask", "BusinessRuleTask", "UserTask", "ScriptTask", "ManualTask"]
            )
        )
        extensions: list[Json] = []
        attributes: dict[str, Any] = {}
        if kind == "UserTask":
            extensions = [ameide("Assignment", candidateGroups="sales, support"), output("answer")]
        elif kind == "ScriptTask":
            extensions = [ameide("Script", result="total")]
            attributes["script"] = self.draw(CONDITIONS)
        elif kind != "ManualTask":
            target = self.draw(st.sampled_from(["domain/orders", "domain/travel/flights", "agent/coach"]))
            extensions = [binding(target, "Do"), given("order"), output("order")]
            if self.draw(st.booleans()):
                extensions.append(ameide("Timeouts", startToClose=self.draw(SPANS), scheduleToClose="PT2H"))
                extensions.append(ameide("Retry", maximumAttempts=self.draw(st.integers(0, 9))))
        if self.draw(st.booleans()):
            attributes["loopCharacteristics"] = self.repetition(gathers=kind != "ManualTask")
        name = self.add(kind, *extensions, **attributes)
        self.boundaries(name)
        return name, name

    def repetition(self, *, gathers: bool) -> Json:
        if self.draw(st.booleans()):
            return element("StandardLoopCharacteristics", self.identifier("Loop"), loopCondition=formal("again"))
        return element(
            "MultiInstanceLoopCharacteristics",
            self.identifier("Loop"),
            ameide("Collection", collection="lines", element="line", **({"output": "answers"} if gathers else {})),
            isSequential=self.draw(st.booleans()),
        )

    def boundaries(self, host: str) -> None:
        if self.draw(st.booleans()):
            name = self.identifier("Boundary")
            once = self.draw(st.booleans())
            timer = {"timeDuration": self.draw(DURATIONS)} if once else {"timeCycle": "R3/PT1M"}
            self.elements.append(
                event("BoundaryEvent", name, "Timer", attachedToRef=host, cancelActivity=once, **timer)
            )
            self.join(name, self.add("EndEvent"))
        if self.draw(st.booleans()):
            name, handler = self.identifier("Undo"), self.identifier("Handler")
            self.elements.append(event("BoundaryEvent", name, "Compensate", attachedToRef=host))
            self.elements.append(
                element("ServiceTask", handler, binding("domain/orders", "Undo"), isForCompensation=True)
            )
            self.artifacts.append(association(self.identifier("Association"), name, handler))

    def wait(self, _: int) -> tuple[str, str]:
        name = self.identifier("Wait")
        self.elements.append(event("IntermediateCatchEvent", name, "Timer", timeDuration=self.draw(DURATIONS)))
        return name, name

    def branches(self, depth: int) -> list[tuple[str, str]]:
        return [self.block(depth) for _ in range(self.draw(st.integers(2, 3)))]

    def choice(self, depth: int) -> tuple[str, str]:
        kind = self.draw(st.sampled_from(["ExclusiveGateway", "InclusiveGateway"]))
        split, merge = self.add(kind), self.add(kind)
        gateway = next(item for item in self.elements if item["id"] == split)
        for first, last in self.branches(depth):
            self.join(split, first, self.draw(CONDITIONS))
            self.join(last, merge)
        gateway["default"] = self.join(split, merge)
        return split, merge

    def parallel(self, depth: int) -> tuple[str, str]:
        split, merge = self.add("ParallelGateway"), self.add("ParallelGateway")
        for first, last in self.branches(depth):
            self.join(split, first)
            self.join(last, merge)
        return split, merge

    def race(self, depth: int) -> tuple[str, str]:
        split, merge = self.add("EventBasedGateway"), self.add("ExclusiveGateway")
        for kind in ("Message", "Timer"):
            name = self.identifier("Race")
            how = {"messageRef": "message"} if kind == "Message" else {"timeDuration": self.draw(DURATIONS)}
            self.elements.append(event("IntermediateCatchEvent", name, kind, **how))
            self.join(split, name)
            first, last = self.block(depth)
            self.join(name, first)
            self.join(last, merge)
        return split, merge

    def loop(self, depth: int) -> tuple[str, str]:
        entry, leave = self.add("ExclusiveGateway"), self.add("ExclusiveGateway")
        waiting, _ = self.wait(depth)
        first, last = self.block(depth)
        self.join(entry, waiting)
        self.join(waiting, first)
        self.join(last, leave)
        self.join(leave, entry, self.draw(CONDITIONS))
        after = self.add("ManualTask")
        gateway = next(item for item in self.elements if item["id"] == leave)
        gateway["default"] = self.join(leave, after)
        return entry, after

    def sub_process(self, depth: int) -> tuple[str, str]:
        inner = Builder(self.draw, self.ids)
        inner.scope(depth)
        name = self.add("SubProcess", flowElements=inner.elements, artifacts=inner.artifacts)
        self.boundaries(name)
        return name, name


def _counter() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


@st.composite
def valid_definitions(draw: Callable[[Any], Any]) -> Json:
    """A definition that compiles."""
    builder = Builder(draw, _counter())
    builder.scope(draw(st.integers(0, 3)))
    main = process("main", *builder.elements, artifacts=builder.artifacts)
    drawn = process("drawn", element("StartEvent", "drawn_start"), element("Task", "drawn_task"), executable=False)
    return definitions(element("Message", "message", name="paid"), main, drawn)


@st.composite
def shuffled(draw: Callable[[Any], Any], definition: Json) -> Json:
    """The same definition with its elements in another order, and the keys of each in another order."""

    def turn(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: turn(value[name], name) for name in draw(st.permutations(sorted(value)))}
        if isinstance(value, list):
            items = [turn(item) for item in value]
            return draw(st.permutations(items)) if key in ("flowElements", "rootElements", "artifacts") else items
        return value

    turned: Json = turn(definition)
    return turned


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container of a JSON value with each of its keys or indices."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def texts_of(value: Any, key: str) -> list[str]:
    """Every text under a key, anywhere."""
    return [box[name] for box, name in places(value) if name == key and isinstance(box[name], str)]


@st.composite
def mutated(draw: Callable[[Any], Any], definition: Json) -> Json:
    """The definition with one to three things changed: dropped, renamed, swapped, doubled, replaced."""
    changed = copy.deepcopy(definition)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            break
        box, key = found[draw(st.integers(0, len(found) - 1))]
        ids = texts_of(changed, "id") or ["none"]
        junk = st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(10**20), 10**20),
            st.floats(),
            TEXTS,
            st.just([]),
            st.just({}),
            st.just([[]]),
            st.just({"$type": "bpmn:Nothing"}),
            st.just("\ud800"),
            st.sampled_from(ids),
            st.just(box),
        )
        match draw(st.sampled_from(["drop", "replace", "rename", "double"])):
            case "drop":
                del box[key]
            case "replace":
                box[key] = copy.deepcopy(draw(junk))
            case "rename" if isinstance(box, dict) and isinstance(key, str):
                box[draw(st.sampled_from(["id", "name", "sourceRef", f"{key}x", "$type", "flowElements"]))] = box.pop(
                    key
                )
            case _:
                if isinstance(box, list):
                    box.append(copy.deepcopy(box[key]))
    return changed
