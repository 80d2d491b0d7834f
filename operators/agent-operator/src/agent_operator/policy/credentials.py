"""Which credentials an Agent needs: those of its model's provider and of its tools, with their templates filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agent_operator.policy.loading import Policy
from agent_operator.policy.subject import Subject
from agent_operator.policy.verdict import GrantedModel, GrantedTool, NeededCredential, SecretValue, Violation

_PLACEHOLDER: Final = re.compile(r"\{([a-z]+)\}")


def fill(template: str, subject: Subject, credential: str) -> str:
    """A template with `{tenant}`, `{namespace}`, `{agent}` and `{credential}` replaced."""
    values = {
        "tenant": subject.tenant_id,
        "namespace": subject.namespace,
        "agent": subject.name,
        "credential": credential,
    }
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def needed_credentials(
    policy: Policy, subject: Subject, model: GrantedModel, tools: Sequence[GrantedTool]
) -> tuple[NeededCredential, ...]:
    """The credentials of a model and of tools, in order of their names."""
    users: dict[str, list[str]] = {}
    for name in model.credentials:
        users.setdefault(name, []).append(f"provider/{model.provider}")
    for tool in tools:
        for name in tool.credentials:
            users.setdefault(name, []).append(str(tool.tool))
    return tuple(_needed(policy, subject, name, tuple(users[name])) for name in sorted(users))


def _needed(policy: Policy, subject: Subject, name: str, users: tuple[str, ...]) -> NeededCredential:
    credential = policy.document.credentials[name]
    return NeededCredential(
        name,
        tuple(SecretValue(entry.key, entry.property, entry.env) for entry in credential.keys),
        credential.delivery,
        users,
        None if credential.remote_key is None else fill(credential.remote_key, subject, name),
        None if credential.secret_name is None else fill(credential.secret_name, subject, name),
    )


def credential_violations(
    policy: Policy, subject: Subject, credentials: Sequence[NeededCredential]
) -> Iterator[Violation]:
    """Why the credentials cannot be handed out: a template wants a tenant, or two things want one variable."""
    holders = dict.fromkeys(subject.env, "spec.env")
    for needed in credentials:
        written = policy.document.credentials[needed.name]
        for field, template in (("remoteKey", written.remote_key), ("secretName", written.secret_name)):
            if template is not None and "{tenant}" in template and not subject.tenant_id:
                yield Violation(
                    policy.path(("credentials", needed.name, field)),
                    "metadata.namespace",
                    f"credential {needed.name}, which {needed.users[0]} takes, is kept by tenant, and namespace "
                    f"{subject.namespace} has none",
                    "label the namespace with ameide.io/tenant-id, or have the policy name the credential otherwise",
                )
        for index, value in enumerate(needed.values):
            if value.env is None:
                continue
            if value.env in holders:
                holder = holders[value.env]
                position = subject.env.index(value.env) if value.env in subject.env else -1
                yield Violation(
                    policy.path(("credentials", needed.name, "keys", index, "env")),
                    f"spec.env[{position}].name" if position >= 0 else "spec.tools.allowed",
                    f"variable {value.env} carries credential {needed.name}, and is set by {holder} as well",
                    "rename the variable" if position >= 0 else "have the policy deliver one of the two as a file",
                )
            holders.setdefault(value.env, f"credential {needed.name}")
