"""Which AgentDefinition the pods run, and whether what it needs is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent_operator.definition import AgentDefinitionError, Parsed, parse
from agent_operator.plan.context import Context
from agent_operator.policy.subject import Subject, undeclared_tools
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT, POD, key_of
from ameide_shared.plan import Action, Delete
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State
from ameide_shared.transformation.children import (
    ANNOTATION_CHECKSUM,
    DEFINITION_RESOLVED,
    Resolved,
    config_map_name,
    released_definition,
    stored,
    with_definition,
    without_definition,
    wrong_version,
)

FILE: Final = "definition.json"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The definition to run (None: there is none), how the stage stands, and the newest version that was fetched.

    `parsed` is what the definition needs; None where only its ConfigMap is left of it.
    """

    target: Resolved | None
    stage: Stage
    available: int | None = None
    parsed: Parsed | None = None


def resolve(ctx: Context, current: PodTemplate | None) -> Resolution:
    """Decide. `current` is the template that was released last, whose definition serves when no other can be had."""
    kept = released_definition(ctx, current, FILE)
    fetched = ctx.fetched.definition
    if fetched is None:
        return Resolution(kept, without_definition(ctx, kept))
    try:
        parsed = parse(fetched)
    except AgentDefinitionError as error:
        stage = Stage(
            DEFINITION_RESOLVED,
            State.STALLED,
            Reason.DefinitionTooLarge if "bytes, and" in str(error) else Reason.DefinitionInvalid,
            f"definition {fetched.id} version {fetched.version} cannot be run: {error}",
            object=f"definition {fetched.id}",
            remedy="mend the definition and publish a new version",
        )
        return Resolution(kept, stage, fetched.version)
    wrong = wrong_version(ctx, fetched)
    if wrong is not None:
        return Resolution(kept, wrong, fetched.version)
    target = Resolved(fetched.version, fetched.digest, parsed.text)
    return Resolution(target, with_definition(ctx, fetched), fetched.version, parsed)


def undeclared(ctx: Context, subject: Subject) -> Stage | None:
    """The stage where the definition needs tools that the spec does not ask for."""
    missing = undeclared_tools(subject)
    if not missing:
        return None
    names = ", ".join(
        f"{request.tool}{':' + ','.join(request.operations) if request.operations else ''}" for request in missing
    )
    return Stage(
        DEFINITION_RESOLVED,
        State.STALLED,
        Reason.ToolsNotDeclared,
        f"spec.tools.allowed: definition {ctx.reference.id} needs {names}, which the spec does not name",
        object=f"definition {ctx.reference.id}",
        remedy="add them to spec.tools.allowed, or publish a definition that does without them",
    )


def drop_unused(ctx: Context, target: Resolved | None, templates: list[PodTemplate]) -> list[Action]:
    """Delete definitions that neither a wanted template nor a live Deployment or pod runs."""
    if target is None:
        return []
    live = [(one.get("spec") or {}).get("template") or {} for one in ctx.observed.children(DEPLOYMENT)]
    used = {_checksum(each) for each in (*templates, *live, *ctx.observed.objects.list(POD))} | {target.checksum}
    return [
        Delete(CONFIG_MAP, key_of(one), one["metadata"]["uid"], "no pod runs this definition any more")
        for checksum, one in sorted(stored(ctx).items())
        if checksum not in used
    ]


def volume(ctx: Context, resolved: Resolved) -> Mapping[str, Any]:
    """The ConfigMap of a definition, as the source of a projected volume."""
    name = config_map_name(ctx.primitive, resolved.checksum)
    return {"configMap": {"name": name, "items": [{"key": FILE, "path": FILE}]}}


def _checksum(manifest: Mapping[str, Any]) -> str:
    return annotation(manifest, ANNOTATION_CHECKSUM)
