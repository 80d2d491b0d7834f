"""Manifests before two judges: the offline check and the real API server must agree, and help.

`<folder>/base.yaml` is a valid manifest of the kind. The other files are tables of cases: `name`, `patch` (a merge
patch over the base), `nulls` (paths that are set to null, which a merge patch cannot say), and for a bad one `field`
and `says`, the words that both verdicts must hold.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import strategies as st

from ameide_dev.client import ApiError, KubeClient, condition_of
from ameide_dev.testing.resources import API, merged
from ameide_shared.check import check_manifest, check_text
from ameide_shared.crd import crd_of
from ameide_shared.spec import ResourceModel
from ameide_shared.spec.documents import read_documents

Case = Mapping[str, Any]
Field = tuple[str | int, ...]
Edits = list[tuple[Field, Any]]
"""Fields of a manifest, each with the value that it is set to."""

STRICT: Final = {"dryRun": "All", "fieldValidation": "Strict"}
_CRD_API: Final = "apiextensions.k8s.io/v1"
_CRD: Final = "CustomResourceDefinition"


class Judged:
    """The tables of a kind in one folder, and what both judges say."""

    def __init__(self, folder: Path, model: type[ResourceModel], bad: Sequence[str], at_least: int) -> None:
        """`bad`: names of the tables of bad manifests, which together have `at_least` so many cases."""
        self.model = model
        self.base: dict[str, Any] = _read(folder / "base.yaml")
        self.bad: list[Case] = [case for name in bad for case in _read(folder / f"{name}.yaml")]
        self.good: list[Case] = _read(folder / "good.yaml")
        self.crd = crd_of(model)
        self.collection = f"/apis/{API}/namespaces/default/{self.crd['spec']['names']['plural']}"
        self._at_least = at_least

    @property
    def every_bad(self) -> pytest.MarkDecorator:
        """Marks a test of each `case` that is to be refused."""
        return cases(self.bad)

    @property
    def every_good(self) -> pytest.MarkDecorator:
        """Marks a test of each `case` that is to be accepted."""
        return cases(self.good)

    def check_size(self) -> None:
        """The tables are as large as they were, and no name stands twice."""
        names = [case["name"] for case in (*self.bad, *self.good)]
        assert len(self.bad) >= self._at_least
        assert len(names) == len(set(names))

    # --- the manifests ------------------------------------------------------------------------------------------------

    def text_of(self, case: Case) -> str:
        """The manifest of a case, as a user would hand it in."""
        manifest = merged(self.base, case["patch"])
        for path in case.get("nulls", ()):
            *parents, last = path.split(".")
            owner = manifest
            for part in parents:
                owner = owner[part]
            owner[last] = None
        return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)

    def manifest_of(self, case: Case) -> dict[str, Any]:
        """The manifest of a case, read as kubectl would."""
        (document,) = read_documents(self.text_of(case))
        assert document.problem is None, document.problem
        return dict(document.manifest)

    # --- offline ------------------------------------------------------------------------------------------------------

    def check_refuses(self, case: Case) -> None:
        """The offline check names field and remedy of a bad case."""
        findings = check_text(self.text_of(case), [self.model]).findings
        said = "\n".join(str(finding) for finding in findings)
        for words in (case["field"], *case.get("says", ())):
            assert words in said
        assert findings
        for finding in findings:
            assert finding.problem.remedy, f"no remedy: {finding}"

    def check_accepts(self, case: Case) -> None:
        """The offline check finds nothing in a good case."""
        report = check_text(self.text_of(case), [self.model])
        assert [str(finding) for finding in report.findings] == []
        assert report.checked == 1

    # --- the API server -----------------------------------------------------------------------------------------------

    def serve(self, kube: KubeClient) -> KubeClient:
        """Have the API server serve the kind as this tree defines it."""
        name = self.crd["metadata"]["name"]
        kube.apply(self.crd)
        kube.wait_for(
            _CRD_API,
            _CRD,
            name,
            lambda found: (condition_of(found, "Established") or {}).get("status") == "True",
            timeout=30,
        )
        assert condition_of(kube.get(_CRD_API, _CRD, name), "NonStructuralSchema") is None
        return kube

    def dry_run(self, kube: KubeClient, manifest: Mapping[str, Any]) -> str:
        """What a strict API server says to a new object: its message, or nothing when it accepts."""
        try:
            kube.request("POST", self.collection, params=STRICT, body=dict(manifest))
        except ApiError as error:
            if error.status not in (400, 422):
                raise
            return error.message
        return ""

    def server_refuses(self, kube: KubeClient, case: Case) -> None:
        """The API server names the field, in the words that the table asks for."""
        said = self.dry_run(kube, self.manifest_of(case))
        assert said, "accepted"
        for words in (case["field"], *case.get("says", ())):
            assert words.lower() in said.lower()

    def server_accepts(self, kube: KubeClient, case: Case) -> None:
        """The API server has nothing against a good case."""
        assert self.dry_run(kube, self.manifest_of(case)) == ""

    def same_defaults(self, kube: KubeClient) -> None:
        """What the API server fills in the model would have filled in itself: the operator sees the same either way."""
        for case in self.good:
            manifest = self.manifest_of(case)
            manifest.pop("status", None)
            if "generateName" in manifest["metadata"]:
                continue
            stored = kube.request("POST", self.collection, params=STRICT, body=manifest)
            given, made = (self.model.parse(each).model_dump()["spec"] for each in (manifest, stored))
            assert made == given

    def judge_change(self, kube: KubeClient, namespace: str, change: Case) -> None:
        """Both refuse a change of a `field` that cannot change, or neither refuses (an empty `field`).

        `from` and `to` are merge patches on the spec: of the base before, and then.
        """
        old = merged(self.base, {"metadata": {"namespace": namespace}, "spec": change.get("from", {})})
        new = merged(old, {"spec": change["to"]})
        offline = "; ".join(str(problem) for problem in check_manifest(new, self.model, old))
        kube.create(old)
        kind, name = self.crd["spec"]["names"]["kind"], old["metadata"]["name"]
        try:
            kube.merge_patch(API, kind, name, {"spec": change["to"]}, namespace)
            online = ""
        except ApiError as error:
            online = error.message
        assert bool(offline) == bool(online) == bool(change["field"]), (offline, online)
        assert change["field"] in offline
        assert change["field"] in online
        if change.get("remedy", change["field"]):
            assert "set it back" in offline
            assert "set it back" in online

    # --- manifests that chance makes ----------------------------------------------------------------------------------

    def edits(self, words: str = "") -> st.SearchStrategy[Edits]:
        """One to three fields of the spec, set to something odd; `words`: what this kind makes a difference of,
        separated by |."""
        schema = self.crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        paths = sorted(_paths(schema, ("spec",)), key=str)
        scalars = st.one_of(
            st.none(),
            st.booleans(),
            st.sampled_from([-1, 0, 1, 2, 30, 600, 1000, 1001, 65536, 2**31, 0.5]),
            st.sampled_from([*_WORDS.split("|"), *words.split("|")]),
        )
        maps = st.dictionaries(
            st.sampled_from(["a", "cpu", "memory", "ameide.io/tier", "x/y", "-", "name"]), scalars, max_size=2
        )
        values = st.one_of(scalars, maps, st.lists(st.one_of(scalars, maps), max_size=2))
        return st.lists(st.tuples(st.sampled_from(paths), values), min_size=1, max_size=3)

    def agree_on(self, kube: KubeClient, edits: Edits) -> dict[str, Any] | None:
        """Assert that both accept or both refuse the base with these edits; the manifest if they accept it."""
        manifest = copy.deepcopy(self.base)
        for path, value in edits:
            _put(manifest, path, copy.deepcopy(value))
        offline = [str(problem) for problem in check_manifest(manifest, self.model)]
        online = self.dry_run(kube, manifest)
        assert bool(offline) == bool(online), f"check: {offline}\nAPI server: {online!r}\n{edits}"
        return None if online else manifest


_WORDS: Final = (
    "|a|A|orders|http|grpc|none|None|Recreate|RollingUpdate|0|0%|25%|500m|1Gi|1e3|.5|1.|Exists|Equal|NoExecute|latest|a/b"
    "|a.b|/tmp|/a/../b|x y|line\nbreak|a\n|ü|POD_X|DoNotSchedule|v1|metadata.uid|limits.cpu"
    f"|{'x' * 58}|{'x' * 64}"
)


def cases(table: Sequence[Case]) -> pytest.MarkDecorator:
    """Marks a test of each `case` of a table, by its name."""
    return pytest.mark.parametrize("case", table, ids=lambda case: str(case["name"]))


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _paths(schema: Mapping[str, Any], prefix: Field) -> Iterator[Field]:
    """Every field of a schema, the first item of a list standing for all."""
    for key, child in schema.get("properties", {}).items():
        yield (*prefix, key)
        yield from _paths(child, (*prefix, key))
    if "items" in schema:
        yield (*prefix, 0)
        yield from _paths(schema["items"], (*prefix, 0))


def _put(manifest: dict[str, Any], path: Field, value: Any) -> None:
    """Set a field, making objects and lists on the way."""
    owner: Any = manifest
    for part, following in pairwise(path):
        wanted: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            if not owner:
                owner.append(wanted)
            if not isinstance(owner[0], type(wanted)):
                owner[0] = wanted
            owner = owner[0]
        else:
            if not isinstance(owner.get(part), type(wanted)):
                owner[part] = wanted
            owner = owner[part]
    last = path[-1]
    if isinstance(last, int):
        owner[:] = [value]
    else:
        owner[last] = value
