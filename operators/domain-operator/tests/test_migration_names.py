"""A migration Job's name follows from what asks for it alone: no other Job that comes or goes starts it anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from domain_golden import GOLDEN

from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import World
from ameide_shared.kube.resources import JOB
from ameide_shared.plan import Ensure

V1, V2, V3 = (f"ghcr.io/ameide/orders-domain:{major}.0.0" for major in (1, 2, 3))
FAILED = {"failed": 3, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
COMPLETE = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}


@dataclass
class Story:
    """A Domain that has released V1, a minute between its steps."""

    history: int = 3
    world: World = field(init=False)

    def __post_init__(self) -> None:
        domain = GOLDEN.based({"base": "database", "metadata": {"generation": 1}, "spec": {"image": V1}})
        self.world = GOLDEN.world(domain, GOLDEN.definition.settings(history={"jobs": self.history}))
        self.world.add(GOLDEN.based(around) for around in ({"base": "namespace"}, {"base": "cluster"}))
        self.world.settle({})

    def ask(self, image: str, retry: str | None = None) -> None:
        metadata = {"annotations": {"ameide.io/retry-migration": retry}}
        self.world.resource = merged(self.world.resource, {"metadata": metadata, "spec": {"image": image}})

    def step(self) -> list[str]:
        """One pass; the Jobs that it makes."""
        self.world.now += timedelta(minutes=1)
        before = set(self.jobs)
        self.world.passes(1)
        return sorted(set(self.jobs) - before)

    def until_migrating(self) -> str:
        """The Job that is made within two passes, the only one; a further pass has nothing to add."""
        made = [*self.step(), *self.step()]
        assert len(made) == 1
        assert self.step() == []
        return made[0]

    def end(self, job: str, status: dict[str, Any]) -> None:
        done = {"completionTime": f"{self.world.now:%Y-%m-%dT%H:%M:%SZ}"} if status is COMPLETE else {}
        self.world.change({job: {"status": {**status, **done}}})

    @property
    def jobs(self) -> list[str]:
        return [name for name in self.world.objects if name.startswith("Job shop/")]

    @property
    def stage(self) -> tuple[str, str]:
        """Reason and object of the migration's stage, as the next pass will tell it."""
        planned = self.world.definition.plan(
            self.world.resource, self.world.observed(), self.world.settings, self.world.now
        )
        (stage,) = (stage for stage in planned.stages if stage.condition == "MigrationSucceeded")
        return stage.reason.value, stage.object

    def rests(self) -> None:
        """Whatever was not asked for does not happen."""
        for _ in range(3):
            assert self.step() == []


@pytest.mark.parametrize("history", [1, 2, 3])
def test_failed_migration_stays_failed_however_many_jobs_are_pruned(history: int) -> None:
    story = Story(history)
    story.ask(V2)
    for retry in (None, "1", "2", "3", "4", "5"):
        story.ask(V2, retry)
        job = story.until_migrating()
        story.end(job, FAILED)
        assert story.stage == ("MigrationFailed", job.replace("Job shop/", "Job "))
        story.rests()
        assert len(story.jobs) <= history + 1


@pytest.mark.parametrize("status", [FAILED, COMPLETE], ids=["failed", "complete"])
def test_jobs_of_other_migrations_may_be_deleted_by_anybody(status: dict[str, Any]) -> None:
    """While it runs, and after."""
    story = Story()
    story.ask(V2)
    job = story.until_migrating()
    for other in set(story.jobs) - {job}:
        story.world.change({other: None})
    story.rests()
    story.end(job, status)
    story.rests()
    assert story.jobs == [job]


@pytest.mark.parametrize("status", [FAILED, COMPLETE], ids=["failed", "complete"])
@pytest.mark.parametrize("history", [1, 3])
def test_what_is_asked_for_again_after_another_migration_runs_once_more(history: int, status: dict[str, Any]) -> None:
    """Under the same name, with the Job of the first time out of its way, so that there is never a choice of two."""
    story = Story(history)
    story.world.resource["spec"]["rollout"] = {"canary": True}  # what succeeds is not released at once
    story.ask(V2)
    first = story.until_migrating()
    story.end(first, status)
    story.ask(V3)
    between = story.until_migrating()
    story.ask(V2)
    assert story.step() == [], "two migrations of one schema never run together"
    story.end(between, FAILED)
    assert story.stage == ("MigrationPending", first.replace("Job shop/", "Job "))
    assert story.step() == []
    assert first not in story.jobs
    assert story.step() == [first]
    story.end(first, FAILED)
    story.world.change({between: None})
    story.rests()
    assert story.stage == ("MigrationFailed", first.replace("Job shop/", "Job "))


def test_name_does_not_look_at_other_jobs() -> None:
    """Those who see more or less of the cluster, such as a new leader whose caches are late, mean the same Job."""
    story = Story()
    story.ask(V2)
    names = set()
    for gone in (False, True):
        if gone:
            for job in story.jobs:
                story.world.change({job: None})
        planned = story.world.definition.plan(
            story.world.resource, story.world.observed(), story.world.settings, story.world.now
        )
        names |= {a.key.name for a in planned.actions if isinstance(a, Ensure) and a.resource is JOB}
    assert len(names) == 1
