"""What a plan reads to know whose the names in PostgreSQL are: it is on the way of every reconcile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from domain_golden import GOLDEN

from ameide_shared.kube.resources import CNPG_DATABASE, CNPG_DATABASE_ROLE, DOMAIN, Manifest, ResourceType
from ameide_shared.snapshot import Snapshot
from domain_operator.plan import plan


class Counting(Snapshot):
    """A snapshot that counts how often objects of a type are gone through."""

    __slots__ = ("counted",)

    def __init__(self, objects: Snapshot) -> None:
        super().__init__(objects)
        self.counted: Counter[ResourceType] = Counter()

    def list(self, resource: ResourceType, namespace: str | None = None) -> list[Manifest]:
        self.counted[resource] += 1
        return super().list(resource, namespace)


@pytest.mark.parametrize("name", ["rest-database", "shared-rest", "db-names-free", "db-younger-rival"])
def test_claims_are_gone_through_once_for_each_plan(name: str) -> None:
    case = GOLDEN.load(name)
    objects = Counting(case.objects)
    made = plan(case.resource, replace(case.observed, objects=objects), case.settings, case.now)
    assert made.actions == case.plan().actions
    assert objects.counted[CNPG_DATABASE] == objects.counted[CNPG_DATABASE_ROLE] == 1


def test_whoever_holds_its_names_already_is_not_compared_with_rivals() -> None:
    case = GOLDEN.load("rest-database")
    objects = Counting(case.objects)
    plan(case.resource, replace(case.observed, objects=objects), case.settings, case.now)
    assert objects.counted[DOMAIN] == 0
