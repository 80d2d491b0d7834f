"""What a policy says of an Agent: every rule that it breaks, or what it is granted. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from agent_operator.policy.document import Tightening
from agent_operator.policy.patterns import matches
from agent_operator.policy.subject import ToolKey
from ameide_shared.builders.network import NetworkRule


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that an Agent breaks: its path in the policy, the field of the Agent, what is wrong, and the remedy.

    `rule` is the path of something that stands in the document; `.` is the document itself, where a whole section is
    missing. `field` is a path in the manifest, or begins with `definition.` where the AgentDefinition is at fault.
    """

    rule: str
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message} (policy: {self.rule}); {self.remedy}"


@dataclass(frozen=True, slots=True)
class GrantedTool:
    """A tool that may be used: an operation is permitted if a pattern of `allow` matches it, and none of `deny`.

    `credentials` are names. `address` and `egress` are a primitive's own; the policy knows neither of other tools.
    """

    tool: ToolKey
    allow: tuple[str, ...]
    deny: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    address: str | None = None
    egress: tuple[NetworkRule, ...] = ()

    def permits(self, operation: str) -> bool:
        """Whether an operation of the tool may be called."""
        return any(matches(pattern, operation) for pattern in self.allow) and not any(
            matches(pattern, operation) for pattern in self.deny
        )


@dataclass(frozen=True, slots=True)
class GrantedModel:
    """The model that may be used, and how its provider is reached; without an address the runtime knows it."""

    provider: str
    name: str
    address: str | None = None
    credentials: tuple[str, ...] = ()
    egress: tuple[NetworkRule, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretValue:
    """One value of a credential: its key in the Secret, its property in the store, the variable that carries it."""

    key: str
    property: str | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True)
class NeededCredential:
    """A credential that the granted model or tools take, its templates filled in.

    With `secret_name` the Secret is somebody else's; with `remote_key` an entry of the secret store; with neither, the
    operator's settings say which entry. `users` are `provider/<name>` and tools, in order.
    """

    name: str
    values: tuple[SecretValue, ...]
    delivery: Literal["File", "Env"]
    users: tuple[str, ...]
    remote_key: str | None = None
    secret_name: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A policy's judgement. Whoever breaks any rule is granted nothing: then all but violations is empty."""

    violations: tuple[Violation, ...]
    tools: tuple[GrantedTool, ...] = ()
    model: GrantedModel | None = None
    credentials: tuple[NeededCredential, ...] = ()
    on_tightening: Tightening = "KeepLast"

    @property
    def allowed(self) -> bool:
        return not self.violations

    @property
    def message(self) -> str:
        """The violations on one line, for a condition: whole ones, as many as people read, and how many more."""
        return _fitting([f"{found.field}: {found.message} (policy: {found.rule})" for found in self.violations], 600)

    @property
    def remedy(self) -> str:
        """What to do about them, each piece of advice once, with the fields that it is for where there are several."""
        fields: dict[str, list[str]] = {}
        for found in self.violations:
            fields.setdefault(found.remedy, []).append(found.field)
        if len(fields) <= 1:
            return "".join(fields)
        return _fitting([f"{', '.join(dict.fromkeys(where))}: {remedy}" for remedy, where in fields.items()], 300)


def _fitting(texts: Sequence[str], characters: int) -> str:
    """Texts joined by semicolons: the first in any case, then those that fit, and how many are left out."""
    shown = list(accumulate(len(text) + 2 for text in texts))
    count = max(1, sum(length <= characters for length in shown))
    more = f"; and {len(texts) - count} more" if count < len(texts) else ""
    return "; ".join(texts[:count]) + more
