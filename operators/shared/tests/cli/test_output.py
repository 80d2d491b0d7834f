"""What the command line prints never holds the value of a Secret, and reads back as what it was."""

from __future__ import annotations

import base64

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.cli.output import GENERATED, redacted, secret_text, shown, to_yaml
from ameide_shared.plan import EnsureSecret, FromSecret, Generated, Text
from ameide_shared.redact import fingerprint
from ameide_shared.snapshot import redacted_secret

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=("Cc",))),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc-/", min_size=1), below, max_size=3),
    max_leaves=20,
)


def secret(**values: str) -> dict[str, object]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}


def test_values_become_fingerprints_wherever_they_come_from() -> None:
    live = secret(password="correct horse")
    expected = {"password": fingerprint("correct horse")}
    assert redacted(live)["stringData"] == expected
    assert redacted(redacted_secret(live))["stringData"] == expected
    assert redacted({**live, "data": {}, "stringData": {"password": "correct horse"}})["stringData"] == expected
    assert "data" not in redacted(live)


def test_known_words_are_shown_and_only_those() -> None:
    shown_values = redacted(secret(a=GENERATED, b="<other>"), frozenset({GENERATED}))["stringData"]
    assert shown_values == {"a": GENERATED, "b": fingerprint("<other>")}


def test_a_planned_secret_says_what_it_is_made_of() -> None:
    source = FromSecret("data", "orders-app", "password")
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}}
    values = {
        "user": "orders",
        "password": source,
        "uri": Text(("postgresql://orders:", source, "@db")),
        "new": Generated(),
    }
    assert shown(EnsureSecret(manifest, values, "connection"))["stringData"] == {
        "user": fingerprint("orders"),
        "password": "<from Secret data/orders-app, key password>",
        "uri": "<composed with Secret data/orders-app, key password>",
        "new": "<generated>",
    }
    assert secret_text(Text(("a", source, source))).count("orders-app") == 1


@given(JSON)
def test_yaml_reads_back_as_what_it_was(value: object) -> None:
    assert yaml.safe_load(to_yaml({"value": value})) == {"value": value}


def test_text_of_several_lines_is_written_as_such() -> None:
    assert to_yaml({"script": "one\ntwo\n"}) == "script: |\n  one\n  two\n"
