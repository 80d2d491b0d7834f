"""Which pod template runs: the target, once nothing holds it back, else the current revision; and the canary.

Released templates are ControllerRevisions. What holds a rollout back (refusal, migration, canary) holds back the whole
template; the current one can always be rebuilt from its revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from ameide_shared import vocabulary as v
from ameide_shared.builders.deployment import Rollout as DeploymentRollout
from ameide_shared.builders.deployment import deployment
from ameide_shared.builders.identity import Primitive, is_owned
from ameide_shared.builders.pod import for_track
from ameide_shared.kube.resources import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.plan import Action, Delete, Ensure, HandOverReplicas
from ameide_shared.reasons import Reason
from ameide_shared.revisions import (
    PodTemplate,
    Revision,
    controller_revision,
    next_number,
    read,
    stamp,
    to_prune,
    with_running,
)
from ameide_shared.snapshot import Snapshot
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.status import parse_time
from ameide_shared.workload import Cause, diagnose, workload_state

FAILS_A_CANARY: Final = frozenset({"CrashLoopBackOff", "OOMKilled", "ProgressDeadlineExceeded", "InvalidImageName"})
"""Causes that end a canary at once; others have until the progress deadline."""
MAY_BE_STARTING: Final = frozenset({"ReadinessProbeFailing", "StartupProbeFailing"})
STARTING_SECONDS: Final = 30.0
"""How long a new pod's failing probe is no news."""
_FAILED: Final = "Failed"
RUNNING: Final = "Running"


class CanaryRollout(DeploymentRollout, Protocol):
    """How a spec rolls out: as a Deployment does, with a canary where `Workload.canary` says so."""

    @property
    def canary_replicas(self) -> int: ...

    @property
    def canary_ready_seconds(self) -> int: ...

    @property
    def revision_history_limit(self) -> int: ...


class Scales(Protocol):
    """What an autoscaler is asked for."""

    @property
    def min_replicas(self) -> int: ...


class RollsOut(Protocol):
    """What is read of a spec here."""

    @property
    def replicas(self) -> int | None: ...

    @property
    def autoscaling(self) -> Scales | None: ...

    @property
    def rollout(self) -> CanaryRollout: ...


@dataclass(frozen=True, slots=True)
class Workload:
    """A resource whose pods a Deployment runs, and what is known of it.

    `objects` holds its children and pods, `recorded` is its status as last written, `history` the number of revisions
    that settings allow to be kept, `canary` whether its spec asks for one. `scalers` are the kinds of objects of the
    Deployment's name that own its replica count where `spec.autoscaling` is set.
    """

    primitive: Primitive
    spec: RollsOut
    objects: Snapshot
    recorded: Mapping[str, Any]
    history: int
    canary: bool
    now: datetime
    scalers: tuple[ResourceType, ...] = (HORIZONTAL_POD_AUTOSCALER,)

    @property
    def scaler(self) -> Manifest | None:
        """The object that scales the Deployment, None where there is none yet."""
        found = (self.objects.get(kind, self.primitive.namespace, self.primitive.child_name) for kind in self.scalers)
        return next((live for live in found if live is not None), None)


@dataclass(frozen=True, slots=True)
class Rollout:
    """The template to run (None: nothing has ever been released), what to write for it, and how far it is."""

    template: PodTemplate | None
    target: str
    current: str
    actions: tuple[Action, ...] = ()
    stage: Stage | None = None  # the canary's, where there is something to say
    canary: Mapping[str, Any] = field(default_factory=dict)  # status.canary
    annotations: Mapping[str, str] = field(default_factory=dict)  # of the revision that runs


def plan_rollout(
    workload: Workload,
    target: PodTemplate | None,
    revisions: Sequence[Revision],
    *,
    annotations: Mapping[str, str],
    held: bool,
    config: Callable[[PodTemplate], str],
    proof: Proof | None = None,
    dress: Callable[[PodTemplate], PodTemplate] | None = None,
) -> Rollout:
    """Decide between target and current. `proof` is what a canary must give besides staying ready.

    No target means that none can be named, which holds it back.

    `annotations` go onto the released revision. `held`: an earlier stage holds the target back. `config` tells the
    digest of what the pods of a template consume; it is stamped on whichever template runs. `dress` changes what is
    part of no revision, such as which ConfigMap a volume names: it gets a stamped template, before its pods are made.
    """

    def worn(template: PodTemplate) -> PodTemplate:
        configured = with_config(template, config(template))
        return dress(configured) if dress is not None else configured

    stamped, digest = stamp(target) if target is not None else (None, "")
    current = revisions[-1] if revisions else None
    released = current is not None and current.digest == digest
    kept = {name: (current.annotations or {})[name] for name in _own(current)} if current else {}
    if held or stamped is None:
        recorded = workload.recorded.get("canary") or {}
        return Rollout(
            worn(current.template) if current else None,
            digest,
            current.digest if current else "",
            _drop_canary(workload, "the target is held back"),
            # That this target has failed before is still true when nothing holds it back any more.
            canary=recorded if (recorded.get("revision"), recorded.get("state")) == (digest, _FAILED) else {},
            annotations=kept,
        )
    if current is not None and not released and workload.canary:
        verdict = _canary(workload, worn(stamped), digest, proof)
        if verdict.stage is not None:
            return Rollout(
                worn(current.template),
                digest,
                current.digest,
                verdict.actions,
                verdict.stage,
                verdict.canary,
                kept,
            )
    number = current.number if current is not None and released else next_number(revisions)
    release = Ensure(
        controller_revision(workload.primitive, stamped, number=number, annotations=annotations),
        f"release revision {digest}",
    )
    limit = min(workload.history, workload.spec.rollout.revision_history_limit)
    prune = tuple(
        Delete(
            CONTROLLER_REVISION,
            ObjectKey(workload.primitive.namespace, revision.name),
            revision.uid,
            "beyond the history limit",
        )
        for revision in to_prune(revisions, limit, keep={digest, *_running_revisions(workload)})
    )
    promoted = _drop_canary(workload, "promoted") if released and _rolled_out(workload, digest) else ()
    template = worn(stamped)
    return Rollout(template, digest, digest, (release, *prune, *promoted), annotations=annotations)


def _own(revision: Revision) -> list[str]:
    """The names of the annotations that a kind put onto a revision when it was released."""
    machinery = {v.ANNOTATION_REVISION, v.ANNOTATION_FIELD_SET}
    return [name for name in revision.annotations or {} if name.startswith(f"{v.GROUP}/") and name not in machinery]


def with_config(template: PodTemplate, config: str) -> dict[str, Any]:
    """The template with the digest of what its pods consume: pods roll when that changes, whatever revision runs."""
    metadata = dict(template.get("metadata") or {})
    if config:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), v.ANNOTATION_CONFIG_DIGEST: config}
    return {"metadata": metadata, "spec": template["spec"]}


@dataclass(frozen=True, slots=True)
class Proven:
    """What a ready canary still lacks (empty: nothing), and whether that counts as its failure."""

    missing: str = ""
    failed: bool = False


Proof = Callable[[Manifest, Sequence[Manifest]], Proven]
"""(canary Deployment, its pods) → whether it does its work, beyond being ready."""


# --- the canary -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Verdict:
    stage: Stage | None = None
    actions: tuple[Action, ...] = ()
    canary: Mapping[str, Any] = field(default_factory=dict)


def _canary(workload: Workload, template: PodTemplate, digest: str, proof: Proof | None) -> _Verdict:
    """No stage means: promote. `template` is as its pods shall have it."""
    recorded = workload.recorded.get("canary") or {}
    if recorded.get("revision") == digest and recorded.get("state") == _FAILED:
        return _Verdict(_rejected(digest, recorded.get("message", "")), _drop_canary(workload, "it failed"), recorded)
    rollout = workload.spec.rollout
    manifest = deployment(
        workload.primitive,
        for_track(template, v.TRACK_CANARY),
        replicas=rollout.canary_replicas,
        spec=workload.spec,
        track=v.TRACK_CANARY,
        min_ready_seconds=rollout.canary_ready_seconds,
    )
    ensure = Ensure(manifest, f"canary of revision {digest}")
    what = f"Deployment {workload.primitive.canary_name}"
    live = workload.objects.get(DEPLOYMENT, workload.primitive.namespace, workload.primitive.canary_name)
    progress = {"revision": digest, "state": RUNNING}
    if live is None or _revision_of(live) != digest:
        message = f"the canary of revision {digest} is being started"
        return _Verdict(_in_progress(what, message), (ensure,), progress)
    # A pod of an earlier canary may not be gone yet; what it says is not this one's.
    pods = [pod for pod in pods_of(workload, v.TRACK_CANARY) if _stamps(pod)[0] == digest]
    state = workload_state(live, pods)
    cause = diagnose(live, pods)
    failure = cause.message if cause is not None and cause.code in FAILS_A_CANARY else ""
    lacking = ""
    if state.rolled_out and state.available >= rollout.canary_replicas:
        given = proof(live, pods) if proof is not None else Proven()
        if given.missing == "":
            return _Verdict()
        lacking, failure = given.missing, given.missing if given.failed else ""
    if failure:
        failed = {"revision": digest, "state": _FAILED, "message": failure}
        return _Verdict(_rejected(digest, failure), _drop_canary(workload, "it failed"), failed)
    if lacking:
        return _Verdict(_in_progress(what, f"the canary of revision {digest} is ready: {lacking}"), (ensure,), progress)
    why = f": {cause.message}" if cause else ""
    message = (
        f"the canary of revision {digest} has {state.ready} of {rollout.canary_replicas} pods ready and must stay so "
        f"for {rollout.canary_ready_seconds} s{why}"
    )
    return _Verdict(_in_progress(what, message), (ensure,), progress)


def _in_progress(what: str, message: str) -> Stage:
    return Stage("", State.PROGRESSING, Reason.CanaryInProgress, message, object=what)


def _rejected(digest: str, message: str) -> Stage:
    return Stage(
        "",
        State.STALLED,
        Reason.CanaryFailed,
        f"the canary of revision {digest} failed and was removed; the current revision keeps serving: {message}",
        object=f"revision {digest}",
        remedy="mend the image or the spec: any change of the pod template starts a new canary",
    )


def _drop_canary(workload: Workload, why: str) -> tuple[Delete, ...]:
    live = workload.objects.get(DEPLOYMENT, workload.primitive.namespace, workload.primitive.canary_name)
    if live is None or live["metadata"].get("deletionTimestamp") or not is_owned(workload.primitive, live):
        return ()
    return (Delete(DEPLOYMENT, key_of(live), live["metadata"]["uid"], f"the canary goes: {why}"),)


# --- the main Deployment --------------------------------------------------------------------------------------------


def released(workload: Workload) -> list[Revision]:
    """The revisions that were released, oldest first; the last one is the current."""
    recorded = (workload.recorded.get("revision") or {}).get("current", "")
    namespace, child = workload.primitive.namespace, workload.primitive.child_name
    kept = [live for live in workload.objects.list(CONTROLLER_REVISION) if is_owned(workload.primitive, live)]
    return with_running(read(kept), workload.objects.get(DEPLOYMENT, namespace, child), recorded)


def planned_replicas(workload: Workload, actions: Iterable[Action]) -> int | None:
    """The replica count that the main Deployment is planned to have; None where an autoscaler decides."""
    ensured = (action for action in actions if isinstance(action, Ensure) and action.resource is DEPLOYMENT)
    main = next((action for action in ensured if action.key.name == workload.primitive.child_name), None)
    count = main.manifest["spec"].get("replicas") if main is not None else None
    return int(count) if count is not None else None


def main_deployment(
    workload: Workload, template: PodTemplate, annotations: Mapping[str, str], *, scaled: bool
) -> tuple[Action, ...]:
    """The Deployment, and the hand-over of its replica count when an autoscaler takes it.

    `annotations` are those of the revision that runs: they tell what was done for it where its ControllerRevision is
    lost. `scaled`: this plan also makes the autoscaler that the spec asks for. While it is not made, as for a refused
    spec, the count stays ours and as it is: handed over to nobody it would be handed over in each pass.
    """
    live = workload.objects.get(DEPLOYMENT, workload.primitive.namespace, workload.primitive.child_name)
    scaler = workload.scaler
    autoscaled = workload.spec.autoscaling is not None and (scaled or scaler is not None)
    count = ((live or {}).get("spec") or {}).get("replicas")
    manifest = deployment(
        workload.primitive,
        template,
        replicas=None if autoscaled else _replicas(workload, count, scaler),
        spec=workload.spec,
    )
    if annotations:
        manifest["metadata"]["annotations"] = {**(manifest["metadata"].get("annotations") or {}), **annotations}
    ensure = Ensure(manifest, "the workload")
    if autoscaled and live is not None and scaler is None and count is not None:
        reason = "an autoscaler takes over; dropping the field would reset it to 1"
        return (HandOverReplicas(key_of(live), count, reason), ensure)
    return (ensure,)


def _replicas(workload: Workload, live: int | None, scaler: Manifest | None) -> int:
    """What the spec says; the live count where it says nothing, or where an autoscaler is only now coming or going."""
    coming = workload.spec.autoscaling is not None
    if live is not None and (workload.spec.replicas is None or coming or scaler is not None):
        return live
    return 1 if workload.spec.replicas is None else workload.spec.replicas


def workload_stage(workload: Workload, template: PodTemplate | None, replicas: int | None, gate: Stage | None) -> Stage:
    """How the main Deployment stands against what it shall run. `gate`: what held the first release back."""
    if template is None:
        return blocked(v.WORKLOAD_READY, gate) if gate is not None else _not_ready("nothing has been released yet")
    name = workload.primitive.child_name
    what = f"Deployment {name}"
    live = workload.objects.get(DEPLOYMENT, workload.primitive.namespace, name)
    if live is None:
        return _not_ready(f"{what} is being created", what)
    wanted, found = _stamps(template), _stamps((live.get("spec") or {}).get("template") or {})
    if wanted != found:
        return Stage(
            v.WORKLOAD_READY,
            State.PROGRESSING,
            Reason.RolloutInProgress,
            f"{what} is moving to revision {wanted[0]}",
            object=what,
        )
    count = (live.get("spec") or {}).get("replicas")
    if replicas is None and workload.spec.autoscaling is not None and count:
        # It starts with one pod, which its autoscaler is about to raise: being Ready in between would be a flap.
        replicas = max(count, workload.spec.autoscaling.min_replicas)
    if replicas is not None and count != replicas:
        return Stage(v.WORKLOAD_READY, State.PROGRESSING, Reason.RolloutInProgress, f"{what} is scaling", object=what)
    pods = pods_of(workload, v.TRACK_STABLE)
    state = workload_state(live, pods)
    if state.rolled_out:
        if state.desired == 0:
            return done(v.WORKLOAD_READY, Reason.ScaledToZero, "scaled to zero, as asked")
        return done(v.WORKLOAD_READY, Reason.Available)
    cause = diagnose(live, pods)
    if cause is not None:
        until = _starting_until(workload, cause, pods)
        return Stage(
            v.WORKLOAD_READY,
            State.FAILED if until is None else State.PROGRESSING,
            Reason.DeploymentNotReady,
            cause.message,
            object=cause.object or what,
            remedy=cause.remedy,
            retry_at=until,
        )
    message = f"{state.ready} of {state.desired} pods are ready, {state.updated} are up to date"
    if _told_of_rollout(workload):
        # To whoever looks on it is still the same phase: one reason, one status write.
        return Stage(v.WORKLOAD_READY, State.PROGRESSING, Reason.RolloutInProgress, message, object=what)
    return _not_ready(message, what)


def _told_of_rollout(workload: Workload) -> bool:
    """Whether status says that the Deployment moves, and nothing else since."""
    conditions = workload.recorded.get("conditions") or ()
    return any(c["type"] == v.WORKLOAD_READY and c["reason"] == Reason.RolloutInProgress for c in conditions)


def _starting_until(workload: Workload, cause: Cause, pods: Sequence[Manifest]) -> datetime | None:
    """Until when a probe that fails is taken for a container that is starting; None for what counts as a failure."""
    if cause.code not in MAY_BE_STARTING:
        return None
    starts = [
        parse_time(pod["status"]["startTime"])
        for pod in pods
        if cause.object.endswith(pod["metadata"]["name"]) and (pod.get("status") or {}).get("startTime")
    ]
    until = max(starts) + timedelta(seconds=STARTING_SECONDS) if starts else workload.now
    return until if until > workload.now else None


def _not_ready(message: str, what: str = "") -> Stage:
    return Stage(v.WORKLOAD_READY, State.PROGRESSING, Reason.DeploymentNotReady, message, object=what)


def pods_of(workload: Workload, track: str) -> list[Manifest]:
    """The Domain's serving pods of a track."""
    return [
        pod
        for pod in workload.objects.list(POD, workload.primitive.namespace)
        if (pod["metadata"].get("labels") or {}).get(v.LABEL_TRACK) == track
    ]


def _stamps(template: PodTemplate) -> tuple[str, str]:
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return annotations.get(v.ANNOTATION_REVISION, ""), annotations.get(v.ANNOTATION_CONFIG_DIGEST, "")


def _revision_of(live: Manifest) -> str:
    return _stamps((live.get("spec") or {}).get("template") or {})[0]


def _rolled_out(workload: Workload, digest: str) -> bool:
    live = workload.objects.get(DEPLOYMENT, workload.primitive.namespace, workload.primitive.child_name)
    return live is not None and _revision_of(live) == digest and workload_state(live, ()).rolled_out


def _running_revisions(workload: Workload) -> set[str]:
    return {_revision_of(live) for live in workload.objects.list(DEPLOYMENT, workload.primitive.namespace)}
