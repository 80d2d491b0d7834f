"""Which version an operator says it is: its image's release, else the package's."""

from __future__ import annotations

from importlib import metadata

import pytest

from ameide_shared.metrics import Metrics
from ameide_shared.settings import OperatorSettings, unknown_variables
from ameide_shared.version import version_of


@pytest.mark.parametrize("told", ["1.4.0", "1.5.0-rc.1", "main-3f2a1c9"])
def test_an_image_knows_its_release(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_VERSION", told)
    assert version_of("domain-operator") == told


@pytest.mark.parametrize("told", [None, "", "0.0.0"])
def test_without_a_release_it_is_the_package(told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMEIDE_VERSION", raising=False)
    if told is not None:
        monkeypatch.setenv("AMEIDE_VERSION", told)
    assert version_of("domain-operator") == metadata.version("domain-operator")


def test_the_release_is_no_setting_that_was_mistyped() -> None:
    assert unknown_variables(OperatorSettings, {"AMEIDE_VERSION": "1.4.0", "AMEIDE_VERSIN": "1"}) == ["AMEIDE_VERSIN"]


def test_metrics_tell_the_build() -> None:
    metrics = Metrics("domain")
    metrics.built("1.4.0", "3.13.5")
    line = 'ameide_build_info{controller="domain",python="3.13.5",version="1.4.0"} 1.0'
    assert line in metrics.render().decode().splitlines()
