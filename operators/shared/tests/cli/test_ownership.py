"""What a dry run of an apply leaves standing, although we no longer ask for it."""

from __future__ import annotations

from typing import Any

from ameide_shared.cli.ownership import owned_by_update, without_dropped

ENV = 'k:{"name":"%s"}'


def deployment(env: dict[str, str], *managers: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {
            "name": "orders-domain",
            "managedFields": [
                {"manager": manager, "operation": operation, "fieldsV1": fields}
                for manager, operation, fields in managers
            ],
        },
        "spec": {"paused": False, "env": [{"name": name, "value": value} for name, value in env.items()]},
    }


def fields(*env: str, paused: bool = False) -> dict[str, Any]:
    tree: dict[str, Any] = {"f:env": {ENV % name: {".": {}, "f:name": {}, "f:value": {}} for name in env}}
    return {"f:spec": tree | ({"f:paused": {}} if paused else {})}


CREATED = ("us", "Update", fields("A", "B", paused=True))


def test_what_we_alone_made_and_no_longer_name_goes() -> None:
    before = deployment({"A": "1", "B": "2"}, CREATED)
    after = deployment({"A": "3", "B": "2"}, CREATED, ("us", "Apply", fields("A")))
    fresh = deployment({"A": "3"})
    assert without_dropped(before, after, fresh, "us")["spec"]["env"] == [{"name": "A", "value": "3"}]


def test_defaults_stay_although_we_own_them() -> None:
    before = deployment({"A": "1"}, CREATED)
    after = deployment({"A": "1"}, CREATED, ("us", "Apply", fields("A")))
    assert without_dropped(before, after, deployment({"A": "1"}), "us")["spec"]["paused"] is False


def test_what_others_own_too_stays() -> None:
    before = deployment({"A": "1", "B": "2"}, CREATED, ("kubectl", "Update", fields("B")))
    after = deployment({"A": "1", "B": "2"}, CREATED, ("kubectl", "Update", fields("B")), ("us", "Apply", fields("A")))
    env = without_dropped(before, after, deployment({"A": "1"}), "us")["spec"]["env"]
    assert [entry["name"] for entry in env] == ["A", "B"]


def test_values_in_sets_go_by_value() -> None:
    tree = {"f:metadata": {"f:finalizers": {'v:"a"': {}, 'v:"b"': {}}}}
    kept = {"f:metadata": {"f:finalizers": {'v:"a"': {}}}}
    entries = [{"manager": "us", "operation": "Update", "fieldsV1": tree}]
    before = {"metadata": {"finalizers": ["a", "b"], "managedFields": entries}}
    applied = [*entries, {"manager": "us", "operation": "Apply", "fieldsV1": kept}]
    after = {"metadata": {"finalizers": ["a", "b"], "managedFields": applied}}
    fresh = {"metadata": {"finalizers": ["a"]}}
    assert without_dropped(before, after, fresh, "us")["metadata"]["finalizers"] == ["a"]


def test_status_updates_are_no_ownership_of_the_spec() -> None:
    entry = {"manager": "us", "operation": "Update", "subresource": "status", "fieldsV1": {}}
    assert not owned_by_update({"metadata": {"managedFields": [entry]}}, "us")
    assert owned_by_update(deployment({}, CREATED), "us")
