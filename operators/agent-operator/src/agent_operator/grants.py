"""`grants.json`: what an Agent's runtime may use, and how. Built from a verdict and from what was found in the cluster.

Runtimes read it, and the grants service gets it; its JSON Schema is generated from here. Its bytes are canonical: equal
grants have equal digests, so pods roll only when what they are granted has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from agent_operator.policy.patterns import ToolKind
from agent_operator.policy.schema import as_text, document_schema
from agent_operator.policy.subject import Subject, ToolKey
from agent_operator.policy.verdict import NeededCredential, Verdict
from ameide_shared.spec import Lenient, Model

VERSION: Final = "grants.ameide.io/v1"
CREDENTIALS_PATH: Final = "/etc/ameide/credentials"
"""Where credentials that are delivered as files are mounted: `<credential>/<key>` below it."""


class _Written(Model):
    """An object that is built here by the names of its fields, and read by those of the document."""

    model_config = ConfigDict(populate_by_name=True)


class GrantedAgent(_Written):
    """Whose grants these are."""

    namespace: str = Field(description="Namespace of the Agent.")
    name: str = Field(description="Name of the Agent.")
    tenant_id: str = Field(description="Its tenant; empty where its namespace has none.")


class ModelGrant(_Written):
    """The model that may be used."""

    provider: str = Field(description="Name of the provider.")
    name: str = Field(description="Name of the model.")
    address: str | None = Field(default=None, description="Base URL of the provider. Absent: the usual one.")
    credentials: Annotated[tuple[str, ...], Lenient] = Field(default=(), description="Credentials, by name.")


class Operations(_Written):
    """Operations that may be called: one that a pattern of `allow` matches, and none of `deny`.

    `*` stands for any characters, `?` for one; everything else for itself.
    """

    allow: Annotated[tuple[str, ...], Lenient] = Field(description="Patterns of what may be called.")
    deny: Annotated[tuple[str, ...], Lenient] = Field(default=(), description="Patterns of what may not.")


class PendingTool(_Written):
    """A granted tool that does not exist yet, or is not ready to be referred to."""

    kind: ToolKind = Field(description="domain, process, agent or primitive.")
    namespace: str | None = Field(default=None, description="Its namespace; absent for primitives.")
    name: str = Field(description="Its name.")


class ToolGrant(PendingTool):
    """A tool that may be used."""

    address: Mapping[str, str] = Field(description="Where it is, by protocol: http, grpc, or a primitive's own scheme.")
    operations: Operations = Field(description="What may be called.")
    credentials: Annotated[tuple[str, ...], Lenient] = Field(default=(), description="Credentials, by name.")


class CredentialValue(_Written):
    """Where one value of a credential is; never the value."""

    key: str = Field(description="Name of the value.")
    file: str | None = Field(default=None, description="File that holds it. Re-read it: it changes on rotation.")
    env: str | None = Field(default=None, description="Variable that holds it.")


class CredentialGrant(_Written):
    """A credential that the model or tools take."""

    values: Annotated[tuple[CredentialValue, ...], Lenient] = Field(description="Its values.")


class GrantsDocument(_Written):
    """What an Agent may use. A quarantined Agent has neither model nor tools."""

    version: Literal["grants.ameide.io/v1"] = Field(description="Version of this document's form.")
    agent: GrantedAgent = Field(description="Whose grants these are.")
    risk_tier: str = Field(description="Its risk tier.")
    model: ModelGrant | None = Field(default=None, description="The model that may be used.")
    tools: Annotated[tuple[ToolGrant, ...], Lenient] = Field(description="Tools that may be used now.")
    pending: Annotated[tuple[PendingTool, ...], Lenient] = Field(description="Granted tools that are not there yet.")
    credentials: Mapping[str, CredentialGrant] = Field(description="Where the credentials named above are, by name.")


@dataclass(frozen=True, slots=True)
class Grants:
    """`grants.json`: its text, the digest of its bytes (`sha256:…`), how many tools it grants, which are pending."""

    document: GrantsDocument
    text: str
    digest: str
    count: int
    pending: tuple[ToolKey, ...]


def build(subject: Subject, verdict: Verdict, found: Mapping[ToolKey, Mapping[str, str]]) -> Grants:
    """The grants of an Agent.

    `found` has the addresses, by protocol, of those Ameide resources that exist and may be referred to; a granted one
    that is not there is pending. A verdict with violations grants nothing, so it empties the grants.
    """
    tools, pending = [], []
    for grant in verdict.tools:
        tool = grant.tool
        address = {urlsplit(grant.address).scheme: grant.address} if grant.address is not None else found.get(tool)
        if not address:
            pending.append(tool)
            continue
        tools.append(
            ToolGrant(
                kind=tool.kind,
                namespace=tool.namespace or None,
                name=tool.name,
                address=dict(address),
                operations=Operations(allow=grant.allow, deny=grant.deny),
                credentials=grant.credentials,
            )
        )
    model = verdict.model
    document = GrantsDocument(
        version=VERSION,
        agent=GrantedAgent(namespace=subject.namespace, name=subject.name, tenant_id=subject.tenant_id),
        risk_tier=subject.risk_tier,
        model=None
        if model is None
        else ModelGrant(provider=model.provider, name=model.name, address=model.address, credentials=model.credentials),
        tools=tuple(tools),
        pending=tuple(
            PendingTool(kind=tool.kind, namespace=tool.namespace or None, name=tool.name) for tool in pending
        ),
        credentials={needed.name: _located(needed) for needed in verdict.credentials},
    )
    text = canonical(document)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Grants(document, text, digest, len(tools), tuple(pending))


def read(text: str) -> GrantsDocument:
    """The grants that a text holds. Raises pydantic's ValidationError."""
    return GrantsDocument.model_validate_json(text)


def canonical(document: GrantsDocument) -> str:
    """The one text of a document: sorted keys, no blanks, absent fields left out, a line break at the end."""
    data = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def grants_schema() -> str:
    """The JSON Schema of `grants.json`, as text."""
    return as_text(document_schema(GrantsDocument, "Grants of an Ameide Agent"))


def credential_file(credential: str, key: str) -> str:
    """The path of a value that is delivered as a file."""
    return f"{CREDENTIALS_PATH}/{credential}/{key}"


def _located(needed: NeededCredential) -> CredentialGrant:
    return CredentialGrant(
        values=tuple(
            CredentialValue(key=value.key, env=value.env)
            if needed.delivery == "Env"
            else CredentialValue(key=value.key, file=credential_file(needed.name, value.key))
            for value in needed.values
        )
    )
