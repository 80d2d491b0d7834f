"""What the policy says: of the Agent that the spec asks for, and of the one that runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from agent_operator.definition import Parsed
from agent_operator.plan.context import Context
from agent_operator.plan.quarantine import is_marked
from agent_operator.policy.evaluate import evaluate
from agent_operator.policy.offline import problem_of
from agent_operator.policy.subject import Subject, as_data, from_data, subject_of, tool_requests
from agent_operator.policy.verdict import Verdict
from ameide_shared.compile.context import annotation
from ameide_shared.reasons import Reason
from ameide_shared.revisions import Revision
from ameide_shared.stages import Stage, State, done
from ameide_shared.vocabulary import ANNOTATION_PAUSED

ANNOTATION_SUBJECT: Final = "ameide.io/policy-subject"
"""On revisions: the Agent as the policy judged it when they were released, so that a later policy can judge it anew."""


class Fate(Enum):
    """What becomes of something that the policy has judged."""

    GRANTED = "granted"  # it gets what the policy grants it
    KEPT = "kept"  # it runs on with what it has
    CUT_OFF = "cut off"  # it loses its network, its grants and its pods


@dataclass(frozen=True, slots=True)
class Judged:
    """An Agent and what the policy says of it; no verdict where there is no policy."""

    subject: Subject
    verdict: Verdict | None
    cut_off: bool = False
    """Whether it has been cut off already: it stays so until a policy allows it."""

    @property
    def allowed(self) -> bool:
        return self.verdict is not None and self.verdict.allowed

    @property
    def fate(self) -> Fate:
        """What becomes of it if it runs already."""
        if self.allowed:
            return Fate.GRANTED
        if self.cut_off:
            return Fate.CUT_OFF
        if self.verdict is None:
            return Fate.KEPT
        return Fate.CUT_OFF if self.verdict.on_tightening == "Quarantine" else Fate.KEPT


def judge_wanted(ctx: Context, parsed: Parsed | None, running: Judged | None) -> Judged:
    """The judgement of the spec, with what its definition needs.

    While the definition cannot be read, what runs tells what it needs: that it is not known must not make it less.
    """
    namespace = ctx.primitive.namespace
    if parsed is not None:
        roles = parsed.roles
        tools = tuple(tool_requests(parsed.tools, namespace, "definition.tools"))
    elif running is not None and running.subject.definition_id == ctx.reference.id:
        roles, tools = running.subject.roles, running.subject.definition_tools
    else:
        roles, tools = (), ()
    subject = subject_of(
        ctx.manifest, tenant_id=ctx.primitive.tenant_id, sku=ctx.sku, roles=roles, definition_tools=tools
    )
    return _judged(ctx, subject)


def judge_running(ctx: Context, revision: Revision | None) -> Judged | None:
    """The judgement of the revision that was released last; None before the first one.

    A revision that does not tell what it is, or in words of another version, is judged as the spec is.
    """
    if revision is None:
        return None
    written = (revision.annotations or {}).get(ANNOTATION_SUBJECT, "")
    try:
        subject = from_data(json.loads(written))
    except (ValueError, KeyError, TypeError):
        subject = subject_of(ctx.manifest, tenant_id=ctx.primitive.tenant_id, sku=ctx.sku)
    # Tenant and SKU are the namespace's, and may have changed since.
    judged = _judged(ctx, replace(subject, tenant_id=ctx.primitive.tenant_id, sku=ctx.sku))
    told = (ctx.manifest.get("status") or {}).get("policy") or {}
    # The Deployment that bears the mark may have been deleted meanwhile.
    return replace(judged, cut_off=is_marked(ctx) or bool(told.get("quarantined")))


def subject_text(subject: Subject) -> str:
    """The subject as the annotation of a revision."""
    return json.dumps(as_data(subject), sort_keys=True, separators=(",", ":"))


def policy_stage(ctx: Context, wanted: Judged, running: Judged | None, *, cut_off: bool) -> Stage:
    """What only Ready reports of the policy; the condition PolicyViolation has the rest."""
    fault = ctx.observed.policy.fault
    if ctx.observed.policy.policy is None:
        told = f"the policy {fault.message}" if fault is not None else "the policy has yet to be read"
        runs = "what was cut off stays so" if cut_off else "what runs goes on"
        message = f"{told}; without a policy nothing is allowed, and {runs}"
        remedy = fault.remedy if fault is not None else ""
        state = State.FAILED if fault is not None else State.PROGRESSING
        return Stage("", state, Reason.PolicyNotLoaded, message, object="policy", remedy=remedy)
    if not wanted.allowed:
        assert wanted.verdict is not None, "there is a policy"
        reason = Reason.Quarantined if cut_off else Reason.PolicyViolation
        message = f"{_consequence(ctx, running, cut_off=cut_off)}: {wanted.verdict.message}"
        problems = tuple(problem_of(found) for found in wanted.verdict.violations)
        remedy = wanted.verdict.remedy
        if cut_off and is_held_back(ctx, running):
            remedy = f"remove the annotation {ANNOTATION_PAUSED}; {remedy}"
        return Stage("", State.STALLED, reason, message, object="policy", remedy=remedy, problems=problems)
    if cut_off and running is not None and running.verdict is not None:
        consequence = _consequence(ctx, running, cut_off=True)
        message = f"what ran is {consequence}, until the spec is released: {running.verdict.message}"
        return Stage("", State.PROGRESSING, Reason.Quarantined, message, object="policy", remedy=running.verdict.remedy)
    if fault is not None:
        return done("", Reason.PolicyInvalid, fault_text(ctx), degraded=True)
    return done("", Reason.PolicyCompliant)


def _consequence(ctx: Context, running: Judged | None, *, cut_off: bool) -> str:
    """What comes of a spec that breaks the policy: the first thing that people have to know."""
    if cut_off and is_held_back(ctx, running):
        return f"to be cut off, and runs on only because the annotation {ANNOTATION_PAUSED} is true"
    if cut_off:
        return "cut off (no egress, no grants, no pods)"
    if running is None:
        return "nothing of it is started"
    if running.allowed:
        return "not rolled out, what was released before runs on"
    return "runs on as it was released, though the policy forbids it by now"


def is_held_back(ctx: Context, running: Judged | None) -> bool:
    """Whether a quarantine that is due is not carried out, since nothing is written while the Agent is paused."""
    return annotation(ctx.manifest, ANNOTATION_PAUSED) == "true" and not (running is not None and running.cut_off)


def facts(ctx: Context, wanted: Judged, running: Judged | None, *, cut_off: bool) -> dict[str, Any]:
    """What status tells of the policy."""
    policy, verdict = ctx.observed.policy.policy, wanted.verdict
    told: dict[str, Any] = {"digest": policy.digest} if policy is not None else {}
    if verdict is not None and not verdict.allowed:
        told["violations"] = list(dict.fromkeys(found.rule for found in verdict.violations))
    return told | ({"quarantined": True} if cut_off and not is_held_back(ctx, running) else {})


def fault_text(ctx: Context) -> str:
    """What is wrong with the policy's file while the policy before it stays in force; empty if nothing is."""
    fault = ctx.observed.policy.fault
    if fault is None or ctx.observed.policy.policy is None:
        return ""
    return f"the policy's file {fault.message}; the policy before it stays in force. Remedy: {fault.remedy}"


def _judged(ctx: Context, subject: Subject) -> Judged:
    policy = ctx.observed.policy.policy
    return Judged(subject, evaluate(policy, subject) if policy is not None else None)
