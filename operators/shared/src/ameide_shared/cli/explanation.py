"""What `explain` tells, as data: read from the cluster, then put together by a pure function."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.gather import Gathered, find, gather, require_api
from ameide_shared.confidential import cleaned, quiet
from ameide_shared.diagnosis import Cause
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ApiError, Forbidden
from ameide_shared.kube.resources import (
    DEPLOYMENT,
    EVENT,
    JOB,
    LEASE,
    POD,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.plan import Outcome
from ameide_shared.reasons import CATALOGUE, Reason
from ameide_shared.reconcile import is_paused, ready_of
from ameide_shared.redact import scrub
from ameide_shared.status import child_entry, parse_time
from ameide_shared.vocabulary import ANNOTATION_PAUSED, READY
from ameide_shared.workload import diagnose, job_state

log = logging.getLogger(__name__)
_EVENTS: Final = 10
_ONCE_TRUE: Final = ("Progressing", "Degraded", "Reconciling", "Stalled", "Paused")
"""Conditions that sum up others: no part of the chain."""
_BAD_NEWS: Final = ("MigrationFailed", "PolicyViolation")
"""Conditions that say while True what the blocker says."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the cluster says of a resource. `computed`: the status that a plan made here and now gives.

    `leases` is None where Leases may not be listed, `forbidden` why something could not be read.
    """

    resource: Manifest
    seen: Gathered
    computed: Mapping[str, Any]
    events: Sequence[Manifest] = ()
    leases: Sequence[Manifest] | None = ()
    forbidden: str = ""


async def collect(
    client: ApiClient, definition: Definition, key: ObjectKey, settings: Any, now: datetime
) -> Found | None:
    """Read all that `explanation` needs; None if there is no such resource.

    What the user may not read (Secrets, say) is left out, and said.
    """
    resource = await find(client, definition.resource, key)
    if resource is None:
        await require_api(client, definition)
        return None
    forbidden = ""
    seen = Gathered(resource, (), frozenset())
    computed: Mapping[str, Any] = {}
    try:
        seen = await gather(client, definition, resource)
        resource = dict(quiet(resource))
        observed = definition.observed(seen.objects, seen.apis)
        plan = definition.plan(resource, observed, settings, now)
        computed = definition.status(resource, observed, plan, Outcome(), now)
    except Forbidden as error:
        forbidden = error.message
    names = {key.name, *(str(child["name"]) for child in (resource.get("status") or {}).get("children") or ())}
    events = await _events(client, key, names)
    return Found(resource, seen, computed, events, await _leases(client, definition, settings), forbidden)


async def _events(client: ApiClient, key: ObjectKey, names: set[str]) -> list[Manifest]:
    try:
        listed = (await client.list(EVENT, key.namespace)).items
    except ApiError as error:
        log.debug("Events of %s cannot be read: %s", key, error.message)
        return []
    return [
        cleaned(event)
        for event in listed
        if (name := str((event.get("regarding") or {}).get("name", ""))) in names
        or any(name.startswith(f"{other}-") for other in names if other != key.name)  # ReplicaSets and pods
    ]


async def _leases(client: ApiClient, definition: Definition, settings: Any) -> list[Manifest] | None:
    election = settings.leader_election
    name = election.name or definition.operator
    try:
        return list((await client.list(LEASE, election.namespace, field_selector=f"metadata.name={name}")).items)
    except ApiError:
        return None


# --- pure from here on ------------------------------------------------------------------------------------------------


def explanation(definition: Definition, found: Found, now: datetime) -> dict[str, Any]:
    """The JSON shape that `explain -o json` documents."""
    resource = found.resource
    metadata = resource["metadata"]
    generation = int(metadata.get("generation", 0))
    status: Mapping[str, Any] = resource.get("status") or {}
    stale = int(status.get("observedGeneration", -1)) != generation
    source = "plan" if stale and found.computed else "status"
    if source == "plan":
        status = _undated(found.computed)
    ready = ready_of(status) or {"status": "Unknown", "reason": "", "message": ""}
    operator = _operator(found.leases, now)
    # A status of an older generation, or one that nobody wrote, is no proof of being Ready.
    is_ready = ready["status"] == "True" and not stale
    return {
        "kind": resource["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": is_ready,
        "reason": ready["reason"] or "NotSeen",
        "message": ready.get("message") or "",
        "source": source,
        "generation": generation,
        "observedGeneration": int((resource.get("status") or {}).get("observedGeneration", -1)),
        "paused": is_paused(resource),
        "deleting": bool(metadata.get("deletionTimestamp")),
        "blocker": _blocker(status.get("blocker")),
        "chain": _chain(status),
        "children": _children(status, found.seen),
        "events": _events_of(found.events),
        "operator": operator,
        "advice": [*_advice(definition, found, stale, operator), *_notes(status)],
    }


def _undated(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without its times: those of a plan made here and now say nothing."""
    conditions = [{**c, "lastTransitionTime": ""} for c in status.get("conditions") or ()]
    blocker = status.get("blocker")
    return {**status, "conditions": conditions, "blocker": {**blocker, "since": ""} if blocker else None}


def _blocker(blocker: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not blocker:
        return None
    fields = ("reason", "object", "message", "remedy", "since", "retryAt")
    entry: dict[str, Any] = {key: blocker.get(key) or "" for key in fields}
    known = CATALOGUE.get(Reason(entry["reason"])) if entry["reason"] in Reason.__members__ else None
    return {**entry, "cause": known.cause if known else "", "advice": known.remedy if known else ""}


def _chain(status: Mapping[str, Any]) -> list[dict[str, str]]:
    """Stages that are not done, in order: what stands first is what the others wait for."""
    return [
        {
            "condition": c["type"],
            "status": c["status"],
            "reason": c["reason"],
            "message": c.get("message") or "",
            "since": c.get("lastTransitionTime") or "",
        }
        for c in status.get("conditions") or ()
        if c["status"] != "True" and c["type"] not in (READY, *_ONCE_TRUE) and not _negative(c)
    ]


def _notes(status: Mapping[str, Any]) -> list[str]:
    """What is well and has something to say all the same: what is served meanwhile, pending, or probably not meant."""
    return [
        f"{c['type']}: {c['message']}"
        for c in status.get("conditions") or ()
        if c["status"] == "True"
        and c.get("message")
        and c["reason"] != Reason.NotRequired
        and c["type"] not in (READY, *_ONCE_TRUE, *_BAD_NEWS)
    ]


def _negative(condition: Mapping[str, Any]) -> bool:
    """A condition that is good news while False, such as MigrationFailed."""
    good = (Reason.NoFailure, Reason.AsExpected, Reason.PolicyCompliant)
    return condition["status"] == "False" and condition["reason"] in good


def _children(status: Mapping[str, Any], seen: Gathered) -> list[dict[str, Any]]:
    """Children that are not well, as the cluster has them now, with the cause that their pods show."""
    objects = {(resource_of(item), key_of(item)): item for item in seen.objects}
    pods = [item for item in seen.objects if resource_of(item) is POD]
    found = []
    for child in (*(status.get("children") or ()), *_in_the_way(status, seen)):
        entry, live = dict(child), _live(child, objects)
        if objects:
            stub = {**child, "metadata": {"namespace": child["namespace"], "name": child["name"]}}
            entry = child_entry(stub, live)
        cause = _cause(live, pods)
        if cause is not None:
            entry |= {"ready": False, "reason": cause.code}
        if not entry["ready"]:
            words = {"cause": cause.message if cause else "", "remedy": cause.remedy if cause else ""}
            found.append({**entry, "reason": entry.get("reason") or "", **words})
    return found


def _in_the_way(status: Mapping[str, Any], seen: Gathered) -> list[dict[str, Any]]:
    """The object that the blocker names, where it is no longer asked for and so is no child in status: a failed Job."""
    named = str((status.get("blocker") or {}).get("object") or "")
    listed = {(child["kind"], child["namespace"], child["name"]) for child in status.get("children") or ()}
    return [
        {"apiVersion": item["apiVersion"], "kind": item["kind"], "namespace": key.namespace, "name": key.name}
        for item in seen.objects
        if (key := key_of(item)) and resource_of(item) in (DEPLOYMENT, JOB)
        if named in (f"{item['kind']} {key}", f"{item['kind']} {key.name}")
        and (item["kind"], key.namespace, key.name) not in listed
    ]


def _live(child: Mapping[str, Any], objects: Mapping[tuple[ResourceType, ObjectKey], Manifest]) -> Manifest | None:
    key = ObjectKey(str(child["namespace"]), str(child["name"]))
    try:
        return objects.get((resource_of(child), key))
    except KeyError:
        return None


def _cause(live: Manifest | None, pods: Sequence[Manifest]) -> Cause | None:
    if live is None:
        return None
    if resource_of(live) is DEPLOYMENT:
        return diagnose(live, pods)
    if resource_of(live) is JOB:
        state = job_state(live, pods)
        if state.reason:
            return Cause(state.reason, f"Job {key_of(live)}", state.message, "")
        return state.cause
    return None


def _events_of(events: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The latest Events, newest first."""
    told = []
    for event in events:
        series = event.get("series") or {}
        times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
        when = next((str(time) for time in times if time), "") or str(event["metadata"].get("creationTimestamp") or "")
        regarding = event.get("regarding") or {}
        told.append(
            {
                "time": when,
                "type": event.get("type") or "Normal",
                "reason": event.get("reason") or "",
                "message": scrub(str(event.get("note") or "")),
                "object": f"{regarding.get('kind')} {regarding.get('name')}",
                "count": int(series.get("count") or event.get("deprecatedCount") or 1),
            }
        )
    return sorted(told, key=lambda entry: str(entry["time"]), reverse=True)[:_EVENTS]


def _operator(leases: Sequence[Manifest] | None, now: datetime) -> dict[str, Any]:
    """Whether somebody leads: a Lease that is held and was renewed within its duration (with 5 s for clocks)."""
    if leases is None:
        return {"running": None, "holder": "", "namespace": "", "renewed": ""}
    told = {"running": False, "holder": "", "namespace": "", "renewed": ""}
    for lease in sorted(leases, key=lambda item: str((item.get("spec") or {}).get("renewTime") or "")):
        spec: Mapping[str, Any] = lease.get("spec") or {}
        renewed = str(spec.get("renewTime") or "")
        held = bool(spec.get("holderIdentity")) and bool(renewed)
        fresh = held and (now - parse_time(renewed)).total_seconds() < int(spec.get("leaseDurationSeconds") or 15) + 5
        told = {
            "running": fresh,
            "holder": str(spec.get("holderIdentity") or ""),
            "namespace": lease["metadata"]["namespace"],
            "renewed": renewed,
        }
    return told


def _advice(definition: Definition, found: Found, stale: bool, operator: Mapping[str, Any]) -> list[str]:
    """What can be said besides the blocker's own remedy."""
    resource, advice = found.resource, []
    if stale:
        seen_before = int((resource.get("status") or {}).get("observedGeneration", -1)) >= 0
        written = "its last change" if seen_before else "it"
        advice.append(f"the operator has not seen {written} yet")
        if operator["running"] is True:
            advice.append(
                f"{definition.operator} is running ({operator['holder']} in {operator['namespace']}): if this lasts, "
                "see whether it watches this namespace (watch.namespaces, watch.exclude)"
            )
    ready = ready_of(resource.get("status") or {})
    if operator["running"] is False and (stale or ready is None or ready["status"] != "True"):
        where = f" since {operator['renewed']}" if operator["renewed"] else ""
        advice.append(
            f"no {definition.operator} holds its Lease{where}: start the operator, or look at its pods (with "
            "leaderElection.enabled: false there is no Lease)"
        )
    if operator["running"] is None and stale:
        advice.append(f"whether {definition.operator} runs is not known: Leases may not be listed")
    if is_paused(resource):
        advice.append(f"the annotation {ANNOTATION_PAUSED} is true: remove it to go on")
    if found.forbidden:
        advice.append(f"children could not be read, so that only the status speaks: {found.forbidden}")
    return advice
