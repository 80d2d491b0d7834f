"""The JSON Schemas that are published say what the models say, and are current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from agent_operator.grants import build, grants_schema
from agent_operator.policy import PolicyError, Subject, evaluate, parse
from agent_operator.policy.schema import policy_schema

ROOT = Path(__file__).parents[4]
EXAMPLE = yaml.safe_load((ROOT / "examples" / "20-agent-policy.yaml").read_text())["data"]["policy.yaml"]
BROKEN = yaml.safe_load((Path(__file__).parent / "broken.yaml").read_text())


def validator(text: str) -> Draft202012Validator:
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_published_schemas_are_current() -> None:
    reference = ROOT / "docs" / "reference"
    assert (reference / "agent-policy.schema.json").read_text() == policy_schema()
    assert (reference / "grants.schema.json").read_text() == grants_schema()


def test_the_example_meets_the_schema() -> None:
    found = [error.message for error in validator(policy_schema()).iter_errors(yaml.safe_load(EXAMPLE))]
    assert found == []


def test_ports_in_short() -> None:
    document: dict[str, Any] = {"version": "policy.ameide.io/v1", "tiers": {}, "models": [], "providers": {}}
    for ports, good in [([443, "http", "4317/TCP", {"port": 1, "endPort": 3}], True), (["htp"], False), ([0], False)]:
        document["providers"] = {"p": {"egress": [{"peers": [{"cidr": "10.0.0.0/8"}], "ports": ports}]}}
        assert validator(policy_schema()).is_valid(document) is good
        text = json.dumps(document)
        if good:
            parse(text)
        else:
            with pytest.raises(PolicyError):
                parse(text)


# What a schema can say of one field alone; the rest are contradictions between fields, or no document at all.
BY_SCHEMA = {
    "no version", "another version", "no tiers", "unknown section", "unknown tier", "tier for nobody",
    "tier without availability", "allow as text", "no kind of tool", "too few parts", "unknown placeholder", "no glob",
    "nobody", "no model pattern", "misspelt field of a provider", "bad name", "credential without keys",
    "bad template", "bad Secret name", "unknown delivery", "address without scheme", "address with a password",
    "no address", "no port", "unknown role's tier", "limit of nothing", "limit as text", "unknown logPrompts",
    "unknown tightening",
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in BROKEN if case["case"] in BY_SCHEMA], ids=lambda case: case["case"])
def test_the_schema_refuses_what_parsing_refuses(case: dict[str, Any]) -> None:
    good = (Path(__file__).parent / "good.yaml").read_text()
    text = good.replace(case["replace"], case["by"]) if "replace" in case else case.get("text", good)
    document = yaml.safe_load(text + case.get("add", ""))
    if case["case"] == "no kind of tool":
        assert validator(policy_schema()).is_valid(document)  # which kinds there are is more than a pattern says
    else:
        assert not validator(policy_schema()).is_valid(document)


def test_grants_meet_their_schema() -> None:
    policy = parse(EXAMPLE)
    subject = Subject("shop", "a", "acme", "low", "echo", "x", max_parallel_sessions=1)
    grants = build(subject, evaluate(policy, subject), {})
    assert list(validator(grants_schema()).iter_errors(json.loads(grants.text))) == []
