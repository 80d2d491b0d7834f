"""Settings, queries, the agenda and what counts as news: pure parts."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from ameide_shared.settings import OperatorSettings, describe, load
from process_operator.temporal import queries
from process_operator.temporal.agenda import Agenda
from process_operator.temporal.errors import TemporalRejected
from process_operator.temporal.model import (
    Namespace,
    NamespaceState,
    Observation,
    OpenWorkflows,
    Poller,
    Problem,
    ProblemKind,
    Target,
    TaskQueue,
    Usage,
    alive,
    bucket,
)
from process_operator.temporal.settings import TemporalConnection, TemporalSettings, TlsSettings

examples = settings(max_examples=200, deadline=None, derandomize=True, database=None)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLLER = Poller("1@pod", NOW, workflows=True, activities=True)


class Settings(OperatorSettings):
    """An operator's settings with those of Temporal."""

    temporal: TemporalSettings = Field(default_factory=TemporalSettings)


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_come_from_a_file_in_camel_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        """
temporal:
  checkSeconds: 10
  connections:
    default:
      address: temporal-frontend.temporal.svc:7233
      registerNamespaces: true
    cloud:
      address: acme.a1b2c.tmprl.cloud:7233
      apiKeyFile: /etc/temporal/api-key
      tls: {caFile: /etc/temporal/ca.crt, serverName: acme}
      namespaces: {"t1*": ["sales-*", "{tenant}"]}
"""
    )
    monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(file))
    temporal = load(Settings).temporal
    assert temporal.check_seconds == 10
    assert temporal.connections["default"].register_namespaces
    cloud = temporal.connections["cloud"]
    assert cloud.api_key_file == Path("/etc/temporal/api-key")
    assert cloud.tls == TlsSettings(ca_file=Path("/etc/temporal/ca.crt"), server_name="acme")
    assert cloud.namespaces == {"t1*": ("sales-*", "{tenant}")}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"default": {"address": "127.0.0.1:7233", "retentionDays": 3}}
    monkeypatch.setenv("AMEIDE_TEMPORAL__CONNECTIONS", json.dumps(table))
    assert load(Settings).temporal.connections["default"].retention_days == 3


def test_settings_are_described() -> None:
    described = {setting.path: setting for setting in describe(Settings)}
    assert described["temporal.connections"].env == "AMEIDE_TEMPORAL__CONNECTIONS"
    assert described["temporal.checkSeconds"].default == "30"
    assert all(setting.description for setting in described.values() if setting.path.startswith("temporal."))


@pytest.mark.parametrize(
    "address", ["temporal", "http://temporal:7233", "temporal:7233/x", "user:pw@temporal:7233", "", ":7233", "a b:1"]
)
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValidationError):
        TemporalConnection(address=address)


@pytest.mark.parametrize("address", ["temporal:7233", "10.0.0.7:7233", "[fd00::7]:7233", "a-b.c_d.svc:1"])
def test_addresses_that_are_fine(address: str) -> None:
    assert TemporalConnection(address=address).address == address


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"address": "a:1", "adress": "b:1"}, "Extra inputs"),
        ({"address": "a:1", "tls": {"certFile": "/c"}}, "belong together"),
        ({"address": "a:1", "retentionDays": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_in_a_connection_are_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TemporalConnection.model_validate(table)


def permitted(limits: dict[str, tuple[str, ...]], tenant: str, namespace: str) -> bool:
    connection = TemporalConnection(address="a:1", namespaces=limits)
    return TemporalSettings(connections={"default": connection}).permits("default", tenant, namespace)


def test_namespaces_are_free_unless_limited() -> None:
    assert permitted({}, "t1", "anything")
    assert not TemporalSettings().permits("elsewhere", "t1", "anything")  # a connection that does not exist


def test_namespaces_are_limited_per_tenant() -> None:
    limits = {"t1": ("sales-*",), "t2*": ("{tenant}-*", "shared")}
    assert permitted(limits, "t1", "sales-process")
    assert not permitted(limits, "t1", "shared")
    assert permitted(limits, "t2x", "t2x-a")
    assert permitted(limits, "t2x", "shared")
    assert not permitted(limits, "t2x", "t2-a")
    assert not permitted(limits, "t3", "sales-process")


@pytest.mark.parametrize("tenant", ["*", "t?", "[a-z]", "t[12]"])
def test_a_tenant_that_looks_like_a_glob_is_only_itself(tenant: str) -> None:
    assert permitted({"*": ("{tenant}",)}, tenant, tenant)
    assert not any(permitted({"*": ("{tenant}",)}, tenant, other) for other in ("t1", "a", "sales"))


@examples
@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_a_tenant_cannot_write_globs_into_its_limits(tenant: str, namespace: str) -> None:
    assert permitted({"*": ("{tenant}",)}, tenant, namespace) is (tenant == namespace)


# --- queries --------------------------------------------------------------------------------------------------------


def searchable(value: str) -> bool:
    return not any(letter in '\\"' or ord(letter) < 32 or ord(letter) == 127 for letter in value)


@examples
@given(st.text(min_size=1, max_size=30).filter(searchable))
def test_a_literal_means_its_value_and_ends_with_it(value: str) -> None:
    written = queries.literal(value)
    assert written[0] == written[-1] == "'"
    inner = written[1:-1]
    assert "'" not in inner.replace("''", "")
    assert inner.replace("''", "'") == value


@examples
@given(st.text(max_size=5), st.sampled_from('\\"\n\t\x00\x1f\x7f'), st.text(max_size=5))
def test_what_no_store_can_search_for_is_refused(before: str, letter: str, after: str) -> None:
    with pytest.raises(TemporalRejected, match="cannot search for") as caught:
        queries.literal(before + letter + after)
    assert "without backslashes" in caught.value.remedy


def test_queries() -> None:
    assert queries.open_workflows("l2o-tq") == "TaskQueue = 'l2o-tq' AND ExecutionStatus = 'Running'"
    assert queries.with_checksum_besides("q", ["b", "a"]).endswith(
        " AND AmeideDefinitionChecksum IS NOT NULL AND AmeideDefinitionChecksum NOT IN ('a', 'b')"
    )
    assert queries.with_checksum_besides("q", ()).endswith(" AND AmeideDefinitionChecksum IS NOT NULL")
    assert queries.without_checksum("q").endswith(" AND AmeideDefinitionChecksum IS NULL")


# --- model ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (9, 1), (10, 2), (99, 2), (100, 3), (12345, 5)])
def test_buckets(count: int, expected: int) -> None:
    assert bucket(count) == expected


def test_pollers_are_alive_for_a_while() -> None:
    pollers = (POLLER, replace(POLLER, identity="2@old", last_access=NOW - timedelta(seconds=91)))
    assert alive(pollers, NOW + timedelta(seconds=0), 90) == (POLLER,)
    assert alive(pollers, NOW + timedelta(seconds=91), 90) == ()
    # A server whose clock is ahead of ours.
    assert alive(pollers, NOW - timedelta(seconds=5), 90) == pollers


def test_zero_counts_when_it_is_seen_again() -> None:
    assert not OpenWorkflows(0, NOW, NOW).none_for(10)
    assert OpenWorkflows(0, NOW + timedelta(seconds=10), NOW).none_for(10)
    assert not OpenWorkflows(1, NOW).none_for(0)


PROBLEM = Problem(ProblemKind.Unreachable, "is not reachable: x", "check", NOW)
SEEN = Observation(
    Target("default", "sales", "q"),
    True,
    NOW,
    Namespace("sales", NamespaceState.Registered, timedelta(days=1)),
    TaskQueue((POLLER,), 12, 3, 4.5, "l2o.b1"),
    OpenWorkflows(3, NOW),
    Usage(frozenset({"sha256:a"}), True),
)


@pytest.mark.parametrize(
    "other",
    [
        replace(SEEN, checked_at=NOW + timedelta(seconds=30)),
        replace(SEEN, queue=TaskQueue((POLLER,), 57, 4, 90.0, "l2o.b1")),
        replace(SEEN, queue=TaskQueue((replace(POLLER, last_access=NOW + timedelta(1)),), 12, 3, 4.5, "l2o.b1")),
        replace(SEEN, open=OpenWorkflows(3, NOW + timedelta(seconds=30))),
        replace(SEEN, usage=Usage(frozenset({"sha256:a"}), True, checked_at=NOW)),
    ],
)
def test_what_is_no_news(other: Observation) -> None:
    assert other.significant == SEEN.significant


@pytest.mark.parametrize(
    "other",
    [
        replace(SEEN, reachable=False),
        replace(SEEN, problem=PROBLEM),
        replace(SEEN, namespace=Namespace("sales", NamespaceState.Deprecated, timedelta(days=1))),
        replace(SEEN, queue=TaskQueue((), 12, 3, 4.5, "l2o.b1")),
        replace(SEEN, queue=TaskQueue((replace(POLLER, identity="2@pod"),), 12, 3, 4.5, "l2o.b1")),
        replace(SEEN, queue=TaskQueue((POLLER,), 112, 3, 4.5, "l2o.b1")),
        replace(SEEN, queue=TaskQueue((POLLER,), 12, 3, 4.5, "l2o.b2")),
        replace(SEEN, open=OpenWorkflows(2, NOW)),
        replace(SEEN, usage=Usage(frozenset(), True)),
        replace(SEEN, usage=Usage(frozenset({"sha256:a"}), False)),
    ],
)
def test_what_is_news(other: Observation) -> None:
    assert other.significant != SEEN.significant


# --- agenda ---------------------------------------------------------------------------------------------------------

ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("take"), st.just(""), st.integers(0, 9)),
    )
)


@examples
@given(ORDERS)
def test_the_agenda_does_as_a_table_would(orders: list[tuple[str, str, int]]) -> None:
    agenda: Agenda[str] = Agenda()
    table: dict[str, int] = {}
    for what, item, number in orders:
        if what == "put":
            agenda.put(item, number)
            table[item] = number
        elif what == "drop":
            agenda.drop(item)
            table.pop(item, None)
        else:
            taken = agenda.take(number)
            due = [at for at in table.values() if at <= number]
            if taken is None:
                assert not due
            else:
                assert table.pop(taken) == min(due)
        assert agenda.first() == (min(table.values()) if table else None)
        assert {key: agenda.due(key) for key in "abcd" if agenda.due(key) is not None} == table
        assert len(agenda) == len(table)
