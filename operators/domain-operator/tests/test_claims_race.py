"""Two Domains that ask for the same names in the same moment: whatever the order of things, exactly one gets them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Ensure, EnsureSecret
from ameide_shared.reasons import Reason
from ameide_shared.snapshot import Snapshot
from ameide_shared.stages import first_blocker
from ameide_shared.status import parse_time
from domain_operator.main import DEFINITION
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings

MOMENT = "2026-03-01T12:00:00Z"
CLUSTER = {
    "apiVersion": "postgresql.cnpg.io/v1",
    "kind": "Cluster",
    "metadata": {"namespace": "cnpg", "name": "main", "annotations": {"ameide.io/allowed-namespaces": "*"}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


class Site:
    """The two Domains, and what has been made for them so far."""

    def __init__(self, names: list[dict[str, str]], uids: list[str]) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.uids = list(uids)
        self.pending: list[list[Ensure | EnsureSecret]] = [[], []]
        self.domains = [self._domain(f"team-{index}", names[index]) for index in range(2)]
        for manifest in [CLUSTER, *self.domains, *map(self._namespace, ("team-0", "team-1", "cnpg"))]:
            self._add(manifest)

    def _domain(self, namespace: str, names: dict[str, str]) -> dict[str, Any]:
        db = {"clusterRef": "cnpg/main", "schema": "orders", "migrationJobImage": "ghcr.io/ameide/migrator:1", **names}
        metadata = {
            "name": "orders",
            "namespace": namespace,
            "uid": self.uids.pop(),
            "generation": 1,
            "creationTimestamp": MOMENT,
            "finalizers": ["domain.ameide.io/finalizer"],
        }
        spec = {"image": "ghcr.io/ameide/orders:1", "db": db}
        return {"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": spec}

    @staticmethod
    def _namespace(name: str) -> dict[str, Any]:
        labels = {"ameide.io/tenant-id": "t"}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}

    def _add(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        self.objects[manifest["kind"], metadata.get("namespace", ""), metadata["name"]] = manifest

    def look(self, index: int, *, alone: bool = False) -> None:
        """Plan for a Domain from what is there now; `alone`: the other one has not been seen yet."""
        made = plan(self.domains[index], self._observed(index if alone else None), DomainSettings(), parse_time(MOMENT))
        self.pending[index] = [action for action in made.actions if isinstance(action, (Ensure, EnsureSecret))]

    def act(self, index: int) -> None:
        """Carry out the next action of the Domain's last plan."""
        if not self.pending[index]:
            return
        manifest = self.pending[index].pop(0).manifest
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata["namespace"], metadata["name"])
        if key not in self.objects:
            known = {"uid": self.uids.pop(), "creationTimestamp": MOMENT, "resourceVersion": "1"}
            self._add({**manifest, "metadata": {**metadata, **known}})

    def _observed(self, only: int | None = None) -> Observed:
        hidden = None if only is None else self.domains[1 - only]
        return Observed(Snapshot(each for each in self.objects.values() if each is not hidden), DEFINITION.apis)

    def refused(self, index: int) -> bool:
        made = plan(self.domains[index], self._observed(), DomainSettings(), parse_time(MOMENT))
        blocker = first_blocker(made.stages)
        return blocker is not None and blocker.reason is Reason.DatabaseConflict


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(
        st.fixed_dictionaries({"database": st.sampled_from(["db"]), "role": st.sampled_from(["shop", "web"])}),
        min_size=2,
        max_size=2,
    ),
    steps=st.lists(st.tuples(st.sampled_from(["look", "look alone", "act"]), st.integers(0, 1)), max_size=40),
    uids=st.permutations([f"{number:032x}" for number in range(40)]),
)
def test_exactly_one_of_two_goes_on(names: list[dict[str, str]], steps: list[tuple[str, int]], uids: list[str]) -> None:
    site = Site(names, uids)
    for step, index in steps:
        if step == "act":
            site.act(index)
        else:
            site.look(index, alone=step == "look alone")
    for _ in range(4):
        for index in (0, 1):
            site.look(index)
            while site.pending[index]:
                site.act(index)
    assert sorted([site.refused(0), site.refused(1)]) == [False, True]


@pytest.mark.parametrize("done", range(9))
def test_older_one_seen_late_stops_a_claim_that_is_half_made_no_more(done: int) -> None:
    """The younger one has made some of its objects before the older one is seen; from the first claim on it wins."""
    site = Site([{"database": "db", "role": "shop"}] * 2, [f"{number:032x}" for number in range(40)])
    site.look(0, alone=True)
    claimed = any("ameide.io/role" in str(action.manifest["metadata"]) for action in site.pending[0][:done])
    for _ in range(done):
        site.act(0)
    for _ in range(3):
        for index in (0, 1):
            site.look(index)
            while site.pending[index]:
                site.act(index)
    assert [site.refused(0), site.refused(1)] == [not claimed, claimed]
