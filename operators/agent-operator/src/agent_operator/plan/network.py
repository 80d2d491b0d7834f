"""The NetworkPolicy of an Agent: callers by its profile, and egress to what it is granted and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent_operator.plan.context import Context
from agent_operator.plan.grants import egress
from agent_operator.plan.judgement import Fate, Judged
from agent_operator.plan.pods import AGENT
from ameide_shared.builders.identity import child_metadata
from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import network_policy
from ameide_shared.compile.surroundings import telemetry_egress
from ameide_shared.kube.resources import NETWORK_POLICY
from ameide_shared.plan import Ensure


def border(ctx: Context, profile: NetworkProfile | None, pods: Iterable[Judged]) -> Ensure:
    """The NetworkPolicy for all that runs, or is about to: what any of it is granted may be reached.

    No profile means that the spec is refused: then callers stay those that there are. What is cut off reaches nothing,
    not even name servers; then the write of the policy holds nothing else back, since pods go next.
    """
    judged = list(pods)
    live = ctx.observed.objects.get(NETWORK_POLICY, ctx.primitive.namespace, ctx.primitive.child_name)
    ingress = profile.ingress if profile is not None else ()
    granted = [one for one in judged if one.fate is Fate.GRANTED]
    ways = [way for one in granted if one.verdict is not None for way in egress(ctx, one.verdict)]
    manifest = network_policy(
        ctx.primitive,
        NetworkProfile(ingress=ingress),
        [port.number for port in AGENT.ports],
        extra_egress=[*_distinct(ways), *telemetry_egress(ctx)],
    )
    spec = manifest["spec"]
    if profile is None and live is not None:
        spec.pop("ingress", None)
        spec |= {"ingress": live["spec"]["ingress"]} if "ingress" in live["spec"] else {}
    if any(one.fate is Fate.CUT_OFF for one in judged):
        return _border(ctx, {**spec, "egress": []}, "quarantine: what runs reaches nothing", required=False)
    if any(one.fate is Fate.KEPT for one in judged):
        # What it was granted cannot be told any more: it keeps the ways that are open, or has none.
        kept = list(((live or {}).get("spec") or {}).get("egress") or ())
        return _border(ctx, {**spec, "egress": kept}, "what runs keeps the ways that it has", required=True)
    return _border(ctx, spec, "only what is granted is reached", required=True)


def _border(ctx: Context, spec: Mapping[str, Any], reason: str, *, required: bool) -> Ensure:
    manifest = {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": dict(spec),
    }
    return Ensure(manifest, reason, required=required)


def _distinct(ways: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each way once: tools and revisions may share them."""
    found: list[Mapping[str, Any]] = []
    for way in ways:
        if way not in found:
            found.append(way)
    return found
