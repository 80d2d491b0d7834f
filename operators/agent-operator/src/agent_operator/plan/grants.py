"""The grants as a child: an immutable ConfigMap named by digest; and what the grants service is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent_operator.grants import Grants, build
from agent_operator.plan.context import RESOURCES, Context, Unread
from agent_operator.plan.judgement import Fate, Judged
from agent_operator.policy.subject import ToolKey
from agent_operator.policy.verdict import GrantedTool, Verdict, Violation
from ameide_shared.builders.identity import Primitive, child_metadata, is_owned
from ameide_shared.builders.networkpolicy import primitive_egress, rule_egress
from ameide_shared.compile.context import annotation
from ameide_shared.compile.immutable import ensure_immutable
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT, POD, Manifest, key_of
from ameide_shared.plan import Action, Call, Delete
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, done
from ameide_shared.tenancy import reference_problem

GRANTS_READY: Final = "GrantsReady"
FILE: Final = "grants.json"
VOLUME: Final = "agent"
"""The volume with definition and grants."""
ANNOTATION_GRANTS: Final = "ameide.io/grants-digest"
PUBLISH_GRANTS: Final = "publish grants"
REVOKE_GRANTS: Final = "revoke grants"
_NOTHING: Final = Verdict((Violation(".", "", "cut off", ""),))


@dataclass(frozen=True, slots=True)
class Held:
    """The grants that pods hold: built now, or, without a document, those that they have."""

    digest: str
    built: Grants | None = None


def grants_of(ctx: Context, judged: Judged) -> Held:
    """The grants of something by what the policy says of it."""
    if judged.fate is Fate.KEPT:
        # What the Deployment has goes before what status says: a status may lag behind.
        main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
        worn = annotation(((main or {}).get("spec") or {}).get("template") or {}, ANNOTATION_GRANTS)
        return Held(worn or str(((ctx.manifest.get("status") or {}).get("grants") or {}).get("digest") or ""))
    verdict = judged.verdict if judged.fate is Fate.GRANTED and judged.verdict is not None else _NOTHING
    found = {tool.tool: address for tool in verdict.tools if (address := _address(ctx, tool.tool))}
    grants = build(judged.subject, verdict, found)
    return Held(grants.digest, grants)


def dress(ctx: Context, template: PodTemplate, held: Held) -> PodTemplate:
    """The template with its grants: which ConfigMap its volume names is part of no revision."""
    if not held.digest:
        return template
    name = config_map_name(ctx.primitive, held.digest)
    annotations = {**(template["metadata"].get("annotations") or {}), ANNOTATION_GRANTS: held.digest}
    volumes = [_dressed(volume, name) for volume in template["spec"].get("volumes") or ()]
    return {
        "metadata": {**template["metadata"], "annotations": annotations},
        "spec": {**template["spec"], "volumes": volumes},
    }


def source(primitive: Primitive) -> dict[str, Any]:
    """The grants as the source of a projected volume, before it is known which they are."""
    return {"configMap": {"name": f"{primitive.child_name}-grants", "items": [{"key": FILE, "path": FILE}]}}


def ensure_grants(ctx: Context, held: Sequence[Held], *, required: bool) -> list[Action]:
    """The ConfigMaps; they must be there before pods that mount them, and be ours: `required` holds back what follows.

    Anybody can work out the name of grants to come, and write others under it.
    """
    built = {one.digest: one.built for one in held if one.built is not None}
    return [
        ensure_immutable(
            ctx.primitive,
            ctx.observed.objects,
            {
                "apiVersion": CONFIG_MAP.api_version,
                "kind": CONFIG_MAP.kind,
                "metadata": child_metadata(
                    ctx.primitive, config_map_name(ctx.primitive, digest), annotations={ANNOTATION_GRANTS: digest}
                ),
                "data": {FILE: grants.text},
                "immutable": True,
            },
            f"{grants.count} tools granted" + (f", {len(grants.pending)} pending" if grants.pending else ""),
            required=required,
        )
        for digest, grants in built.items()
    ]


def drop_unused(ctx: Context, held: Sequence[Held]) -> list[Action]:
    """Delete grants that neither a wanted template nor a live Deployment or pod has."""
    live = [(one.get("spec") or {}).get("template") or {} for one in ctx.observed.children(DEPLOYMENT)]
    used = {annotation(each, ANNOTATION_GRANTS) for each in (*live, *ctx.observed.objects.list(POD))}
    used |= {one.digest for one in held}
    return [
        Delete(CONFIG_MAP, key_of(one), one["metadata"]["uid"], "no pod has these grants any more")
        for one in ctx.observed.objects.list(CONFIG_MAP, ctx.primitive.namespace)
        if (digest := annotation(one, ANNOTATION_GRANTS))
        and digest not in used
        and is_owned(ctx.primitive, one)
        and not one["metadata"].get("deletionTimestamp")
    ]


def publish(ctx: Context, held: Held) -> list[Action]:
    """Tell the grants service, if there is one and it has not acknowledged these grants yet.

    Where the namespace has become another tenant's, it forgets what it knew under the tenant before.
    """
    if not ctx.settings.grants_service.url or held.built is None:
        return []
    told = who(ctx)
    calls: list[Action] = []
    if known_under(ctx.manifest) not in (None, told["tenant"]):
        calls.append(revoke(ctx, "the namespace belongs to another tenant now", required=False))
    elif published(ctx.manifest) == held.digest:
        return []
    arguments = {**told, "digest": held.digest, "document": held.built.text}
    return [*calls, Call(PUBLISH_GRANTS, arguments, "the grants service has yet to know these grants")]


def revoke(ctx: Context | Unread, reason: str, *, required: bool) -> Call:
    """Have the grants service forget the Agent, under the tenant by which it knows it."""
    told = who(ctx)
    known = known_under(ctx.manifest)
    return Call(REVOKE_GRANTS, told if known is None else {**told, "tenant": known}, reason, required=required)


def who(ctx: Context | Unread) -> dict[str, str]:
    """Whose grants they are, as the grants service is told."""
    return {"tenant": ctx.primitive.tenant_id, "namespace": ctx.primitive.namespace, "agent": ctx.primitive.name}


def published(manifest: Manifest) -> str:
    """The digest of the grants that the service has acknowledged; empty if none."""
    return str(((manifest.get("status") or {}).get("grants") or {}).get("published") or "")


def known_under(manifest: Manifest) -> str | None:
    """The tenant under which the service has acknowledged grants last; None if it never has."""
    told = ((manifest.get("status") or {}).get("grants") or {}).get("tenant")
    return None if told is None else str(told)


def grants_stage(ctx: Context, held: Held) -> Stage:
    """The grants as they are once the plan is carried out; what is pending blocks nothing."""
    pending = held.built.pending if held.built is not None else ()
    message = f"granted, and not to be had yet: {', '.join(_why_pending(ctx, tool) for tool in pending)}"
    return done(GRANTS_READY, Reason.GrantsReady, message if pending else "")


def egress(ctx: Context, verdict: Verdict) -> list[Mapping[str, Any]]:
    """Ways to the granted tools that are there, and to the model's provider."""
    ways: list[Mapping[str, Any]] = []
    for tool in verdict.tools:
        ways += _ways(ctx, tool)
    if verdict.model is not None:
        ways += [rule_egress(rule, ctx.primitive) for rule in verdict.model.egress]
    return ways


def config_map_name(primitive: Primitive, digest: str) -> str:
    """The name of the ConfigMap of grants."""
    return f"{primitive.child_name}-grants-{digest.removeprefix('sha256:')[:16]}"


def _dressed(volume: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if volume["name"] != VOLUME:
        return volume
    sources = [
        {"configMap": {**source["configMap"], "name": name}}
        if any(item["key"] == FILE for item in source["configMap"]["items"])
        else source
        for source in volume["projected"]["sources"]
    ]
    return {**volume, "projected": {**volume["projected"], "sources": sources}}


def _why_pending(ctx: Context, tool: ToolKey) -> str:
    live = _live(ctx, tool)
    if live is None:
        return f"{tool} (does not exist)"
    problem = reference_problem(ctx.primitive.namespace, live, ctx.settings.references.allowed)
    return f"{tool} (does not permit it: {problem.remedy})" if problem is not None else f"{tool} (is being deleted)"


def _ways(ctx: Context, tool: GrantedTool) -> list[Mapping[str, Any]]:
    key = tool.tool
    if key.kind == "primitive":
        return [rule_egress(rule, ctx.primitive) for rule in tool.egress]
    return [primitive_egress(key.kind, key.name, key.namespace)] if _address(ctx, key) else []


def _address(ctx: Context, tool: ToolKey) -> dict[str, str]:
    """Where a tool is that exists and may be referred to; empty for any other."""
    live = _live(ctx, tool)
    if live is None or live["metadata"].get("deletionTimestamp"):
        return {}
    if reference_problem(ctx.primitive.namespace, live, ctx.settings.references.allowed) is not None:
        return {}
    host = f"{Primitive(live['kind'], tool.name, tool.namespace, '').child_name}.{tool.namespace}.svc"
    return {"http": f"http://{host}:8080", "grpc": f"{host}:50051"}


def _live(ctx: Context, tool: ToolKey) -> Manifest | None:
    resource = RESOURCES.get(tool.kind)
    return None if resource is None else ctx.observed.objects.get(resource, tool.namespace, tool.name)
