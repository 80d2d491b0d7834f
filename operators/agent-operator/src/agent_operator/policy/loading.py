"""From text to a Policy: read, check against the document's form, then against itself; every fault is named.

The text is the policy itself, or a ConfigMap that holds it under `policy.yaml`, as repositories keep it. A fault has
the path of the field, its line, what is wrong and what to do. A document with any fault is no policy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent_operator.policy.document import RUNTIME_ENV, Credential, PolicyDocument, Reached, plain
from agent_operator.policy.patterns import is_literal, model_pattern, tool_pattern
from ameide_shared.spec.documents import Document, read_documents
from ameide_shared.spec.env import RESERVED_ENV_COMMON
from ameide_shared.spec.problems import Location, Problem, path_of, problem_of

MAX_BYTES: Final = 1_048_576
"""Longest text of a policy: what a ConfigMap holds."""

CONFIG_MAP_KEY: Final = "policy.yaml"
"""Where a ConfigMap holds the policy."""

_MAPS: Final = ("providers", "roles", "credentials", "primitives")
_RESERVED_ENV: Final = re.compile(f"{RESERVED_ENV_COMMON}|{RUNTIME_ENV}")


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """A fault of a policy's text: the path of the field, what is wrong, the remedy, and the line (from 1)."""

    path: str
    message: str
    remedy: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}: {self.message}; {self.remedy}"


class PolicyError(ValueError):
    """Text that is no policy; `problems` lists every fault that was found."""

    def __init__(self, problems: Iterable[PolicyProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is fit for use. `digest` is over its meaning: comments and order of keys do not change it.

    `data` is the document as it was written, without what was left out.
    """

    document: PolicyDocument
    data: Mapping[str, Any]
    digest: str

    def path(self, loc: Location) -> str:
        """The path of a field, or of the nearest one above it that was written; `.` is the document itself."""
        node: Any = self.data
        for depth, part in enumerate(loc):
            known = (
                isinstance(node, list) and isinstance(part, int) and part < len(node)
                if isinstance(node, list)
                else isinstance(node, Mapping) and part in node
            )
            if not known:
                return path_of(loc[:depth]) or "."
            node = node[part]
        return path_of(loc) or "."


def parse(text: str) -> Policy:
    """The policy that a YAML or JSON text holds. Raises PolicyError with every fault."""
    if len(text.encode()) > MAX_BYTES:
        fault = Problem(".", f"is longer than {MAX_BYTES} bytes", "shorten it: patterns may stand for many tools")
        raise PolicyError([_placed(fault)])
    found = list(read_documents(text, "policy"))
    if not found:
        fault = Problem(".", "is empty", "write version: policy.ameide.io/v1, tiers, models and providers")
        raise PolicyError([_placed(fault)])
    document = found[0]
    if document.problem is not None:
        raise PolicyError([_placed(replace(document.problem, field="."), document)])
    if len(found) > 1:
        fault = Problem(".", "has more than one YAML document", "put all of the policy into one")
        raise PolicyError([_placed(fault, found[1])])
    if not isinstance(document.manifest, Mapping):
        raise PolicyError([_placed(Problem(".", "is not an object with fields", "write version: …, tiers: …"))])
    if document.manifest.get("kind") == "ConfigMap":
        return _in_config_map(document)
    try:
        parsed = PolicyDocument.model_validate(document.manifest)
    except ValidationError as error:
        details = error.errors(include_url=False)
        places = [detail["loc"] for detail in details]
        # An item that is wrong is not counted, so that its list may seem too short as well.
        told = [one for one in details if one["type"] != "too_short" or not _holds_other(one["loc"], places)]
        raise PolicyError(_placed(_problem(detail), document) for detail in told) from None
    problems = list(_contradictions(parsed))
    if problems:
        raise PolicyError(_placed(problem, document) for problem in problems)
    return policy_of(parsed)


def _holds_other(loc: Location, places: Iterable[Location]) -> bool:
    return any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)


def _in_config_map(document: Document) -> Policy:
    """The policy that a ConfigMap's manifest holds; faults bear the lines of the manifest."""
    data = document.manifest.get("data")
    text = data.get(CONFIG_MAP_KEY) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        fault = Problem(
            ".",
            f"is a ConfigMap without the key {CONFIG_MAP_KEY}",
            f"put the policy's text under data.{CONFIG_MAP_KEY}",
        )
        raise PolicyError([_placed(fault, document)])
    offset = document.line_of(("data", CONFIG_MAP_KEY))
    try:
        return parse(text)
    except PolicyError as error:
        raise PolicyError(replace(problem, line=problem.line + offset) for problem in error.problems) from None


def policy_of(document: PolicyDocument) -> Policy:
    """A Policy from a document that is known to be sound."""
    data = plain(document)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Policy(document, data, f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}")


def _placed(problem: Problem, document: Document | None = None) -> PolicyProblem:
    line = document.line_of(problem.loc) if document is not None else 1
    return PolicyProblem(problem.field, problem.message, problem.remedy, line)


def _problem(detail: ErrorDetails) -> Problem:
    """A validation error in the words of the shared specs; those speak of kinds, and know no maps of models."""
    loc: Location = tuple(part for part in detail["loc"] if part != "[key]")
    inner = (*loc[:1], *loc[2:]) if loc[0] in _MAPS and len(loc) > 2 else loc
    problem = problem_of({**detail, "loc": inner}, PolicyDocument)
    message, remedy = problem.message, problem.remedy
    if detail["type"] == "extra_forbidden":
        message = "is not a field that policies know"
    elif detail["type"] == "value_error":
        message, _, remedy = str(detail["ctx"]["error"]).partition("; ")
        remedy = remedy or "see docs/agent-policy.md for how it is written"
    elif detail["type"].startswith("int_pars"):
        message, remedy = "is not a number", "write a port's number, http or grpc"
    return replace(problem, field=path_of(loc) or ".", loc=loc, message=message, remedy=remedy)


# --- what the form alone cannot say ---------------------------------------------------------------------------------


def _contradictions(document: PolicyDocument) -> Iterator[Problem]:
    yield from _unknown_credentials(document)
    for name, credential in document.credentials.items():
        yield from _credential(name, credential)
    yield from _unknown_providers(document)
    yield from _unknown_primitives(document)


def _fault(loc: Location, message: str, remedy: str) -> Problem:
    return Problem(path_of(loc), message, remedy, loc)


def _unknown_credentials(document: PolicyDocument) -> Iterator[Problem]:
    reached: list[tuple[Location, Reached]] = [(("providers", name), one) for name, one in document.providers.items()]
    reached += [(("primitives", name), one) for name, one in document.primitives.items()]
    named = [(loc, one.credentials) for loc, one in reached]
    named += [(("toolCredentials", index), one.credentials) for index, one in enumerate(document.tool_credentials)]
    for loc, credentials in named:
        for index, credential in enumerate(credentials):
            if credential not in document.credentials:
                yield _fault(
                    (*loc, "credentials", index),
                    f"names the credential {credential!r}, which is not under credentials",
                    f"describe it as credentials.{credential}, or use {_known(document.credentials)}",
                )


def _credential(name: str, credential: Credential) -> Iterator[Problem]:
    loc: Location = ("credentials", name)
    if credential.remote_key is not None and credential.secret_name is not None:
        yield _fault(
            (*loc, "secretName"), "stands beside remoteKey", "keep remoteKey for the secret store, or secretName"
        )
    keys: set[str] = set()
    variables: set[str] = set()
    for index, entry in enumerate(credential.keys):
        here = (*loc, "keys", index)
        if entry.key in keys:
            yield _fault((*here, "key"), f"{entry.key!r} occurs twice", "keep one of the entries")
        keys.add(entry.key)
        if entry.key in (".", ".."):
            yield _fault((*here, "key"), f"{entry.key!r} cannot be a file's name", "choose another name")
        if entry.property is not None and credential.secret_name is not None:
            yield _fault(
                (*here, "property"),
                "is for the secret store only",
                "remove it: secretName's keys are taken as they are",
            )
        if credential.delivery == "Env" and entry.env is None:
            yield _fault(here, "has no env, though delivery is Env", "name the variable in env, or use delivery: File")
        if entry.env is None:
            continue
        if credential.delivery == "File":
            yield _fault((*here, "env"), "is set, though delivery is File", "remove it, or use delivery: Env")
        if _RESERVED_ENV.fullmatch(entry.env):
            yield _fault((*here, "env"), f"{entry.env} is a variable that the operator sets", "choose another name")
        if entry.env in variables:
            yield _fault((*here, "env"), f"{entry.env} occurs twice", "choose another name")
        variables.add(entry.env)


def _unknown_providers(document: PolicyDocument) -> Iterator[Problem]:
    for index, rules in enumerate(document.models):
        for which, patterns in (("allow", rules.allow), ("deny", rules.deny)):
            for position, text in enumerate(patterns):
                provider, _ = model_pattern(text)
                if is_literal(provider) and provider not in document.providers:
                    yield _fault(
                        ("models", index, which, position),
                        f"names the provider {provider!r}, which is not under providers",
                        f"describe it as providers.{provider}, or use {_known(document.providers)}",
                    )


def _unknown_primitives(document: PolicyDocument) -> Iterator[Problem]:
    lists: list[tuple[Location, tuple[str, ...]]] = []
    sections: list[tuple[Location, Any]] = [(("tools",), document.tools)]
    for tier in type(document.tiers).model_fields:
        found = document.tiers.named(tier)
        if found is not None:
            sections.append((("tiers", tier, "tools"), found.tools))
    for loc, section in sections:
        for index, rules in enumerate(section):
            lists += [((*loc, index, "allow"), rules.allow), ((*loc, index, "deny"), rules.deny)]
    lists += [(("toolCredentials", index, "tools"), one.tools) for index, one in enumerate(document.tool_credentials)]
    for loc, patterns in lists:
        for position, text in enumerate(patterns):
            pattern = tool_pattern(text)
            if pattern.kind == "primitive" and is_literal(pattern.name) and pattern.name not in document.primitives:
                yield _fault(
                    (*loc, position),
                    f"names the primitive {pattern.name!r}, which is not under primitives",
                    f"describe it as primitives.{pattern.name}, or use {_known(document.primitives)}",
                )


def _known(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none, as there are none yet"
