"""The offline check of whole files: which documents it judges, and what it says of the others."""

from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from ameide_shared.check import check_manifest, check_text
from ameide_shared.spec import CommonSpec, CommonStatus, Model, ResourceModel


class Gadget(ResourceModel):
    """A gadget."""

    PLURAL: ClassVar[str] = "gadgets"
    STATUS: ClassVar[type[Model]] = CommonStatus

    kind: Literal["Gadget"] = Field(description="Kind.")
    spec: CommonSpec = Field(description="Spec.")


GOOD = """\
apiVersion: ameide.io/v1
kind: Gadget
metadata: {name: a, namespace: shop}
spec: {image: x}
"""


def said(text: str) -> list[str]:
    return [str(finding) for finding in check_text(text, [Gadget], "f.yaml").findings]


def test_other_kinds_are_counted_and_left_alone() -> None:
    report = check_text(f"{GOOD}---\napiVersion: v1\nkind: Secret\nmetadata: {{nonsense: 1}}\n", [Gadget])
    assert (report.checked, report.skipped, report.ok) == (1, 1, True)


def test_a_finding_names_file_line_object_field_and_remedy() -> None:
    report = check_text(f"{GOOD}---\n{GOOD.replace('image: x', 'image: x, replica: 1')}", [Gadget], "f.yaml")
    (finding,) = report.findings
    assert str(finding) == (
        "f.yaml:9: Gadget shop/a: spec.replica: is not a field that this kind knows; did you mean replicas?"
    )
    assert finding.as_dict() == {
        "file": "f.yaml",
        "document": 2,
        "line": 9,
        "object": "Gadget shop/a",
        "field": "spec.replica",
        "message": "is not a field that this kind knows",
        "remedy": "did you mean replicas?",
    }


def test_lists_are_taken_apart() -> None:
    item = {"apiVersion": "ameide.io/v1", "kind": "Gadget", "metadata": {"name": "a"}, "spec": {"image": "X"}}
    text = str({"apiVersion": "v1", "kind": "List", "items": [item, item]})
    report = check_text(text, [Gadget])
    assert report.checked == 2
    assert [finding.problem.field for finding in report.findings] == ["spec.image", "spec.image"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ameide.io/v1", "ameide.io/v2"), "apiVersion: ameide.io/v2 is not a served version; write ameide.io/v1"),
        (("kind: Gadget", "kind: Gizmo"), "kind: Gizmo is not checked here; this program checks Gadget"),
        (("kind: Gadget\n", ""), "kind: is missing"),
        (("{name: a, namespace: shop}", "[]"), "metadata: is required"),
        (("name: a,", ""), "metadata.name: is required; choose a name, or set generateName"),
        (("namespace: shop", "namespace: Shop"), "metadata.namespace: 'Shop' is not the name of a namespace"),
        (
            ("name: a,", "name: a, labels: {x: yes},"),
            'metadata.labels[x]: must be a string; write it in quotes: "true"',
        ),
        (("name: a,", "name: a, annotations: {x/y/z: v},"), "is not the key of a label or annotation"),
        (("{image: x}", "{image: x}\nspce: {}"), "spce: is not a field that this kind knows; did you mean spec?"),
    ],
)
def test_faults_outside_of_the_spec(change: tuple[str, str], words: str) -> None:
    assert words in "\n".join(said(GOOD.replace(*change)))


def test_what_is_no_object() -> None:
    assert said("- 1\n- 2\n") == [
        "f.yaml:1: document: document: is not an object; write apiVersion, kind, metadata and spec"
    ]


def test_annotations_are_limited_together() -> None:
    metadata = {"name": "a", "annotations": {f"k{n}": "v" * 10_000 for n in range(30)}}
    manifest: dict[str, Any] = {
        "apiVersion": "ameide.io/v1",
        "kind": "Gadget",
        "metadata": metadata,
        "spec": {"image": "x"},
    }
    (problem,) = check_manifest(manifest, Gadget)
    assert problem.field == "metadata.annotations"
