"""What a process calls, by its spec: Domains and Agents, as bindings of its definition may name them."""

from __future__ import annotations

from typing import Any, Final

from ameide_shared.compile.dependencies import DEPENDENCIES_READY, Reference, egress_to, projection, stage_of
from ameide_shared.compile.dependencies import references_of as _references_of
from ameide_shared.kube.resources import AGENT, DOMAIN
from ameide_shared.stages import Stage
from process_operator.bpmn import Dependencies
from process_operator.plan.context import Context
from process_operator.spec import ProcessSpec

__all__ = ["DEPENDENCIES_READY", "Reference", "declared", "dependencies_stage", "egress", "projection", "references"]

_ALWAYS: Final = frozenset({DOMAIN})


def references(spec: ProcessSpec, namespace: str) -> list[Reference]:
    """What spec.dependencies refers to, in order."""
    wanted = spec.dependencies
    groups = (
        (DOMAIN, "domains", [entry.name for entry in wanted.domains]),
        (AGENT, "agents", [entry.name for entry in wanted.agents]),
    )
    return _references_of(groups, namespace)


def declared(spec: ProcessSpec, namespace: str) -> Dependencies:
    """What bindings of the definition may name."""
    return Dependencies(
        domains=frozenset(entry.name for entry in spec.dependencies.domains),
        agents=frozenset(entry.name for entry in spec.dependencies.agents),
        namespace=namespace,
    )


def dependencies_stage(ctx: Context) -> Stage:
    """Done, or the first kind of trouble with all that have it."""
    return stage_of(ctx, references(ctx.spec, ctx.primitive.namespace), _ALWAYS)


def egress(ctx: Context) -> list[dict[str, Any]]:
    """Ways to the dependencies that may be referred to."""
    return egress_to(ctx, references(ctx.spec, ctx.primitive.namespace))
