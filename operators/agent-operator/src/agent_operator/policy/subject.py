"""What a policy judges: the fields of an Agent that matter, apart from the resource they come from.

`subject_of` reads them from a manifest that has passed its schema; `as_data` and `from_data` let a released revision
carry its subject along, so that a later policy can judge what runs and not only what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast, get_args

from agent_operator.policy.patterns import ToolKind

KINDS: Final[tuple[ToolKind, ...]] = get_args(ToolKind)
LABEL_SKU: Final = "ameide.io/sku"
"""On Namespaces: which SKU the tenant has bought for it."""
ALL_OPERATIONS: Final[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True, order=True)
class ToolKey:
    """A tool: a Domain, Process or Agent by namespace and name, or a primitive, whose namespace is empty."""

    kind: ToolKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that is asked for; without operations: all that the policy allows of it. `field` is where it is written.

    Operations are names, not patterns.
    """

    tool: ToolKey
    operations: tuple[str, ...] = ALL_OPERATIONS
    field: str = "spec.tools.allowed"


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A Secret of the Agent's namespace that a variable reads, and the field that names it."""

    name: str
    field: str


@dataclass(frozen=True, slots=True)
class Subject:
    """An Agent as a policy sees it. `tenant_id` and `sku` are empty where its namespace has no such label.

    `max_parallel_sessions` is None where the spec sets no bound. `roles` and `definition_tools` are those of the
    AgentDefinition, empty until it is known.
    """

    namespace: str
    name: str
    tenant_id: str
    risk_tier: str
    provider: str
    model: str
    sku: str = ""
    definition_id: str = ""
    tools: tuple[ToolRequest, ...] = ()
    definition_tools: tuple[ToolRequest, ...] = ()
    roles: tuple[str, ...] = ()
    max_parallel_sessions: int | None = None
    log_prompts: str = "none"
    secrets: tuple[SecretUse, ...] = ()
    env: tuple[str, ...] = ()


def subject_of(
    manifest: Mapping[str, Any],
    *,
    tenant_id: str,
    sku: str = "",
    roles: Iterable[str] = (),
    definition_tools: Iterable[ToolRequest] = (),
) -> Subject:
    """The subject of an Agent's manifest, which has met its schema. `roles` and tools are the AgentDefinition's."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    namespace = metadata.get("namespace") or "default"
    reference, model = spec.get("definitionRef") or {}, spec.get("model") or {}
    allowed = (spec.get("tools") or {}).get("allowed") or ()
    variables = spec.get("env") or ()
    return Subject(
        namespace=namespace,
        name=metadata.get("name") or "",
        tenant_id=tenant_id,
        sku=sku,
        risk_tier=spec.get("riskTier") or "",
        provider=model.get("provider") or "",
        model=model.get("name") or "",
        definition_id=reference.get("id") or "",
        tools=tuple(tool_requests(allowed, namespace, "spec.tools.allowed")),
        definition_tools=tuple(definition_tools),
        roles=tuple(roles),
        max_parallel_sessions=(spec.get("concurrency") or {}).get("maxParallelSessions"),
        log_prompts=(spec.get("observability") or {}).get("logPrompts") or "none",
        secrets=tuple(_secrets(variables)),
        env=tuple(variable["name"] for variable in variables),
    )


def tool_requests(entries: Iterable[Mapping[str, Any]], namespace: str, field: str) -> Iterator[ToolRequest]:
    """Tools as specs and AgentDefinitions write them: `{domain: name}` or `{domain: namespace/name, operations: […]}`.

    `namespace` is the one that names without any are in; `field` is the list's own path.
    """
    for index, entry in enumerate(entries):
        for kind in KINDS:
            if not entry.get(kind):
                continue
            where, _, name = str(entry[kind]).rpartition("/")
            key = ToolKey(kind, "" if kind == "primitive" else where or namespace, name)
            yield ToolRequest(key, tuple(entry.get("operations") or ()), f"{field}[{index}]")


def undeclared_tools(subject: Subject) -> tuple[ToolRequest, ...]:
    """What the AgentDefinition needs and `spec.tools.allowed` does not name, cut to the operations that are missing."""
    declared: dict[ToolKey, set[str] | None] = {}
    for request in subject.tools:
        known = declared.get(request.tool, set())
        declared[request.tool] = None if known is None or not request.operations else known | set(request.operations)
    missing = []
    for request in subject.definition_tools:
        if request.tool not in declared:
            missing.append(request)
            continue
        operations = declared[request.tool]
        if operations is None:
            continue
        lacking = tuple(name for name in request.operations if name not in operations)
        if lacking or not request.operations:
            missing.append(ToolRequest(request.tool, lacking, request.field))
    return tuple(missing)


def as_data(subject: Subject) -> dict[str, Any]:
    """The subject as plain JSON data."""
    return asdict(subject)


def from_data(data: Mapping[str, Any]) -> Subject:
    """The subject that `as_data` wrote. Raises KeyError or TypeError where it is of another version."""
    lists = {name: tuple(_request(item) for item in data[name]) for name in ("tools", "definition_tools")}
    secrets = tuple(SecretUse(**item) for item in data["secrets"])
    texts = {name: tuple(data[name]) for name in ("roles", "env")}
    return Subject(**{**data, **lists, **texts, "secrets": secrets})


def _request(data: Mapping[str, Any]) -> ToolRequest:
    tool = data["tool"]
    key = ToolKey(cast("ToolKind", tool["kind"]), tool["namespace"], tool["name"])
    return ToolRequest(key, tuple(data["operations"]), data["field"])


def _secrets(variables: Iterable[Mapping[str, Any]]) -> Iterator[SecretUse]:
    for index, variable in enumerate(variables):
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            yield SecretUse(reference["name"], f"spec.env[{index}].valueFrom.secretKeyRef.name")
