"""A resource as the operators work with it: identity, annotations and a typed spec, parsed from its manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from ameide_shared.spec.model import Model
from ameide_shared.spec.problems import InvalidSpec, Problem, problem_of, rule_problems
from ameide_shared.spec.rules import rule

MAX_NAME = 46
"""Longest metadata.name: children add suffixes of up to 17 characters and must stay within 63."""


class Metadata(Model):
    """What a resource's own rules and the operators read of its metadata."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=253)] = Field(default="", description="Name of the object.")
    namespace: str = Field(default="", description="Namespace of the object.")
    uid: str = Field(default="", description="Unique id that the API server gave it.")
    generation: int = Field(default=0, description="Number of the version of spec.")
    creation_timestamp: str | None = Field(default=None, description="When it was created, RFC 3339.")
    deletion_timestamp: str | None = Field(default=None, description="When its deletion was requested, RFC 3339.")
    labels: Mapping[str, str] = Field(default={}, description="Its labels.")
    annotations: Mapping[str, str] = Field(default={}, description="Its annotations.")
    finalizers: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Who must act before it goes."
    )


class ResourceModel(Model):
    """The base of `Domain`, `Process`, `Agent` and `UISurface`: subclasses add `spec`, and say what the CRD needs."""

    PLURAL: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ()
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Printer columns of the kind's own: (title, JSONPath)."""
    STATUS: ClassVar[type[Model]]

    api_version: Literal["ameide.io/v1"] = Field(description="Version of the API: ameide.io/v1.")
    kind: str = Field(description="Kind of the object.")
    metadata: Metadata = Field(
        description="Standard object metadata; name is a DNS-1035 label of at most 46 characters."
    )

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def generation(self) -> int:
        return self.metadata.generation

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> Self:
        """The typed resource; status is left out. Raises InvalidSpec with every problem that was found."""
        parsed, problems = cls.examine(manifest)
        if parsed is None or problems:
            raise InvalidSpec(problems)
        return parsed

    @classmethod
    def examine(
        cls, manifest: Mapping[str, Any], old: Mapping[str, Any] | None = None
    ) -> tuple[Self | None, list[Problem]]:
        """The typed resource, if its schema holds, and every problem; with `old`, the rules for changes too."""
        try:
            new = cls.model_validate({key: value for key, value in manifest.items() if key != "status"})
        except ValidationError as error:
            details = error.errors(include_url=False)
            return None, [problem_of(detail, cls) for detail in details]
        before = None
        if old is not None:
            before = cls.model_validate({key: value for key, value in old.items() if key != "status"})
        return new, rule_problems(new, before)


@rule(
    ResourceModel,
    cel=f"size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    message=f"metadata.name is not a DNS-1035 label of at most {MAX_NAME} characters",
    remedy="choose a name of lowercase letters, digits and '-', beginning with a letter and ending with a letter or"
    " digit, short enough for the names of its children",
    field=".metadata.name",
)
def _name_leaves_room(resource: ResourceModel) -> bool:
    return len(resource.name) <= MAX_NAME and re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", resource.name) is not None
