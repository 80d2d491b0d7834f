"""What an element runs: the activity with its target, request, timeouts and retries, and its inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, get_args

from process_operator.bpmn.context import Context
from process_operator.bpmn.extensions import Extension
from process_operator.bpmn.iso8601 import TimeFormatError, parse_duration
from process_operator.bpmn.node import Node
from process_operator.bpmn.parts import (
    Binding,
    Http,
    Method,
    Parameter,
    PathSegment,
    Retry,
    Target,
    TargetKind,
    Timeouts,
)
from process_operator.bpmn.scopes import Scope
from process_operator.bpmn.tokens import is_name

DEFAULT_START_TO_CLOSE_MS: Final = 60_000
DEFAULT_INITIAL_INTERVAL_MS: Final = 1_000
DEFAULT_MAXIMUM_INTERVAL_MS: Final = 60_000
DEFAULT_BACKOFF: Final = 2.0
RESERVED: Final = frozenset(
    {"result", "loopCounter", "numberOfInstances", "numberOfActiveInstances", "numberOfCompletedInstances"}
)
"""Variables that workers set themselves."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_TARGET: Final = re.compile(rf"(?P<kind>domain|agent)/(?:(?P<namespace>{_LABEL})/)?(?P<name>{_LABEL})")
_OPERATION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII)
_RPC: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,150}/[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_ACTIVITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}", re.ASCII)
_SEGMENT: Final = re.compile(r"/(?:\{(?P<value>[^{}]*)\}|(?P<text>[A-Za-z0-9_~.-]*))(?=/|$)", re.ASCII)


def binding_of(ctx: Context, scope: Scope, node: Node) -> Binding | None:
    """The binding of an element; None, with problems noted, if it is absent or wrong."""
    extension = node.extension("Binding")
    if extension is None:
        ctx.fault(
            node,
            f"the {node.describe()} is not bound",
            "add an ameide:Binding with target (domain/<name> or agent/<name>) and operation to its extensionElements",
        )
        return None
    target = _target(ctx, extension)
    protocol = extension.text("protocol") or "http"
    operation = _operation(ctx, extension, protocol)
    http = _http(ctx, extension, operation) if protocol == "http" else None
    activity = extension.text("activity")
    if activity and not _ACTIVITY.fullmatch(activity):
        _fault(
            ctx, extension, "activity", f"{activity!r} cannot be an activity's name", "use letters, digits and _ . / -"
        )
    timeouts = _timeouts(ctx, scope.root, node)
    retry = _retry(ctx, scope.root, node)
    if target is None or not operation or timeouts is None or retry is None or (protocol == "http" and http is None):
        return None
    return Binding(
        activity=activity or f"{target.kind}.{target.name}.{operation}",
        target=target,
        operation=operation,
        protocol="grpc" if protocol == "grpc" else "http",
        http=http,
        timeouts=timeouts,
        retry=retry,
    )


def parameters(ctx: Context, node: Node, kind: str) -> tuple[Parameter, ...] | None:
    """The ameide:Input or ameide:Output elements of a node; None if it has none."""
    found: list[Parameter] = []
    for extension in node.extensions_of(kind):
        name = extension.text("name")
        if not name or not extension.text("value"):
            continue
        if kind == "Output":
            check_variable(ctx, extension, "name")
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", name):
            _fault(ctx, extension, "name", f"{name!r} cannot be the name of an input", "use letters, digits and _ . -")
        if any(parameter.name == name for parameter in found):
            _fault(ctx, extension, "name", f"there are two {kind.lower()}s {name}", "keep one")
        value = ctx.expression(extension.element_id, f"{extension.path}.value", extension.text("value"))
        if value is not None:
            found.append(Parameter(name=name, value=value))
    return tuple(found) or None


def check_variable(ctx: Context, extension: Extension, attribute: str) -> None:
    """Note a problem if the attribute cannot be the name of a process variable."""
    name = extension.text(attribute)
    if not is_name(name):
        _fault(ctx, extension, attribute, f"{name!r} cannot be a variable", "use letters, digits and _, and no keyword")
    elif name in RESERVED:
        _fault(ctx, extension, attribute, f"{name} is a variable that workers set themselves", "choose another name")


def _fault(ctx: Context, extension: Extension, attribute: str, message: str, remedy: str) -> None:
    ctx.problems.add(extension.element_id, f"{extension.path}.{attribute}", message, remedy)


def _target(ctx: Context, extension: Extension) -> Target | None:
    text = extension.text("target")
    if not text:
        return None
    found = _TARGET.fullmatch(text)
    if found is None:
        _fault(
            ctx,
            extension,
            "target",
            f"{text!r} is no target",
            "write domain/<name>, agent/<name>, or with the namespace domain/<namespace>/<name>",
        )
        return None
    kind: TargetKind = "domain" if found["kind"] == "domain" else "agent"
    declared = ctx.dependencies.of(kind)
    namespace, name = found["namespace"] or "", found["name"]
    if namespace == ctx.dependencies.namespace:
        namespace = ""
    matches = [(namespace, name)] if (namespace, name) in declared else []
    if not matches and not found["namespace"]:
        matches = sorted(item for item in declared if item[1] == name)
    if len(matches) == 1:
        return Target(kind=kind, name=name, namespace=matches[0][0] or None)
    if matches:
        options = ", ".join(f"{kind}/{item}/{name}" for item, _ in matches)
        _fault(ctx, extension, "target", f"{text} could be {options}", "name the namespace too")
        return None
    known = ", ".join(sorted(f"{kind}/{item}/{other}" if item else f"{kind}/{other}" for item, other in declared))
    _fault(
        ctx,
        extension,
        "target",
        f"{text} is not a declared dependency of the Process (declared: {known or 'none'})",
        f"add it to spec.dependencies.{kind}s, or name a declared one",
    )
    return None


def _operation(ctx: Context, extension: Extension, protocol: str) -> str:
    operation = extension.text("operation")
    if protocol not in ("http", "grpc"):
        _fault(ctx, extension, "protocol", f"{protocol!r} is no known protocol", "use http or grpc")
        return ""
    for attribute in ("method", "path") if protocol == "grpc" else ():
        if extension.text(attribute):
            _fault(ctx, extension, attribute, f"{attribute} has no meaning for the protocol grpc", "remove it")
    pattern, example = (_OPERATION, "PlaceOrder") if protocol == "http" else (_RPC, "orders.v1.Orders/PlaceOrder")
    if operation and not pattern.fullmatch(operation):
        _fault(ctx, extension, "operation", f"{operation!r} is no operation", f"write it like {example}")
        return ""
    return operation


def _http(ctx: Context, extension: Extension, operation: str) -> Http | None:
    written = extension.text("method") or "POST"
    method: Method | None = next((item for item in get_args(Method) if item == written), None)
    if method is None:
        _fault(ctx, extension, "method", f"{written!r} is no method", f"use one of {', '.join(get_args(Method))}")
    path = extension.text("path") or f"/{operation}"
    segments = tuple(_segments(ctx, extension, path))
    if method is None or None in segments:
        return None
    return Http(method=method, path=tuple(segment for segment in segments if segment is not None))


def _segments(ctx: Context, extension: Extension, path: str) -> Iterator[PathSegment | None]:
    at = 0
    while at < len(path):
        found = _SEGMENT.match(path, at)
        if found is None or found["text"] in (".", ".."):
            _fault(
                ctx,
                extension,
                "path",
                f"{path!r} is no path",
                "write it like /orders/{order.id}: parts of letters, digits and _ ~ . -, or one expression in braces; "
                "a query is made of the inputs",
            )
            yield None
            return
        at = found.end()
        if found["value"] is not None:
            value = ctx.expression(extension.element_id, f"{extension.path}.path", found["value"])
            yield PathSegment(value=value) if value is not None else None
        elif found["text"]:
            yield PathSegment(text=found["text"])


def _settings(scope_root: Node, node: Node, name: str) -> tuple[Extension, ...]:
    """The extension of the element, then that of its process, which holds the defaults."""
    return tuple(item for item in (node.extension(name), scope_root.extension(name)) if item is not None)


def _timeouts(ctx: Context, root: Node, node: Node) -> Timeouts | None:
    sources = _settings(root, node, "Timeouts")
    names = ("startToClose", "scheduleToClose", "scheduleToStart", "heartbeat")
    start, whole, queued, beat = (_span(ctx, sources, name) for name in names)
    wrong = -1 in (start, whole, queued, beat)
    start, whole, queued, beat = (None if span == -1 else span for span in (start, whole, queued, beat))
    start = start or (min(DEFAULT_START_TO_CLOSE_MS, whole) if whole else DEFAULT_START_TO_CLOSE_MS)
    for name, inner, outer, than in (
        ("scheduleToClose", start, whole, "startToClose"),
        ("heartbeat", beat, start, "startToClose"),
    ):
        if inner and outer and inner > outer:
            words = "is shorter than" if name == "scheduleToClose" else "is longer than"
            ctx.fault(node, f"the timeout {name} {words} {than}", "mend one of them")
    if wrong:
        return None
    return Timeouts(start_to_close_ms=start, schedule_to_close_ms=whole, schedule_to_start_ms=queued, heartbeat_ms=beat)


def _retry(ctx: Context, root: Node, node: Node) -> Retry | None:
    sources = _settings(root, node, "Retry")
    initial, longest = (_span(ctx, sources, name) for name in ("initialInterval", "maximumInterval"))
    backoff = _number(ctx, sources, "backoffCoefficient", DEFAULT_BACKOFF, low=1)
    attempts = _number(ctx, sources, "maximumAttempts", 0, low=0)
    wrong = -1 in (initial, longest, backoff, attempts)
    initial, longest = (None if span == -1 else span for span in (initial, longest))
    if attempts != int(attempts):
        ctx.fault(node, f"maximumAttempts is {attempts}", "use a whole number; 0 sets no limit")
    initial = initial or DEFAULT_INITIAL_INTERVAL_MS
    if longest and longest < initial:
        ctx.fault(node, "maximumInterval is shorter than initialInterval", "mend one of them")
    if wrong:
        return None
    errors = next(
        (source.items("nonRetryableErrors") for source in sources if "nonRetryableErrors" in source.attributes), ()
    )
    return Retry(
        initial_interval_ms=initial,
        backoff_coefficient=float(backoff),
        maximum_interval_ms=longest or max(initial, DEFAULT_MAXIMUM_INTERVAL_MS),
        maximum_attempts=int(attempts),
        non_retryable_errors=errors,
    )


def _span(ctx: Context, sources: tuple[Extension, ...], name: str) -> int | None:
    """Milliseconds of a duration; None if it is not given, -1 with a problem noted if it is wrong."""
    for source in sources:
        text = source.text(name)
        if not text:
            continue
        try:
            duration = parse_duration(text)
        except TimeFormatError as error:
            _fault(ctx, source, name, str(error), "write an ISO 8601 duration")
            return -1
        if duration.months or not duration.milliseconds:
            _fault(
                ctx,
                source,
                name,
                f"{text} is no fixed span of time above zero",
                "use weeks, days, hours, minutes or seconds",
            )
            return -1
        return duration.milliseconds
    return None


def _number(ctx: Context, sources: tuple[Extension, ...], name: str, default: float, low: int) -> float:
    """A number; -1 with a problem noted if it is too small."""
    for source in sources:
        value = source.number(name)
        if value is None:
            continue
        if value < low:
            _fault(ctx, source, name, f"{name} is {value}", f"use {low} or more")
            return -1
        return value
    return default
