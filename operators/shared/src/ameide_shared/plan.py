"""A Plan: what to do about one resource, as data, in order, each action with the reason for it.

`plan` functions return it, `converge` carries it out, `render` and `diff` print it. Nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ameide_shared.kube.resources import ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.stages import Stage

# --- values that a plan may not know: converge fills them -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Generated:
    """A random password, made once: a live value is kept unless `rotate` differs from what the live object records.

    `length` is in characters of an alphabet of 62 letters and digits.
    """

    length: int = 32


@dataclass(frozen=True, slots=True)
class FromSecret:
    """The value of a key of another Secret, percent-encoded for a URI when `quoted`.

    `version`: the resourceVersion that the plan saw. Where the Secret has changed since, nothing is copied: what the
    plan knew of the value (that the database has taken it over, say) may no longer hold.
    """

    namespace: str
    name: str
    key: str
    quoted: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text with FromSecret parts in between, joined: a connection URI, say."""

    parts: tuple[str | FromSecret, ...]


SecretValue = str | Generated | FromSecret | Text


# --- actions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ensure:
    """A child shall exist and hold the fields of `manifest`: created if absent, else applied where it differs.

    `create_only`: never compared or changed once it exists (Jobs, immutable ConfigMaps, ControllerRevisions).
    `required`: what comes after it in the plan must not be written without it (identity and borders of pods).
    """

    manifest: Mapping[str, Any]
    reason: str
    create_only: bool = False
    required: bool = False

    @property
    def resource(self) -> ResourceType:
        return resource_of(self.manifest)

    @property
    def key(self) -> ObjectKey:
        return key_of(self.manifest)


@dataclass(frozen=True, slots=True)
class EnsureSecret:
    """A Secret of ours whose values `converge` fills: `values` by key; `manifest` has no data.

    `rotation`: recorded in the annotation `ameide.io/rotate-password`; where the live Secret records another token,
    Generated values are made anew. `required`: what comes after it in the plan must not be written without it.
    """

    manifest: Mapping[str, Any]
    values: Mapping[str, SecretValue]
    reason: str
    rotation: str = ""
    required: bool = False

    @property
    def resource(self) -> ResourceType:
        return resource_of(self.manifest)

    @property
    def key(self) -> ObjectKey:
        return key_of(self.manifest)


@dataclass(frozen=True, slots=True)
class Delete:
    """A child that is no longer wanted; `uid` is the precondition, so that a successor of the same name survives."""

    resource: ResourceType
    key: ObjectKey
    uid: str
    reason: str
    propagation: str = "Background"


@dataclass(frozen=True, slots=True)
class HandOverReplicas:
    """Give the live replica count of a Deployment to another field manager before we stop owning it.

    Dropping an owned field by server-side apply would reset it to its default of 1.
    """

    key: ObjectKey
    replicas: int
    reason: str


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Hold the resource until its external state is cleaned up."""

    finalizer: str
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the resource go."""

    finalizer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notify:
    """A Kubernetes Event on the resource: `type` is Normal or Warning; recorded once per transition."""

    type: str
    event_reason: str
    message: str
    reason: str = "tell people"


@dataclass(frozen=True, slots=True)
class Call:
    """Something to be done outside the cluster: `operation` is one that the kind's own hands know (`Kind.hands`).

    It must be safe to do twice: a reconcile may end between the deed and its report. `arguments` hold no secrets.
    `required`: what comes after it in the plan must not be done without it.
    """

    operation: str
    arguments: Mapping[str, Any]
    reason: str
    required: bool = False


Action = Ensure | EnsureSecret | Delete | HandOverReplicas | AddFinalizer | RemoveFinalizer | Notify | Call


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order in which they are carried out, and the stages that status reports.

    `requeue_after` (seconds): look again although no event may come. `facts` is the kind's own data for its status.
    """

    actions: tuple[Action, ...] = ()
    stages: tuple[Stage, ...] = ()
    requeue_after: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """One action that could not be carried out. `terminal`: the same request would be refused again.

    `retry_after` (seconds): when it is tried again all the same, where no event tells that what refused it has changed.
    `unanswered`: nobody has judged it, since the API server or another system could not answer; it is not asked again
    in a hurry.
    """

    action: Action
    reason: str
    message: str
    remedy: str = ""
    terminal: bool = False
    retry_after: float | None = None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What converge did: failures are data; `written` counts requests that changed something.

    `objects` are the children that it wrote as the API server then had them, without their content.
    """

    failures: tuple[Failure, ...] = ()
    written: int = 0
    objects: tuple[Mapping[str, Any], ...] = ()
