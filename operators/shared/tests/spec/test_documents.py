"""YAML as kubectl reads it, and what is refused before any schema is asked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.spec.documents import MAX_NODES, read_documents, write_document


def one(text: str) -> Any:
    (document,) = read_documents(text)
    assert document.problem is None, document.problem
    return document.manifest


def fault(text: str) -> str:
    (document,) = read_documents(text)
    assert document.problem is not None
    return document.problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("y", True),
        ("Off", False),
        ("~", None),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1e3", 1000),
        ("3.0", 3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("017", 15),
        ("0x10", 16),
        ("1_000", 1000),
        ("500m", "500m"),
        ("1.12.3", "1.12.3"),
        ("=", "="),
        ('"1"', "1"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = one(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text() -> None:
    assert one("{1: a, true: b}") == {"1": "a", "true": "b"}


def test_anchors_and_merges_are_written_out() -> None:
    assert one("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}") == {
        "a": {"k": 1, "l": 2},
        "b": {"k": 1, "l": 2},
        "c": {"k": 3, "l": 2},
    }


def test_a_key_that_occurs_twice() -> None:
    assert "'a' occurs twice" in fault("a: 1\na: 2")


def test_an_alias_of_itself() -> None:
    assert "encloses" in fault("a: &x [*x]")


def test_a_document_that_blows_up() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" if n else "l0: &l0 [x]" for n in range(8)]
    assert str(MAX_NODES) in fault("\n".join(levels))


def test_a_document_nested_too_deeply_is_a_problem_and_no_crash() -> None:
    (document,) = read_documents("[" * 5000 + "]" * 5000)
    assert document.problem is not None


def test_half_of_a_surrogate_pair() -> None:
    assert "surrogate" in fault('a: "\\ud800"')


def test_python_tags_are_not_obeyed() -> None:
    assert "could not determine a constructor" in fault("a: !!python/object/apply:os.system [id]")


def test_documents_are_counted_without_empty_ones() -> None:
    documents = list(read_documents("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n"))
    assert [(document.index, document.manifest) for document in documents] == [(1, {"a": 1}), (2, {"b": 2})]


def test_a_syntax_error_has_a_line() -> None:
    good, bad = read_documents("a: 1\n---\nb: [1\nc: }")
    assert good.manifest == {"a": 1}
    assert bad.problem is not None
    assert bad.index == 2
    assert bad.first_line == 4


def test_lines_of_fields() -> None:
    (document,) = read_documents("a: 1\nb:\n  - c: 1\n  - d: 2\n    e: 3\n")
    assert document.line_of(("b", 1, "e")) == 5
    assert document.line_of(("b", 1, "missing")) == 4
    assert document.line_of(("missing",)) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=3))
def test_what_is_json_stays_the_same(value: dict[str, Any]) -> None:
    assert one(json.dumps(value)) == value


TRAPS = st.sampled_from(
    [
        "y",
        "N",
        "on",
        "1e3",
        "1_000",
        "0o7",
        "12:30",
        "2024-01-31",
        "=",
        "<<",
        "~",
        "",
        " a",
        "a: b",
        "\x85",
        "\u2028",
        "\r",
    ]
)


@given(st.dictionaries(st.sampled_from("abc") | TRAPS, JSON | TRAPS, min_size=1, max_size=3))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert one(write_document(value)) == value


def test_text_that_looks_like_something_else_is_quoted() -> None:
    assert write_document({"a": "y", "b": True, "c": "1e3", "d": 3, "e": "orders"}) == (
        "a: 'y'\nb: true\nc: '1e3'\nd: 3\ne: orders\n"
    )
