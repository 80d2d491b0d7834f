"""Policies from text, and every way in which a text is none."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest
import yaml

from agent_operator.policy import PolicyError, parse

EXAMPLE = Path(__file__).parents[4] / "examples" / "20-agent-policy.yaml"
GOOD = (Path(__file__).parent / "good.yaml").read_text()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_the_example_is_a_policy() -> None:
    policy = parse(EXAMPLE.read_text())
    assert policy.document.on_tightening == "Quarantine"
    assert policy.digest.startswith("sha256:")
    assert len(policy.digest) == 71


def test_the_smallest_policy_denies_everything() -> None:
    parse("{version: policy.ameide.io/v1, tiers: {}, models: [], providers: {}}")


BROKEN = {case["case"]: case for case in yaml.safe_load((Path(__file__).parent / "broken.yaml").read_text())}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_policy_is_named(case: str) -> None:
    wanted = BROKEN[case]
    text = changed(wanted["replace"], wanted["by"]) if "replace" in wanted else wanted.get("text", GOOD)
    with pytest.raises(PolicyError) as caught:
        parse(text + wanted.get("add", ""))
    found = [(problem.path, problem.line) for problem in caught.value.problems]
    assert found == [(wanted["path"], wanted["line"])], str(caught.value)
    assert wanted["message"] in caught.value.problems[0].message
    assert wanted.get("remedy", "") in caught.value.problems[0].remedy


def test_every_fault_is_listed() -> None:
    text = GOOD.replace("[{}]", "[]").replace("[openai/*]", "[openai]").replace("keys:", "kees:")
    with pytest.raises(PolicyError) as caught:
        parse(text)
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {"tiers.low.availableTo", "models[0].allow[0]", "credentials.key.kees", "credentials.key.keys"}
    assert len(str(caught.value).splitlines()) == 4


def test_too_long() -> None:
    with pytest.raises(PolicyError, match="longer than 1048576 bytes"):
        parse(GOOD + "#" * 1_048_576)


def test_a_config_map_is_taken_apart_and_keeps_its_lines() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\ndata:\n  policy.yaml: |\n"
    assert parse(text + indent(GOOD, "    ")).digest == parse(GOOD).digest
    with pytest.raises(PolicyError) as caught:
        parse(text + indent(changed("[openai/*]", "[openai]"), "    "))
    assert [problem.line for problem in caught.value.problems] == [13]


def test_digest_is_over_the_meaning() -> None:
    policy = parse(GOOD)
    assert parse("# a comment\n" + GOOD).digest == policy.digest
    head, _, tail = GOOD.partition("models:")
    assert parse(f"models:{tail}{head}").digest == policy.digest
    assert parse(changed("openai/*", "openai/gpt*")).digest != policy.digest


def test_null_is_absent() -> None:
    assert parse(GOOD + "roles:\nlimits: {maxParallelSessions: null}\n").document.roles == {}


def test_names_with_dots_and_numbers_are_texts() -> None:
    text = dedent("""\
        version: policy.ameide.io/v1
        tiers: {low: {availableTo: [{tenants: ["007", "1.5"]}]}}
        models: []
        providers: {}
        roles: {team.lead: {minTier: low}}
        """)
    policy = parse(text)
    assert policy.path(("roles", "team.lead", "minTier")) == "roles[team.lead].minTier"
    assert policy.path(("roles", "other", "minTier")) == "roles"
    assert policy.path(("limits", "logPrompts")) == "."


def test_policies_in_the_guide_are_policies() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "agent-policy.md").read_text()
    texts = [
        text for text in re.findall(r"^```yaml\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE) if "version:" in text
    ]
    assert len(texts) == 2
    for text in texts:
        parse(text)
