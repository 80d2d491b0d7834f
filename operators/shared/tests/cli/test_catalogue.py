"""The catalogue of reasons, and what the command line makes of it and of the settings."""

from __future__ import annotations

import json

from click.testing import CliRunner

from ameide_shared.cli import settings
from ameide_shared.cli.reasons import reasons_command
from ameide_shared.reasons import CATALOGUE, Reason
from ameide_shared.settings import OperatorSettings, describe

GOOD_NEWS = {
    Reason.AllResourcesHealthy,
    Reason.AsExpected,
    Reason.Available,
    Reason.NotRequired,
    Reason.DatabaseReady,
    Reason.MigrationComplete,
    Reason.DefinitionReady,
    Reason.DependenciesReady,
    Reason.TemporalReady,
    Reason.WorkersPolling,
    Reason.PolicyCompliant,
    Reason.SecretsReady,
    Reason.GrantsReady,
    Reason.RuntimeReady,
    Reason.RouteAccepted,
    Reason.AuthConfigured,
    Reason.NoFailure,
    Reason.ScaledToZero,
}


def test_every_reason_is_explained_in_the_order_of_the_enum() -> None:
    assert list(CATALOGUE) == list(Reason)
    for reason, entry in CATALOGUE.items():
        assert entry.cause.endswith("."), reason
        assert "|" not in entry.cause + entry.remedy, f"{reason}: would break the table"


def test_whatever_is_no_good_news_has_a_remedy() -> None:
    assert {reason for reason, entry in CATALOGUE.items() if not entry.remedy} == GOOD_NEWS


def test_reasons_as_a_table_and_as_json() -> None:
    table = CliRunner().invoke(reasons_command, []).output.splitlines()
    assert len(table) == len(Reason) + 2
    result = CliRunner().invoke(reasons_command, ["MigrationFailed", "-o", "json"])
    assert json.loads(result.output) == {
        "MigrationFailed": {
            "cause": CATALOGUE[Reason.MigrationFailed].cause,
            "remedy": CATALOGUE[Reason.MigrationFailed].remedy,
        }
    }
    assert CliRunner().invoke(reasons_command, ["Nonsense"]).exit_code == 2


def test_every_setting_is_listed() -> None:
    listed = describe(OperatorSettings)
    table = settings.markdown(listed).splitlines()
    assert len(table) == len(listed) + 2
    assert all(row.count("|") - row.count("\\|") == 6 for row in table)
    text = settings.text(listed)
    assert all(setting.env in text for setting in listed)
