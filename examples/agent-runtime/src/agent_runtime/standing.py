"""What the runtime stands on: definition, grants and credentials as they are now, and what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from agent_runtime import definition as definitions
from agent_runtime import grants as granted
from agent_runtime.config import Config
from agent_runtime.credentials import CredentialError, Credentials
from agent_runtime.definition import Binding, Definition
from agent_runtime.grants import Grants, ToolGrant, ToolKey
from agent_runtime.metrics import GRANTED, READY

log = logging.getLogger(__name__)

T = TypeVar("T")

AGENT_OPERATIONS = (
    Binding("CreateSession", "POST", ("v1", "sessions"), 'asks another agent; arguments: {"input": text}'),
)
"""What every agent can be asked, if it is served by a runtime that keeps to this one's interface."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment. Sessions may be held when there are no problems; then neither part is None."""

    definition: Definition | None
    grants: Grants | None
    problems: tuple[str, ...]

    def operations(self, key: ToolKey) -> tuple[Binding, ...]:
        """How a tool's operations are called; empty for one that the definition does not describe."""
        found: dict[str, Binding] = {}
        if self.definition is not None and self.grants is not None:
            for tool in self.definition.tools:
                if key_of(tool, self.grants) == key:
                    found |= {binding.operation: binding for binding in tool.bindings}
        if key.kind == "agent":
            found = {binding.operation: binding for binding in AGENT_OPERATIONS} | found
        return tuple(found.values())


def key_of(tool: definitions.Tool, grants: Grants) -> ToolKey | None:
    """The tool that a definition names, seen from the Agent's namespace."""
    return granted.tool_key(str(tool), grants.namespace)


class Watch:
    """Reads definition and grants again when their files change; credentials each time.

    A document that is broken replaces the one before it nevertheless: what can no longer be read is no longer granted.
    """

    def __init__(self, config: Config, credentials: Credentials) -> None:
        self._config = config
        self._credentials = credentials
        self._definition = _File(config.definition_file, definitions.parse, "definition")
        self._grants = _File(config.grants_file, granted.parse, "grants")
        self._told: tuple[str, ...] | None = None

    def now(self) -> Standing:
        """How things stand. Costs two looks at files' times, and a read of each credential."""
        definition, grants = self._definition.read(), self._grants.read()
        problems = [each for each in (self._definition.problem, self._grants.problem) if each]
        if definition is not None:
            problems += self._of_definition(definition)
        if grants is not None:
            problems += self._of_grants(grants)
        if definition is not None and grants is not None:
            problems += _of_both(definition, grants)
        standing = Standing(definition, grants, tuple(problems))
        READY.set(not problems)
        GRANTED.set(len(grants.tools) if grants else 0)
        self._tell(standing)
        return standing

    def _of_definition(self, definition: Definition) -> Iterator[str]:
        expected = self._config.checksum
        if expected and definition.checksum != expected:
            yield (
                f"{self._config.definition_file} has the checksum {definition.checksum}, and AGENT_DEFINITION_CHECKSUM "
                f"is {expected}: it is not the definition that these pods are for"
            )

    def _of_grants(self, grants: Grants) -> Iterator[str]:
        config, model = self._config, grants.model
        for name, expected, found in (
            ("TENANT_ID", config.tenant, grants.tenant),
            ("RISK_TIER", config.risk_tier, grants.risk_tier),
        ):
            # Grants name no tenant where the namespace has none and the operator's settings permit that.
            if expected != found and (found or name != "TENANT_ID"):
                yield f"the grants are for {found!r}, and {name} is {expected!r}: they are another Agent's"
        if model is None:
            yield "the grants have no model: everything has been taken from this Agent, see its conditions"
        elif (model.provider, model.name) != (config.provider, config.model):
            yield (
                f"the grants are for the model {model.provider}/{model.name}, and MODEL_PROVIDER and MODEL_NAME say "
                f"{config.provider}/{config.model}"
            )
        elif not (model.address or config.base_url):
            yield f"nobody says where provider {model.provider} is: give it an address in the policy or MODEL_BASE_URL"
        users = {"the model": model.credentials} if model else {}
        users |= {str(tool.key): tool.credentials for tool in grants.tools.values()}
        for user, names in users.items():
            try:
                self._credentials.header(grants, names)
            except CredentialError as error:
                yield f"{user}: {error}"

    def _tell(self, standing: Standing) -> None:
        """Log each change between ready and not ready, and each change of what is wrong, once."""
        if standing.problems == self._told:
            return
        self._told = standing.problems
        if standing.problems:
            log.warning("not ready: %s", "; ".join(standing.problems))
        else:
            tools = ", ".join(str(key) for key in standing.grants.tools) if standing.grants else ""
            log.info("ready; granted tools: %s", tools or "none")


class _File(Generic[T]):
    """A document that is read again when its file has changed."""

    def __init__(self, path: Path, parse: Callable[[str], T], what: str) -> None:
        self._path = path
        self._parse = parse
        self._what = what
        self._state: tuple[int, int, int] | None = None
        self._value: T | None = None
        self.problem = ""

    def read(self) -> T | None:
        """The document; None when there is none that can be used, and `problem` says why."""
        try:
            stat = self._path.stat()
            state = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if state != self._state:
                self._value, self.problem = self._parse(self._path.read_text("utf-8")), ""
                self._state = state
                log.info("has read the %s in %s", self._what, self._path)
        except OSError as error:
            self._value, self._state = None, None
            self.problem = f"the {self._what} cannot be read from {self._path}: {error.strerror}"
        except ValueError as error:
            # Not remembered as read: a file may have been caught while it was being written.
            self._value, self._state = None, None
            self.problem = f"the {self._what} in {self._path} cannot be used: {error}"
        return self._value


def _of_both(definition: Definition, grants: Grants) -> Iterator[str]:
    """A definition must not need what is not granted. What is granted and not there yet is no reason to wait."""
    for tool in definition.tools:
        key = key_of(tool, grants)
        if key is None:
            yield f"the definition needs {tool}, which is the name of no tool"
            continue
        grant: ToolGrant | None = grants.tools.get(key)
        if grant is None:
            if key not in grants.pending:
                yield f"the definition needs {key}, which is not granted"
            continue
        lacking = [operation for operation in tool.operations if not grant.permits(operation)]
        if lacking:
            yield f"the definition needs {key}:{','.join(lacking)}, which is not granted"
