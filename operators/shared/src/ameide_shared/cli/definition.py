"""What the common command line needs to know of an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ameide_shared.controller.runtime import Runtime
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.resources import Manifest, ResourceType
from ameide_shared.plan import Outcome, Plan
from ameide_shared.reconcile import Kind
from ameide_shared.settings import OperatorSettings
from ameide_shared.spec.resource import ResourceModel

Start = Callable[[Any, Connection], tuple[Runtime, Kind[Any]]]
"""(settings, connection) → the runtime with its watches, and the kind that it reconciles."""


def _nothing(_manifest: Manifest) -> Iterable[Manifest]:
    return ()


@dataclass(frozen=True, slots=True)
class Companion:
    """A document that a plan needs besides manifests: an option of the subcommands that look at files.

    `read` turns its text into an object for `Definition.observed`, and raises ValueError where it is none; `default` is
    the file that settings name.
    """

    option: str
    help: str
    read: Callable[[str], Manifest]
    default: Callable[[Any], Path]


@dataclass(frozen=True, slots=True)
class Definition:
    """An operator: its kind, its settings, and its pure functions, as the subcommands use them.

    `observed` builds what `plan` is given from manifests that were read from files; `apis` are the optional APIs that
    those files are taken to come from. `assumed` says what a resource expects of others, as it would be if all were
    well (the Cluster that it refers to, Ready): `render` and `check` take it to be there, `diff` and `explain` read it.
    `credentials` are the keys of its Secrets whose values nobody may see; None: of all keys.
    """

    operator: str
    resource: ResourceType
    model: type[ResourceModel]
    settings: type[OperatorSettings]
    start: Start
    observed: Callable[[Iterable[Manifest], frozenset[ResourceType]], Any]
    plan: Callable[[Manifest, Any, Any, datetime], Plan]
    status: Callable[[Manifest, Any, Plan, Outcome, datetime], dict[str, Any]]
    apis: frozenset[ResourceType] = frozenset()
    assumed: Callable[[Manifest], Iterable[Manifest]] = _nothing
    credentials: frozenset[str] | None = None
    companion: Companion | None = None
