"""What the parts of the CloudNativePG stand-in share: its view of the cluster, its writes, and its faults."""

import datetime as dt
import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ameide_dev import cnpg_objects as objects
from ameide_dev.client import KubeClient
from ameide_dev.cnpg_sql import Password
from ameide_dev.hostnode_env import data_of
from ameide_dev.informer import Informer, Key, key_of
from ameide_dev.transport import NotFoundError

Object = dict[str, Any]

DATABASE_FINALIZER = "cnpg.io/deleteDatabase"
ROLE_FINALIZER = "cnpg.io/deleteRole"
RELOAD_LABEL = "cnpg.io/reload"

FINALIZERS = {"Database": DATABASE_FINALIZER, "DatabaseRole": ROLE_FINALIZER}


class NotAppliedError(Exception):
    """A role or database cannot be applied; the message goes into its status."""


@dataclass(slots=True)
class Faults:
    """What goes wrong on purpose. Change it through the methods of `CnpgStandIn`, which also make it take effect."""

    paused: bool = False
    """Nothing is looked at and no status is written, as with an operator that is down."""
    delay_seconds: float = 0.0
    """How long every change waits before it is looked at."""
    unready: dict[Key, str] = field(default_factory=dict)
    """Cluster → the phase it is in instead of healthy."""
    refused: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(kind, namespace, name pattern) → the message with which applying is refused."""

    def refusal(self, kind: str, namespace: str, name: str) -> str | None:
        """The message with which an object is to be refused, None if it is not."""
        for (refused_kind, refused_namespace, pattern), message in list(self.refused.items()):
            if (refused_kind, refused_namespace) == (kind, namespace) and fnmatch.fnmatchcase(name, pattern):
                return message
        return None


class Store:
    """Copies of Clusters, Databases, DatabaseRoles and labelled Secrets, and writes that keep the copies current.

    `changed(item)` is called for an object of the three kinds, `secret_changed(item)` for a Secret.
    """

    def __init__(
        self, client: KubeClient, changed: Callable[[Object], None], secret_changed: Callable[[Object], None]
    ) -> None:
        self.client = client
        self._informers = {
            kind: Informer(client, objects.API_VERSION, kind, lambda _, item: changed(item))
            for kind in ("Cluster", "Database", "DatabaseRole")
        }
        self._secrets = Informer(
            client, "v1", "Secret", lambda _, item: secret_changed(item), label_selector=f"{RELOAD_LABEL}=true"
        )

    def start(self) -> None:
        """Start following."""
        for informer in (*self._informers.values(), self._secrets):
            informer.start()

    def stop(self) -> None:
        """Stop following."""
        for informer in (*self._informers.values(), self._secrets):
            informer.stop()

    def get(self, kind: str, key: Key) -> Object | None:
        """The copy of an object."""
        return self._informers[kind].get(key)

    def items(self, kind: str) -> list[Object]:
        """Copies of all objects of a kind."""
        return self._informers[kind].items()

    def members(self, cluster: Key) -> list[Object]:
        """The roles and databases that name a Cluster, roles first as databases need their owners."""
        return [
            item
            for kind in ("DatabaseRole", "Database")
            for item in self.items(kind)
            if (key_of(item)[0], item["spec"]["cluster"]["name"]) == cluster
        ]

    def password_of(self, namespace: str, spec: Object) -> tuple[Password | None, str]:
        """The password a role gets (None: left alone) and the version of the Secret that it comes from."""
        name = spec.get("passwordSecret", {}).get("name")
        if not name:
            return (Password(None) if spec.get("disablePassword") else None), ""
        text, version = self.read_password(namespace, name, spec["name"])
        return Password(text), version

    def read_password(self, namespace: str, name: str, user: str) -> tuple[str, str]:
        """The password in a basic-auth Secret for `user` and the Secret's version. Raises NotAppliedError."""
        try:
            secret = self.client.get("v1", "Secret", name, namespace)
        except NotFoundError as error:
            raise NotAppliedError(f'secrets "{name}" not found') from error
        data = data_of(secret)
        for key in ("username", "password"):
            if key not in data:
                raise NotAppliedError(f"{key} key doesn't exist inside the secret")
        if data["username"].decode().strip() != user:
            raise NotAppliedError(f'the username in secret "{name}" does not match role "{user}"')
        return data["password"].decode().strip(), secret["metadata"]["resourceVersion"]

    def secret_version(self, item: Object) -> str | None:
        """The version of the role's labelled password Secret; None when changes of it cannot be seen."""
        name = item["spec"].get("passwordSecret", {}).get("name")
        secret = self._secrets.get((key_of(item)[0], name)) if name else None
        return secret["metadata"]["resourceVersion"] if secret else None

    def write_status(self, item: Object, wanted: Object) -> Object:
        """Merge `wanted` into the status unless it is there already; return the object as it is then.

        An object that is gone is no error.
        """
        present = item.get("status", {})
        if all(present.get(name) == value for name, value in wanted.items()):
            return item
        namespace, name = key_of(item)
        try:
            written = self.client.patch_status(item["apiVersion"], item["kind"], name, wanted, namespace)
        except NotFoundError:
            return item
        self._informers[item["kind"]].put(written)
        return written

    def add_finalizer(self, item: Object, finalizer: str) -> Object:
        """Put the finalizer on unless it is there; return the object as it is then."""
        present = item["metadata"].get("finalizers", [])
        return item if finalizer in present else self._patch_finalizers(item, [*present, finalizer])

    def remove_finalizer(self, item: Object, finalizer: str) -> None:
        """Take the finalizer off, if it is there."""
        present = item["metadata"].get("finalizers", [])
        if finalizer in present:
            try:
                self._patch_finalizers(item, [each for each in present if each != finalizer])
            except NotFoundError:
                return

    def _patch_finalizers(self, item: Object, finalizers: list[str]) -> Object:
        namespace, name = key_of(item)
        # With the version read: a finalizer that someone else has added meanwhile must not get lost.
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": item["metadata"]["resourceVersion"]}}
        written = self.client.merge_patch(item["apiVersion"], item["kind"], name, patch, namespace)
        self._informers[item["kind"]].put(written)
        return written


def now() -> str:
    """The time now as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
