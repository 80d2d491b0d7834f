"""Rules and checks: declared once, in the schema and in Python, inherited, with transitions."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from ameide_shared.crd import schema_of
from ameide_shared.spec.model import Model
from ameide_shared.spec.problems import rule_problems
from ameide_shared.spec.rules import fixed, matching, rule, rules_of, transition_rule
from ameide_shared.spec.types import Lenient, list_map


class Wheel(Model):
    name: Annotated[str, Field(max_length=9), matching("[a-z]+", "is no wheel", "use letters")] = Field(description="n")
    size: int = Field(default=1, description="s")


class Car(Model):
    wheels: Annotated[tuple[Wheel, ...], Lenient, list_map("name")] = Field(default=(), description="w")
    spare: Wheel | None = Field(default=None, description="s")


class Van(Car):
    pass


@rule(Wheel, cel="self.size < 5", message="size is too large", remedy="use less", field=".size")
def _size(wheel: Wheel) -> bool:
    return wheel.size < 5


@rule(Car, cel="size(self.wheels) < 3", message="too many wheels", remedy="remove one", field=".wheels")
def _wheels(car: Car) -> bool:
    return len(car.wheels) < 3


@transition_rule(Wheel, cel="self.name == oldSelf.name", message="name changed", remedy="set it back", field=".name")
def _name(wheel: Wheel, old: Wheel) -> bool:
    return wheel.name == old.name


def car(kind: type[Car] = Car, **fields: object) -> Car:
    return kind.model_validate(fields)


def fields(new: Car, old: Car | None = None) -> list[str]:
    return [problem.field for problem in rule_problems(new, old)]


def test_rules_of_models_inside_are_found_where_they_are() -> None:
    assert fields(car(wheels=[{"name": "a"}, {"name": "b", "size": 9}], spare={"name": "c", "size": 7})) == [
        "wheels[1].size",
        "spare.size",
    ]


def test_subclasses_have_the_rules_of_their_bases() -> None:
    many = [{"name": name} for name in "abc"]
    assert fields(car(Van, wheels=many)) == ["wheels"]
    assert list(rules_of(Van)) == list(rules_of(Car))


def test_transitions_need_both_sides() -> None:
    old, new = car(spare={"name": "a"}), car(spare={"name": "b"})
    assert fields(new) == []
    assert fields(new, old) == ["spare.name"]
    assert fields(new, car()) == []
    assert fields(car(), old) == []


def test_the_schema_says_the_same() -> None:
    schema = schema_of(Van)
    assert schema["x-kubernetes-validations"] == [
        {
            "rule": "size(self.wheels) < 3",
            "message": "too many wheels; remove one",
            "reason": "FieldValueInvalid",
            "fieldPath": ".wheels",
        }
    ]
    wheel = schema["properties"]["wheels"]["items"]
    assert [entry["rule"] for entry in wheel["x-kubernetes-validations"]] == [
        "self.size < 5",
        "self.name == oldSelf.name",
    ]
    assert wheel["properties"]["name"] == {
        "type": "string",
        "description": "n",
        "pattern": "^(?:[a-z]+)$",
        "maxLength": 9,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches(r'^(?:[a-z]+)$')",
                "message": "is no wheel; use letters",
                "reason": "FieldValueInvalid",
            }
        ],
    }
    assert schema["properties"]["wheels"]["x-kubernetes-list-map-keys"] == ["name"]


@pytest.mark.parametrize("name", ["", "A", "a\n", "a b"])
def test_a_pattern_covers_the_whole_text(name: str) -> None:
    with pytest.raises(ValidationError):
        Wheel.model_validate({"name": name})


def test_null_is_the_same_as_absent() -> None:
    assert car(wheels=None, spare=None) == car()
    with pytest.raises(ValidationError, match="unknown"):
        car(unknown=None)


class Lot(Model):
    namespace: str = Field(description="n")
    owner: str | None = Field(default=None, description="o")
    cars: int = Field(default=0, description="c")


fixed(Lot, "namespace", "owner", instead="make another lot")


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ({"namespace": "a", "owner": "b"}, {"namespace": "a", "owner": "b", "cars": 3}, []),
        ({"namespace": "a"}, {"namespace": "a", "cars": 3}, []),
        ({"namespace": "a"}, {"namespace": "b"}, ["namespace"]),
        ({"namespace": "a", "owner": "b"}, {"namespace": "a", "owner": "c"}, ["owner"]),
        ({"namespace": "a", "owner": "b"}, {"namespace": "a"}, ["owner"]),
        ({"namespace": "a"}, {"namespace": "a", "owner": "b"}, ["owner"]),
    ],
)
def test_what_is_fixed_neither_changes_nor_comes_nor_goes(
    before: dict[str, object], after: dict[str, object], wrong: list[str]
) -> None:
    found = rule_problems(Lot.model_validate(after), Lot.model_validate(before))
    assert [problem.field for problem in found] == wrong
    assert all("make another lot" in problem.remedy for problem in found)


def test_what_is_fixed_is_said_in_cel_for_absence_too() -> None:
    """Transition rules are skipped where the old value is missing; and `namespace` is a word of CEL."""
    assert [entry.cel for entry in rules_of(Lot)] == [
        "self.__namespace__ == oldSelf.__namespace__",
        "has(self.owner) == has(oldSelf.owner) && (!has(self.owner) || self.owner == oldSelf.owner)",
    ]
