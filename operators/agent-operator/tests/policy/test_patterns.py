"""Patterns over tools and models."""

from __future__ import annotations

import itertools
import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_operator.policy.patterns import PatternError, covers, is_plain, matches, minimal, model_matches, tool_pattern

PATTERNS = st.text(alphabet="ab*?", max_size=6)
TEXTS = ["".join(text) for size in range(6) for text in itertools.product("abc", repeat=size)]
SETTINGS = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@SETTINGS
@given(PATTERNS)
def test_globs_match_as_shells_do(pattern: str) -> None:
    assert [text for text in TEXTS if matches(pattern, text)] == [text for text in TEXTS if fnmatchcase(text, pattern)]


@SETTINGS
@given(PATTERNS, PATTERNS)
def test_covering_is_inclusion_of_what_is_matched(general: str, special: str) -> None:
    """The alphabet has a letter that neither pattern names: it stands for all others."""
    inclusion = all(fnmatchcase(text, general) for text in TEXTS if fnmatchcase(text, special))
    if covers(general, special):
        assert inclusion
    elif inclusion and "?" not in general:
        longer = ("".join(text) for text in itertools.product("abc", repeat=6))
        assert any(fnmatchcase(text, special) and not fnmatchcase(text, general) for text in longer)


@SETTINGS
@given(st.frozensets(PATTERNS, max_size=5))
def test_minimal_patterns_match_the_same(patterns: frozenset[str]) -> None:
    kept = minimal(patterns)
    for text in TEXTS:
        assert any(fnmatchcase(text, one) for one in kept) == any(fnmatchcase(text, one) for one in patterns)
    assert len(kept) <= len(patterns)
    assert minimal(frozenset(kept)) == kept


def test_matching_takes_linear_time() -> None:
    began = time.monotonic()
    assert not matches("*a" * 100 + "*b", "a" * 5000)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("pattern", "tool", "about"),
    [
        ("domain/shop/orders", ("domain", "shop", "orders"), True),
        ("domain/shop/orders", ("domain", "shop", "orders-2"), False),
        ("domain/shop/*", ("domain", "shop", "orders"), True),
        ("domain/*/orders", ("domain", "elsewhere", "orders"), True),
        ("domain/shop/ord?rs", ("domain", "shop", "orders"), True),
        ("domain/*/*", ("process", "shop", "orders"), False),
        ("*/*/*", ("process", "shop", "orders"), True),
        ("*/*/*", ("primitive", "", "cli"), False),
        ("primitive/*", ("primitive", "", "cli"), True),
        ("primitive/*", ("domain", "shop", "cli"), False),
        ("primitive/cli", ("primitive", "", "cli-2"), False),
        ("**", ("primitive", "", "cli"), True),
        ("**", ("agent", "shop", "coach"), True),
        ("domain/{namespace}/*", ("domain", "own", "orders"), True),
        ("domain/{namespace}/*", ("domain", "shop", "orders"), False),
        ("domain/*", ("domain", "shop", "orders"), None),
    ],
)
def test_what_a_pattern_is_about(pattern: str, tool: tuple[str, str, str], about: bool | None) -> None:
    if about is None:
        with pytest.raises(PatternError):
            tool_pattern(pattern)
    else:
        assert tool_pattern(pattern).is_for(*tool, own_namespace="own") is about


def test_own_namespace_is_no_pattern_itself() -> None:
    """A namespace's name never acts as a glob, whatever the author of an Agent could call it."""
    assert not tool_pattern("domain/{namespace}/*").is_for("domain", "shop", "orders", own_namespace="*")


@pytest.mark.parametrize(
    ("pattern", "operation"),
    [
        ("domain/a/b", "*"),
        ("domain/a/b:Get*", "Get*"),
        ("**", "*"),
        ("**:Delete*", "Delete*"),
        ("primitive/x:a/b", "a/b"),
    ],
)
def test_operations(pattern: str, operation: str) -> None:
    assert tool_pattern(pattern).operation == operation


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("", "''"),
        ("orders", "'orders'"),
        ("domein/shop/orders", "'domein'"),
        ("domain/shop", "1 part"),
        ("domain/shop/orders/x", "3 parts"),
        ("primitive/a/b", "2 parts"),
        ("domain//orders", "''"),
        ("domain/shop/", "''"),
        ("domain/Shop/orders", "'Shop'"),
        ("domain/shop/[ab]", "'[ab]'"),
        ("domain/{tenant}/orders", "'{tenant}'"),
        ("domain/shop/{namespace}", "'{namespace}'"),
        ("primitive/{namespace}", "'{namespace}'"),
        ("domain/shop/orders:", "''"),
        ("domain/shop/orders:Get Order", "'Get Order'"),
        ("**/x", "**/"),
    ],
)
def test_what_is_no_pattern_is_named(pattern: str, named: str) -> None:
    with pytest.raises(PatternError) as caught:
        tool_pattern(pattern)
    assert named in caught.value.message
    assert "domain/<namespace>/<name>" in caught.value.remedy or "*" in pattern


@pytest.mark.parametrize(
    ("pattern", "provider", "name", "matched"),
    [
        ("openai/gpt-5*", "openai", "gpt-5.1-pro", True),
        ("openai/gpt-5*", "openai", "GPT-5", True),
        ("openai/gpt-4", "openai", "Gpt-4", True),
        ("openai/*", "azure", "gpt-5", False),
        ("*/*", "hub", "meta/llama:70b", True),
        ("hub/meta/*", "hub", "meta/llama", True),
        ("hub/meta/*", "hub", "other/llama", False),
    ],
)
def test_models(pattern: str, provider: str, name: str, matched: bool) -> None:
    assert model_matches(pattern, provider, name) is matched


@pytest.mark.parametrize("text", ["Del*", "Get?", "", "a b", "gpt-4 ", "gpt\u20114", "a\nb", "{x}"])
def test_texts_that_patterns_cannot_judge(text: str) -> None:
    assert not is_plain(text)
