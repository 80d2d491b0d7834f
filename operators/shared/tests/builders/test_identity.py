"""Names, labels and ownership of children."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.builders.environment import literal, merged_env, standard_env
from ameide_shared.builders.identity import (
    Primitive,
    all_pods_selector,
    bounded_name,
    child_metadata,
    foreign_child_metadata,
    foreign_name,
    image_version,
    is_owned,
    label_value,
    pod_labels,
    primitive_of,
    selector_labels,
)

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
KINDS = ("Domain", "Process", "Agent", "UISurface")

primitives = st.builds(
    Primitive,
    kind=st.sampled_from(KINDS),
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,44}[a-z0-9])?", fullmatch=True),
    namespace=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    uid=st.just("uid-1"),
)

ORDERS = Primitive("Domain", "orders", "shop", "uid-1", tenant_id="t1")


@given(primitives, st.sampled_from(["", "-app", "-owner-0123456789"]))
def test_every_name_fits_and_is_valid(primitive: Primitive, suffix: str) -> None:
    names = (
        primitive.child_name,
        primitive.canary_name,
        foreign_name(primitive, suffix),
        bounded_name(primitive.child_name, "-0123456789"),
        f"{primitive.name}-migrate-01234567",
    )
    for name in names:
        assert len(name) <= 63, name
        assert OBJECT_NAME.fullmatch(name), name


def test_foreign_names_keep_apart_what_dashes_would_join() -> None:
    names = {
        foreign_name(Primitive("Domain", "c", "a-b", "1")),
        foreign_name(Primitive("Domain", "b-c", "a", "1")),
        foreign_name(Primitive("Process", "b-c", "a", "1")),
    }
    assert len(names) == 3
    assert all(name.startswith("a-b-c-") for name in names)


def test_bounded_names_stay_apart_and_the_same() -> None:
    long = "a" * 70
    assert bounded_name("short", "-x") == "short-x"
    assert bounded_name(long, "-x") == bounded_name(long, "-x")
    assert bounded_name(long, "-x") != bounded_name(long + "b", "-x")
    assert len(bounded_name(long, "-x")) == 63


@given(st.text(max_size=100))
def test_label_values_are_valid_whatever_goes_in(text: str) -> None:
    value = label_value(text)
    assert len(value) <= 63
    assert LABEL_VALUE.fullmatch(value)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("ghcr.io/a/b:1.2.3", "1.2.3"),
        ("ghcr.io/a/b:1.2.3@sha256:" + "ab" * 32, "1.2.3"),
        ("ghcr.io/a/b@sha256:" + "ab" * 32, "abababababab"),
        ("registry:5000/a/b", "latest"),
        ("registry:5000/a/b:7", "7"),
        ("nginx", "latest"),
    ],
)
def test_version_of_an_image(image: str, version: str) -> None:
    assert image_version(image) == version


@pytest.mark.parametrize("track", ["stable", "canary", "job"])
def test_the_service_selects_serving_pods_and_the_policy_all(track: str) -> None:
    labels = pod_labels(ORDERS, track, "1", {"ameide.io/name": "hijack", "mine": "x"})
    assert labels["ameide.io/name"] == "orders"
    assert labels["mine"] == "x"
    assert (selector_labels(ORDERS).items() <= labels.items()) is (track != "job")
    assert (selector_labels(ORDERS, track).items() <= labels.items()) is (track != "job")
    selector = all_pods_selector(ORDERS)
    assert selector["matchLabels"].items() <= labels.items()
    [expression] = selector["matchExpressions"]
    assert labels[expression["key"]] in expression["values"]
    assert primitive_of(labels) == "domain"


def test_namesakes_of_other_kinds_are_not_selected() -> None:
    process = Primitive("Process", "orders", "shop", "uid-2")
    assert not selector_labels(ORDERS).items() <= pod_labels(process, "stable", "1", {}).items()
    assert primitive_of({}) == ""


def test_ownership_is_by_uid() -> None:
    same_name = Primitive("Domain", "orders", "shop", "uid-2")
    child = {"metadata": child_metadata(ORDERS)}
    foreign = {"metadata": foreign_child_metadata(ORDERS, "cnpg", "x")}
    assert is_owned(ORDERS, child)
    assert is_owned(ORDERS, foreign)
    assert not is_owned(same_name, child)
    assert not is_owned(same_name, foreign)
    assert not is_owned(ORDERS, {"metadata": {"namespace": "shop", "name": "x"}})


def test_foreign_children_lead_back_and_are_left_alone_by_argo() -> None:
    metadata = foreign_child_metadata(ORDERS, "cnpg", "x", labels={"cnpg.io/reload": "true"})
    assert metadata["labels"]["ameide.io/owner-namespace"] == "shop"
    assert metadata["labels"]["ameide.io/owner-name"] == "orders"
    assert metadata["labels"]["cnpg.io/reload"] == "true"
    assert metadata["annotations"]["ameide.io/owner-uid"] == "uid-1"
    assert "app.kubernetes.io/instance" not in metadata["labels"]
    assert "ownerReferences" not in metadata


# --- environment ------------------------------------------------------------------------------------------------


def test_the_first_definition_of_a_variable_stays_in_place() -> None:
    env = merged_env(
        [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], [{"name": "A", "value": "3"}, {"name": "C"}]
    )
    assert env == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C"}]


def expand(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of a value: `$(NAME)` expands if it is known, `$$` is a dollar sign, the rest stays."""

    def one(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


@given(st.text(alphabet="$()AB ", max_size=12))
def test_literals_come_out_of_the_expansion_as_they_went_in(text: str) -> None:
    assert expand(literal(text), {"A": "1", "B": "2", "AB": "3", "": "4"}) == text


def test_what_authors_write_is_not_expanded() -> None:
    primitive = Primitive("Domain", "orders", "shop", "1", tenant_id="t$(POD_NAME),x=1")
    env = {item["name"]: item.get("value") for item in standard_env(primitive, image="a:1", log_level="info")}
    assert env["AMEIDE_TENANT_ID"] == "t$$(POD_NAME),x=1"
    assert "ameide.tenant.id=t%24%28POD_NAME%29%2Cx%3D1" in str(env["OTEL_RESOURCE_ATTRIBUTES"])
