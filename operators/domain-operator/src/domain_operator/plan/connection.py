"""Connection Secrets of a Domain: written once the database knows the password, renewed when it knows another."""

from __future__ import annotations

import hashlib
from typing import Final

from ameide_shared.builders.identity import child_metadata
from ameide_shared.kube.resources import CNPG_DATABASE_ROLE, SECRET, Manifest
from ameide_shared.plan import Action, EnsureSecret, FromSecret, SecretValue, Text
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from domain_operator.plan.binding import DB_READY, PORT, Binding
from domain_operator.plan.context import Context

ANNOTATION_SOURCE: Final = "ameide.io/source-version"
"""On connection Secrets: the resourceVersion of the password Secret that they were made from."""


def connection_secrets(ctx: Context, binding: Binding) -> tuple[list[Action], Stage]:
    """Connection Secrets in the Domain's namespace, renewed only when the database knows the new password."""
    actions: list[Action] = []
    waiting: Stage | None = None
    for secret, role, source in (
        (binding.owner_secret, binding.owner, binding.made.owner),
        (binding.app_secret, binding.role, binding.made.app),
    ):
        password = ctx.observed.objects.get(SECRET, binding.cluster.namespace, source)
        version = password["metadata"]["resourceVersion"] if password is not None else ""
        live = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, secret)
        if password is None or not _password_known(ctx, binding, source, version):
            waiting = waiting or Stage(
                DB_READY,
                State.DONE if live is not None else State.PROGRESSING,
                Reason.PasswordRotating if live is not None else Reason.DatabaseProvisioning,
                f"the database has yet to take over the password of role {role}",
                object=f"Secret {binding.cluster.namespace}/{source}",
            )
            continue
        actions.append(connection_secret(ctx, binding, secret, role, password))
        if live is None or (live["metadata"].get("annotations") or {}).get(ANNOTATION_SOURCE) != version:
            # Pods hash this Secret: they are planned from what is there, so it has to be written first.
            waiting = waiting or Stage(
                DB_READY,
                State.DONE if live is not None else State.PROGRESSING,
                Reason.PasswordRotating if live is not None else Reason.DatabaseProvisioning,
                f"Secret {secret} is being written",
                object=f"Secret {secret}",
            )
    return actions, waiting or done(DB_READY, Reason.DatabaseReady)


def connection_secret(ctx: Context, binding: Binding, name: str, role: str, password: Manifest) -> EnsureSecret:
    """A connection Secret in the Domain's namespace, from the Secret that holds the role's password."""
    annotations = {ANNOTATION_SOURCE: password["metadata"]["resourceVersion"]}
    return EnsureSecret(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": child_metadata(ctx.primitive, name, annotations=annotations),
            "type": "Opaque",
        },
        connection_values(
            binding,
            role,
            password["metadata"]["name"],
            ctx.settings.database.ssl_mode,
            version=password["metadata"]["resourceVersion"],
        ),
        f"connection of role {role}",
    )


def _password_known(ctx: Context, binding: Binding, name: str, version: str) -> bool:
    """Whether the database has the password of this version of the Secret."""
    if binding.provisioning == "Job":
        return True  # the provisioning Job of this rotation has succeeded, or we would not be here
    role = ctx.observed.objects.get(CNPG_DATABASE_ROLE, binding.cluster.namespace, name)
    return role is not None and (role.get("status") or {}).get("secretResourceVersion") == version


def is_outdated(ctx: Context, binding: Binding, secret: Manifest) -> bool:
    """Whether the app's connection Secret differs from what is wanted: edited by somebody, or a password behind."""
    source = binding.made.app
    wanted = {
        key: hashlib.sha256(value.encode()).hexdigest()
        for key, value in connection_values(binding, binding.role, source, ctx.settings.database.ssl_mode).items()
        if isinstance(value, str)
    }
    password = ctx.observed.objects.get(SECRET, binding.cluster.namespace, source)
    if password is not None:
        wanted["password"] = password["digests"].get("password", "")
    return any(secret["digests"].get(key) != digest for key, digest in wanted.items())


def connection_values(
    binding: Binding, role: str, source: str, ssl_mode: str, *, version: str = ""
) -> dict[str, SecretValue]:
    """The values of a connection Secret, by key; the password stays a reference that converge follows.

    `version` is that of the source whose password the database is known to have.
    """
    password = FromSecret(binding.cluster.namespace, source, "password", version=version)
    quoted = FromSecret(binding.cluster.namespace, source, "password", quoted=True, version=version)
    address = f"{binding.host}:{PORT}/{binding.database}"
    return {
        "host": binding.host,
        "port": str(PORT),
        "dbname": binding.database,
        "username": role,
        "password": password,
        "uri": Text(
            (
                f"postgresql://{role}:",
                quoted,
                f"@{address}?sslmode={ssl_mode}&options=-c%20search_path%3D{binding.schema}",
            )
        ),
        "jdbc-uri": Text(
            (
                f"jdbc:postgresql://{address}?user={role}&password=",
                quoted,
                f"&sslmode={ssl_mode}&currentSchema={binding.schema}",
            )
        ),
    }
