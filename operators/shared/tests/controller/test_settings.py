"""Settings: environment over file over defaults, errors that name the variable, and a complete description."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from ameide_shared.settings import (
    OperatorSettings,
    Section,
    SettingsError,
    WatchSettings,
    Words,
    describe,
    load,
    unknown_variables,
)


class Provisioning(Section):
    image: str = Field("psql:17", description="Image of provisioning Jobs.")
    arguments: Words = Field((), description="Its arguments.")


class DomainSettings(OperatorSettings):
    provisioning: Provisioning = Field(default_factory=Provisioning)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("AMEIDE_"):
            monkeypatch.delenv(name)


def write(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(text)
    monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(path))


def test_environment_over_file_over_defaults_within_one_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(
        tmp_path / "settings.yaml",
        "workers: 4\nleaderElection: {enabled: false, retryPeriod: 1}\nimages: {allowed: [ghcr.io/*]}\n"
        "pods: {nodeSelector: {someLabel: x}}\nreferences: {allowed: [{from: a-*, to: b}]}\n"
        "provisioning: {image: psql:18}\n",
        monkeypatch,
    )
    monkeypatch.setenv("AMEIDE_LEADER_ELECTION__ENABLED", "true")
    monkeypatch.setenv("AMEIDE_IMAGES", '{"requireDigest": true}')
    monkeypatch.setenv("AMEIDE_WATCH__NAMESPACES", "team-*, other")
    monkeypatch.setenv("AMEIDE_PROVISIONING__ARGUMENTS", '["-v", "a,b"]')
    settings = load(DomainSettings)
    assert settings.workers == 4
    assert settings.leader_election.enabled
    assert settings.leader_election.retry_period == 1
    assert settings.images.require_digest
    assert settings.images.allowed == ("ghcr.io/*",)
    assert settings.watch.namespaces == ("team-*", "other")
    assert settings.pods.node_selector == {"someLabel": "x"}
    assert (settings.references.allowed[0].source, settings.references.allowed[0].target) == ("a-*", "b")
    assert settings.provisioning.image == "psql:18"
    assert settings.provisioning.arguments == ("-v", "a,b")


def test_errors_name_setting_and_variable_and_no_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "settings.yaml", "workers: hunter22\nleaderElection: {enable: true}\n", monkeypatch)
    monkeypatch.setenv("AMEIDE_LEADER_ELECTION__RETRY_PERIOD", "100")
    with pytest.raises(SettingsError) as caught:
        load(OperatorSettings)
    message = str(caught.value)
    assert "workers (AMEIDE_WORKERS)" in message
    assert "leaderElection.enable (AMEIDE_LEADER_ELECTION__ENABLE): Extra inputs" in message
    assert "hunter22" not in message
    monkeypatch.delenv("AMEIDE_SETTINGS_FILE")
    with pytest.raises(SettingsError, match=r"leaderElection.*renewDeadline"):
        load(OperatorSettings)


def test_a_wrong_network_profile_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_NETWORK_PROFILES", '{"mine": {"egres": []}}')
    with pytest.raises(SettingsError, match=r"networkProfiles\.mine\.egres"):
        load(OperatorSettings)


@pytest.mark.parametrize("text", ["{", "- a list", None])
def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "settings.yaml"
    if text is None:
        monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(path))
    else:
        write(path, text, monkeypatch)
    with pytest.raises(SettingsError, match=r"settings\.yaml"):
        load(OperatorSettings)


def test_the_description_is_complete_and_its_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {setting.env: setting for setting in describe(DomainSettings)}
    assert described["AMEIDE_PROVISIONING__IMAGE"].default == "psql:17"
    assert described["AMEIDE_LEADER_ELECTION__LEASE_DURATION"].path == "leaderElection.leaseDuration"
    assert all(setting.description for setting in described.values())
    samples = {"integer": "7", "number": "7", "boolean": "true", "text": "x", "path": "/x", "list of text": "x"}
    left_out = {"AMEIDE_LEADER_ELECTION__LEASE_DURATION", "AMEIDE_LEADER_ELECTION__RENEW_DEADLINE"}
    for setting in described.values():
        if setting.type in samples and setting.env not in left_out:
            monkeypatch.setenv(setting.env, samples[setting.type])
    settings = load(DomainSettings)
    assert settings.workers == 7
    assert settings.leader_election.retry_period == 7
    assert settings.images.registry_check.cache_seconds == 7
    assert settings.service_monitor.interval_seconds == 7
    assert unknown_variables(DomainSettings) == []


def test_typing_errors_in_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_WORKES", "3")
    monkeypatch.setenv("AMEIDE_UI_SERVICE_HOST", "10.0.0.7")  # of a Service ameide-ui
    monkeypatch.setenv("AMEIDE_UI_PORT_8080_TCP_ADDR", "10.0.0.7")
    monkeypatch.setenv("AMEIDE_SERVICE_MONITOR__LABELS__RELEASE", "x")  # an entry of a table
    assert unknown_variables(OperatorSettings) == ["AMEIDE_WORKES"]
    assert load(OperatorSettings).service_monitor.labels == {"release": "x"}
    monkeypatch.setenv("AMEIDE_WATCH__NAMESPACE", "x")  # within a known group it is an error
    with pytest.raises(SettingsError, match="AMEIDE_WATCH__NAMESPACE"):
        load(OperatorSettings)


def test_cluster_wide_rights_are_needed_for_globs_and_exclusions_only() -> None:
    assert WatchSettings().cluster_wide
    assert WatchSettings(namespaces=("team-*",)).cluster_wide
    assert WatchSettings(namespaces=("a",), exclude=("b",)).cluster_wide
    assert not WatchSettings(namespaces=("a", "b")).cluster_wide


def test_settings_do_not_change_once_loaded() -> None:
    settings = load(OperatorSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 3  # type: ignore[misc]  # that it is refused is the point
