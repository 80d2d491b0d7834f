"""Quantities and the checks that types carry."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ameide_shared.spec.quantities import QUANTITY_REGEX, Quantity, quantity_value
from ameide_shared.spec.types import IMAGE_REGEX, WritablePath


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Decimal("0.5")),
        ("1", Decimal(1)),
        ("1.5Gi", Decimal(1610612736)),
        (".5", Decimal("0.5")),
        ("2k", Decimal(2000)),
        ("1E", Decimal(10) ** 18),
        ("1e3", Decimal(1000)),
        ("1E3", Decimal(1000)),
        ("1e-3", Decimal("0.001")),
        ("1Ei", Decimal(2) ** 60),
        ("100n", Decimal("1e-7")),
    ],
)
def test_quantity_values(text: str, value: Decimal) -> None:
    assert quantity_value(text) == value


@given(st.from_regex(QUANTITY_REGEX, fullmatch=True).filter(lambda text: len(text) <= 32 and text.isascii()))
def test_every_quantity_that_is_accepted_has_a_value(text: str) -> None:
    accepted: str = TypeAdapter(Quantity).validate_python(text)
    assert quantity_value(accepted) >= 0


@given(st.integers(min_value=0, max_value=10**15))
def test_integers_are_quantities(number: int) -> None:
    accepted: str = TypeAdapter(Quantity).validate_python(number)
    assert quantity_value(accepted) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1Mb", "1 Gi", "1Ki\n", "K", "1K", "0x1", "1" * 33])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Quantity).validate_python(text)


@pytest.mark.parametrize(
    "reference",
    [
        "orders",
        "orders:1",
        "ghcr.io/ameide/orders:1.2.3-rc.1",
        "localhost:5000/a/b__c/d-e:x",
        "ghcr.io/a@sha256:" + "0" * 64,
        "ghcr.io/a:1@sha256:" + "f" * 64,
    ],
)
def test_image_references(reference: str) -> None:
    assert re.fullmatch(IMAGE_REGEX, reference)


@pytest.mark.parametrize(
    "reference", ["Orders", "a//b", "a:", "a:b:c", "a@sha256:12", "-a", "a/", "a b", "https://a/b"]
)
def test_what_is_no_image_reference(reference: str) -> None:
    assert not re.fullmatch(IMAGE_REGEX, reference)


@pytest.mark.parametrize("path", ["/tmp", "/var/cache/a.b", "/.cache", "/a/b-c_d"])
def test_writable_paths(path: str) -> None:
    assert TypeAdapter(WritablePath).validate_python(path) == path


@pytest.mark.parametrize(
    "path", ["/", "//", "/a/", "/a//b", "/a/../b", "/a/./b", "a", "/a:b", "/proc", "/sys/x", "/a\n"]
)
def test_what_is_no_writable_path(path: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(WritablePath).validate_python(path)
