"""How specs name definitions, tenants and other resources: the types, each with its pattern and remedy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ameide_shared.spec.rules import matching

DefinitionId = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        r"[A-Za-z0-9][-A-Za-z0-9_.:]*",
        "is not the id of a definition",
        "use letters, digits and '-', '_', '.', ':', beginning with a letter or digit",
    ),
]
"""The id of a definition in the Transformation service."""

DefinitionVersion = Annotated[int, Field(ge=1, le=9007199254740991, json_schema_extra={"format": "int64"})]
"""A version of a definition: the Transformation service counts them from 1."""

TenantId = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
        "is not the id of a tenant",
        "use what the namespace's label ameide.io/tenant-id says",
    ),
]

Reference = Annotated[
    str,
    Field(min_length=1, max_length=110),
    matching(
        "([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z]([-a-z0-9]{0,44}[a-z0-9])?",
        "is not a reference",
        "write name, or namespace/name, in lowercase",
    ),
]
"""Another resource of ours: `name`, or `namespace/name`."""

ReferenceChecksum = Annotated[
    str,
    Field(max_length=71),
    matching("sha256:[0-9a-f]{64}", "is not a checksum", "copy it from status.definition: sha256: and 64 hex digits"),
]
"""The checksum of a definition: `sha256:` and 64 hex digits."""
