"""What an element of the binding table can carry: a binding, parameters, an event, an assignment, a call, a loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from process_operator.bpmn.ast import Expression, Part

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
TargetKind = Literal["domain", "agent"]
Milliseconds = Annotated[int, Field(ge=0)]
Months = Annotated[int, Field(ge=1)]


class Target(Part):
    """The resource that is called; `namespace` is absent where it is the Process's own."""

    kind: TargetKind
    name: str
    namespace: str | None = None


class PathSegment(Part):
    """One part between slashes of a path: fixed text, or the value of an expression, to be percent-encoded."""

    text: str | None = None
    value: Expression | None = None


class Http(Part):
    """The request of an activity. GET and DELETE carry the inputs as query, other methods as a JSON object."""

    method: Method
    path: tuple[PathSegment, ...]


class Timeouts(Part):
    """The timeouts of an activity, as Temporal names them."""

    start_to_close_ms: Milliseconds
    schedule_to_close_ms: Milliseconds | None = None
    schedule_to_start_ms: Milliseconds | None = None
    heartbeat_ms: Milliseconds | None = None


class Retry(Part):
    """The retry policy of an activity, as Temporal names it; `maximumAttempts` 0 sets no limit."""

    initial_interval_ms: Milliseconds
    backoff_coefficient: Annotated[float, Field(ge=1)]
    maximum_interval_ms: Milliseconds
    maximum_attempts: Annotated[int, Field(ge=0)]
    non_retryable_errors: tuple[str, ...]


class Binding(Part):
    """The activity that an element runs. `http` is there for the protocol http only."""

    activity: str
    target: Target
    operation: str
    protocol: Literal["http", "grpc"]
    http: Http | None = None
    timeouts: Timeouts
    retry: Retry


class Parameter(Part):
    """A named value: an argument of an activity, or a variable that takes a result."""

    name: str
    value: Expression


class Message(Part):
    """A message that is waited for; with a key, only the one whose key equals its value."""

    name: str
    correlation_key: Expression | None = None


class DateTimer(Part):
    """A point in time, in UTC."""

    kind: Literal["date"]
    at: str


class DurationTimer(Part):
    """A span of time: calendar months first, then milliseconds."""

    kind: Literal["duration"]
    milliseconds: Milliseconds
    months: Months | None = None


class CycleTimer(Part):
    """A repeated span of time, `repetitions` times or, where absent, for ever; from `start` or from now."""

    kind: Literal["cycle"]
    milliseconds: Milliseconds
    months: Months | None = None
    repetitions: Annotated[int, Field(ge=1)] | None = None
    start: str | None = None


class ComputedTimer(Part):
    """A timer whose value, ISO 8601 text of that kind, is computed when it is set."""

    kind: Literal["date", "duration", "cycle"]
    value: Expression


Timer = DateTimer | DurationTimer | CycleTimer | ComputedTimer


class TimerEvent(Part):
    """Happens when its timer fires."""

    kind: Literal["timer"]
    timer: Timer


class MessageEvent(Part):
    """Waits for a message; where thrown, the element's binding sends it."""

    kind: Literal["message"]
    message: Message


class SignalEvent(Part):
    """Waits for, or sends, a signal of that name."""

    kind: Literal["signal"]
    signal: str


class EscalationEvent(Part):
    """Throws an escalation, or catches that code; without a code, any."""

    kind: Literal["escalation"]
    code: str | None = None


class ErrorEvent(Part):
    """Throws an error, or catches that code; without a code, any."""

    kind: Literal["error"]
    code: str | None = None


class ConditionalEvent(Part):
    """Happens when the condition turns true."""

    kind: Literal["conditional"]
    condition: Expression


class CompensationEvent(Part):
    """Compensates an activity, or, without one, everything completed in the scope, last first."""

    kind: Literal["compensation"]
    activity: str | None = None
    wait: bool | None = None


class LinkEvent(Part):
    """Throws to the catching element `target`; the catching one has none."""

    kind: Literal["link"]
    target: str | None = None


class TerminateEvent(Part):
    """Ends the whole process at once."""

    kind: Literal["terminate"]


class CancelEvent(Part):
    """Cancels the transaction around it; on a transaction's boundary, follows such a cancellation."""

    kind: Literal["cancel"]


Event = Annotated[
    TimerEvent
    | MessageEvent
    | SignalEvent
    | EscalationEvent
    | ErrorEvent
    | ConditionalEvent
    | CompensationEvent
    | LinkEvent
    | TerminateEvent
    | CancelEvent,
    Field(discriminator="kind"),
]


class Script(Part):
    """An expression whose value goes into the variable `result`."""

    expression: Expression
    result: str


class Assignment(Part):
    """Who may do a user task, with which form, and until when."""

    assignee: Expression | None = None
    candidate_users: tuple[str, ...]
    candidate_groups: tuple[str, ...]
    form_key: str | None = None
    due: Timer | None = None


class Call(Part):
    """The process that a call activity starts: a scope of this table if `local`, else a workflow type on a queue."""

    process: str
    local: bool
    task_queue: str | None = None


class MultiInstanceLoop(Part):
    """Instances of an activity: one for each item of `collection`, or `cardinality` of them."""

    kind: Literal["multiInstance"]
    sequential: bool
    cardinality: Expression | None = None
    collection: Expression | None = None
    element: str | None = None
    output: str | None = None
    completion: Expression | None = None


class StandardLoop(Part):
    """An activity that is repeated while the condition holds, at most `maximum` times."""

    kind: Literal["standard"]
    test_before: bool
    condition: Expression
    maximum: Annotated[int, Field(ge=1)] | None = None


Loop = Annotated[MultiInstanceLoop | StandardLoop, Field(discriminator="kind")]
