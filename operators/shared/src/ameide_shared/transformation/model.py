"""What the Transformation API speaks of: references, definitions, and why one is not to be had. Pure.

The pydantic models are the bodies as they travel; the OpenAPI document is generated from them (`openapi`), and the
client checks every answer against them, so that what is published and what is accepted cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

LONGEST_ID: Final = 256
"""Characters of a tenant's or definition's id, at most."""
MAX_VERSION: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""

# Alone, these are no segments of a path but steps within it, encoded or not; control characters have no business there.
ID_PATTERN: Final = r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f]+$"
_ID: Final = re.compile(ID_PATTERN)
ETAG_PATTERN: Final = r'^(W/)?"[!#-~]*"$'

Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, json_schema_extra={"pattern": ID_PATTERN})]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]


class DefinitionKind(StrEnum):
    """The kinds of definitions, by their segment of the path."""

    PROCESS = "process-definitions"
    AGENT = "agent-definitions"


class DefinitionDocument(BaseModel):
    """One version of a definition. Members that are not listed may come with it and are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel, title="Definition")

    id: Id = Field(description="The definition's id, as it was asked for.")
    tenant_id: Id = Field(description="The tenant that the definition belongs to, as it was asked for.")
    version: Version = Field(description="Grows with every change of the definition; a version never changes.")
    definition: dict[str, Any] = Field(
        description="The definition itself. Of a process: BPMN 2.0 as JSON, elements named as in its metamodel "
        "(`$type: bpmn:Definitions`). Of an agent: a JSON object that its runtime reads."
    )


class ProblemDocument(BaseModel):
    """Why a request failed (RFC 9457). `title` and `detail` may be shown to people, so they hold no secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="Problem")

    type: str = Field("about:blank", description="A URI reference that names the type of the problem.")
    title: str = Field("", description="The type of the problem in few words.")
    status: int = Field(0, ge=0, le=599, description="The HTTP status code.")
    detail: str = Field("", description="What happened this time, and what to do about it.")


class Failure(StrEnum):
    """Why a definition is not to be had; the names are those of reasons in conditions."""

    NOT_FOUND = "DefinitionNotFound"
    UNAVAILABLE = "TransformationUnavailable"
    REFUSED = "TransformationRefused"
    INVALID = "DefinitionInvalid"


@dataclass(frozen=True, slots=True)
class Reference:
    """Which definition is meant: the newest version, or the one that `version` pins."""

    kind: DefinitionKind
    tenant_id: str
    id: str
    version: int | None = None

    @property
    def path(self) -> str:
        """Path and query below the API's base URL; whatever the ids hold stays within its own segment."""
        tenant, name = (quote(segment, safe="", errors="surrogatepass") for segment in (self.tenant_id, self.id))
        query = f"?version={self.version:d}" if self.version is not None else ""
        return f"/v1/tenants/{tenant}/{self.kind.value}/{name}{query}"

    def __str__(self) -> str:
        pinned = f" version {self.version}" if self.version is not None else ""
        return f"{self.kind.value.removesuffix('s').replace('-', ' ')} {self.id!r}{pinned} of tenant {self.tenant_id!r}"


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition as it was fetched. `definition` is shared by all who asked: it must not be changed.

    `digest` is `sha256:` and the hex digest of the definition as canonical JSON (sorted keys, no spaces, UTF-8).
    """

    id: str
    tenant_id: str
    version: int
    definition: Mapping[str, Any]
    etag: str
    fetched_at: datetime
    digest: str


@dataclass(frozen=True, slots=True)
class FetchProblem:
    """Why the last try to fetch a definition failed, who can do what about it, and since when tries fail that way."""

    reason: Failure
    message: str
    remedy: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a referenced definition: the last good one, and what is wrong since, each if any.

    `next_attempt` is when it will be asked for again.
    """

    definition: Definition | None = None
    error: FetchProblem | None = None
    next_attempt: datetime | None = None


def id_problem(value: str) -> str | None:
    """Why a text can be no id of a tenant or definition, or None."""
    if not value:
        return "is empty"
    if len(value) > LONGEST_ID:
        return f"has {len(value)} characters, and {LONGEST_ID} are the most"
    if value in (".", ".."):
        return "is a step within a path"
    if not _ID.fullmatch(value):
        return "has control characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    return None
