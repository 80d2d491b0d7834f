"""A stand-in for CloudNativePG 1.30: no instance pods, but real PostgreSQL servers and the real API's behaviour.

Every Cluster gets one PostgreSQL server of its own on loopback, with the Services, Secrets and status that clients of
CloudNativePG read. DatabaseRole and Database objects are applied to it, with the statuses, messages, finalizers and
refusals of the real operator. Faults can be switched on, see `Faults`.
"""

import datetime as dt
import fnmatch
import logging
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from ameide_dev import cnpg_objects as objects
from ameide_dev import cnpg_sql
from ameide_dev.client import KubeClient
from ameide_dev.cnpg_sql import Password
from ameide_dev.hostnode_env import data_of
from ameide_dev.informer import Informer, Key, WorkQueue, key_of
from ameide_dev.postgres import Postgres, PostgresError
from ameide_dev.transport import ApiError, ConflictError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]
Task = tuple[str, Key]  # (kind, key)

DATABASE_FINALIZER = "cnpg.io/deleteDatabase"
ROLE_FINALIZER = "cnpg.io/deleteRole"
RELOAD_LABEL = "cnpg.io/reload"
CLUSTER_GONE = "cluster resource has been deleted, skipping reconciliation"

_FINALIZERS = {"Database": DATABASE_FINALIZER, "DatabaseRole": ROLE_FINALIZER}
_RECLAIM = {"Database": "databaseReclaimPolicy", "DatabaseRole": "databaseRoleReclaimPolicy"}


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


class CnpgStandIn:
    """The controller. `start()` follows Clusters, Databases, DatabaseRoles and labelled Secrets in all namespaces."""

    def __init__(self, client: KubeClient, *, retry_seconds: float = 1.0) -> None:
        """`retry_seconds`: how soon a failure is tried again (the real operator waits 30 s)."""
        self._client = client
        self._retry = retry_seconds
        self._faults = Faults()
        self._servers: dict[Key, Postgres] = {}
        self._server_uids: dict[Key, str] = {}
        self._lock = threading.Lock()
        self._queue: WorkQueue[Task] = WorkQueue()
        self._thread = threading.Thread(target=self._work, name="cnpg", daemon=True)
        self._informers = {
            kind: Informer(client, objects.API_VERSION, kind, self._changed)
            for kind in ("Cluster", "Database", "DatabaseRole")
        }
        self._secrets = Informer(client, "v1", "Secret", self._secret_changed, label_selector=f"{RELOAD_LABEL}=true")

    def start(self) -> None:
        """Start following and working; returns at once."""
        for informer in (*self._informers.values(), self._secrets):
            informer.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop working and remove all PostgreSQL servers with their data."""
        for informer in (*self._informers.values(), self._secrets):
            informer.stop()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        for server in self._servers.values():
            server.remove()
        self._servers.clear()

    # What tests and the demo reach for.

    def postgres(self, namespace: str, cluster: str) -> Postgres:
        """The PostgreSQL server behind a Cluster. Raises KeyError before it has been set up."""
        return self._servers[namespace, cluster]

    def set_cluster_unready(self, namespace: str, cluster: str, phase: str = objects.PHASE_FAILING_OVER) -> None:
        """Report the Cluster as not ready, in `phase`; roles and databases wait. The server itself keeps serving."""
        self._faults.unready[namespace, cluster] = phase
        self._queue.add(("Cluster", (namespace, cluster)))

    def set_cluster_ready(self, namespace: str, cluster: str) -> None:
        """Undo `set_cluster_unready`."""
        self._faults.unready.pop((namespace, cluster), None)
        self._queue.add(("Cluster", (namespace, cluster)))

    def stop_postgres(self, namespace: str, cluster: str) -> None:
        """Take the PostgreSQL server down; the Cluster turns not ready. Its data is kept."""
        self.postgres(namespace, cluster).stop()
        self.set_cluster_unready(namespace, cluster)

    def start_postgres(self, namespace: str, cluster: str) -> None:
        """Bring the PostgreSQL server back on its old port; the Cluster turns ready."""
        self.postgres(namespace, cluster).start()
        self.set_cluster_ready(namespace, cluster)

    def refuse(self, kind: str, namespace: str, name: str, message: str) -> None:
        """Refuse to apply the objects of `kind` (Database or DatabaseRole) whose name matches the pattern `name`."""
        self._faults.refused[kind, namespace, name] = message
        self._queue_all()

    def allow(self, kind: str, namespace: str, name: str) -> None:
        """Undo `refuse` with the same arguments."""
        self._faults.refused.pop((kind, namespace, name), None)
        self._queue_all()

    def set_delay(self, seconds: float) -> None:
        """Look at every change only after `seconds`."""
        self._faults.delay_seconds = seconds

    def pause(self) -> None:
        """Do nothing at all until `resume`, as an operator that is down."""
        self._faults.paused = True

    def resume(self) -> None:
        """Undo `pause` and look at everything again."""
        self._faults.paused = False
        self._queue_all()

    # Queueing.

    def _changed(self, _: str, item: Object) -> None:
        self._queue.add((item["kind"], key_of(item)), after=self._faults.delay_seconds)

    def _queue_all(self) -> None:
        for informer in self._informers.values():
            for item in informer.items():
                self._changed("", item)

    def _queue_members(self, namespace: str, cluster: str) -> None:
        for kind in ("DatabaseRole", "Database"):
            for item in self._informers[kind].items():
                if key_of(item)[0] == namespace and item["spec"]["cluster"]["name"] == cluster:
                    self._changed("", item)

    def _secret_changed(self, _: str, secret: Object) -> None:
        namespace, name = key_of(secret)
        for role in self._informers["DatabaseRole"].items():
            if key_of(role)[0] == namespace and role["spec"].get("passwordSecret", {}).get("name") == name:
                self._changed("", role)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if self._faults.paused:
                continue
            kind, key = task
            try:
                settled = self._reconcile_cluster(key) if kind == "Cluster" else self._reconcile_member(kind, key)
            except ConflictError:
                settled = False
            except (ApiError, UnavailableError, NotAppliedError, PostgresError, psycopg.Error, OSError) as error:
                log.warning("%s %s/%s: %s", kind, *key, error)
                settled = False
            except Exception:
                log.exception("%s %s/%s", kind, *key)
                settled = False
            if not settled:
                self._queue.add(task, after=self._retry)

    # Clusters.

    def _reconcile_cluster(self, key: Key) -> bool:
        cluster = self._informers["Cluster"].get(key)
        if cluster is None:
            self._forget_cluster(key)
            return True
        if cluster["metadata"].get("deletionTimestamp"):
            return True
        if self._server_uids.get(key) not in (None, cluster["metadata"]["uid"]):
            self._forget_cluster(key)
        server = self._servers.get(key)
        if server is None:
            self._write_cluster_status(cluster, objects.PHASE_SETTING_UP, "Creating primary instance " + key[1] + "-1")
            server = Postgres(f"{key[1]}-1", objects.host_names(*key))
            server.start()
            self._bootstrap(cluster, server)
            self._servers[key] = server
            self._server_uids[key] = cluster["metadata"]["uid"]
        if server.running:
            self._write_objects(cluster, server)
            self._apply_inline_roles(cluster, server)
        phase = self._faults.unready.get(key, objects.PHASE_HEALTHY)
        self._write_cluster_status(cluster, phase, "")
        self._queue_members(*key)
        return True

    def _bootstrap(self, cluster: Object, server: Postgres) -> None:
        database, owner = objects.application(cluster)
        namespace = key_of(cluster)[0]
        initdb = cluster["spec"].get("bootstrap", {}).get("initdb", {})
        if given := initdb.get("secret", {}).get("name"):
            password = self._read_password(namespace, given, owner)[0]
        else:
            password = self._ensure_credentials(cluster, "app", owner, secrets.token_urlsafe(32), database)
        with server.connect() as connection:
            cnpg_sql.apply_role(connection, {"name": owner, "login": True}, Password(password))
            cnpg_sql.apply_database(connection, {"name": database, "owner": owner})
            if cluster["spec"].get("enableSuperuserAccess"):
                if given := cluster["spec"].get("superuserSecret", {}).get("name"):
                    password = self._read_password(namespace, given, server.superuser)[0]
                else:
                    password = server.superuser_password
                    password = self._ensure_credentials(cluster, "superuser", server.superuser, password, "*")
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(server.superuser), sql.Literal(password))
                )
                server.superuser_password = password

    def _write_objects(self, cluster: Object, server: Postgres) -> None:
        namespace, name = key_of(cluster)
        for secret in objects.certificate_secrets(
            cluster, server.ca_certificate, server.server_certificate, server.server_key
        ):
            self._create_once(secret)
        for service in objects.services(cluster, server.port):
            self._create_once(service)
        for endpoints in objects.endpoint_slices(cluster, server.host, server.port):
            self._client.apply(endpoints, field_manager="cnpg-stand-in")
        if cluster["spec"].get("enableSuperuserAccess"):
            self._ensure_credentials(cluster, "superuser", server.superuser, server.superuser_password, "*")
        else:
            found = self._client.find("v1", "Secret", f"{name}-superuser", namespace)
            if found and any(
                owner["uid"] == cluster["metadata"]["uid"] for owner in found["metadata"].get("ownerReferences", [])
            ):
                self._client.delete("v1", "Secret", f"{name}-superuser", namespace, missing_ok=True)

    def _create_once(self, item: Object) -> None:
        namespace, name = key_of(item)
        if self._client.find(item["apiVersion"], item["kind"], name, namespace) is None:
            self._client.create(item)

    def _ensure_credentials(self, cluster: Object, suffix: str, user: str, password: str, database: str) -> str:
        """Create the Secret unless it exists; return the password it holds."""
        namespace, name = key_of(cluster)
        self._create_once(objects.credential_secret(cluster, suffix, user, password, database))
        return self._read_password(namespace, f"{name}-{suffix}", user)[0]

    def _apply_inline_roles(self, cluster: Object, server: Postgres) -> None:
        with server.connect() as connection:
            for role in cluster["spec"].get("managed", {}).get("roles", []):
                if role.get("ensure") == "absent":
                    cnpg_sql.drop_role(connection, role["name"])
                else:
                    cnpg_sql.apply_role(connection, role, self._password_of(key_of(cluster)[0], role)[0])

    def _write_cluster_status(self, cluster: Object, phase: str, reason: str) -> None:
        wanted = objects.cluster_status(cluster, phase, reason, _now())
        present = cluster.get("status", {})
        if any(present.get(name) != value for name, value in wanted.items()):
            namespace, name = key_of(cluster)
            written = self._client.patch_status(objects.API_VERSION, "Cluster", name, wanted, namespace)
            self._informers["Cluster"].put(written)
            cluster.update(written)

    def _forget_cluster(self, key: Key) -> None:
        server = self._servers.pop(key, None)
        self._server_uids.pop(key, None)
        if server is not None:
            server.remove()
        for kind, finalizer in _FINALIZERS.items():
            for item in self._informers[kind].items():
                if key_of(item)[0] != key[0] or item["spec"]["cluster"]["name"] != key[1]:
                    continue
                if item.get("status", {}).get("applied") is not None:
                    self._write_status(item, {"applied": False, "message": CLUSTER_GONE, "observedGeneration": 0})
                self._remove_finalizer(item, finalizer)

    # Roles and databases.

    def _reconcile_member(self, kind: str, key: Key) -> bool:
        item = self._informers[kind].get(key)
        if item is None:
            return True
        cluster = self._informers["Cluster"].get((key[0], item["spec"]["cluster"]["name"]))
        if cluster is None:
            return True
        server = self._servers.get(key_of(cluster))
        if server is None or not server.running or key_of(cluster) in self._faults.unready:
            return False
        if item["metadata"].get("deletionTimestamp"):
            return self._finalize(kind, item, cluster, server)
        version = self._secret_version(item)
        status = item.get("status", {})
        unchanged = (
            status.get("applied") is True
            and status.get("observedGeneration") == item["metadata"]["generation"]
            and version in (None, status.get("secretResourceVersion"))
        )
        if unchanged and not self._shadowed(kind, item, cluster):
            return True
        item = self._add_finalizer(item, _FINALIZERS[kind])
        try:
            self._check_admissible(kind, item, cluster)
            result = self._apply_role(item, server) if kind == "DatabaseRole" else self._apply_database(item, server)
        except psycopg.OperationalError:
            return False
        except (NotAppliedError, psycopg.Error) as error:
            message = cnpg_sql.message_of(error) if isinstance(error, psycopg.Error) else str(error)
            # The real operator leaves observedGeneration as it was when an attempt fails.
            self._write_status(item, {"applied": False, "message": message})
            return False
        self._write_status(item, result)
        return result["applied"] is True

    def _check_admissible(self, kind: str, item: Object, cluster: Object) -> None:
        namespace, name = key_of(item)
        for (refused_kind, refused_namespace, pattern), message in list(self._faults.refused.items()):
            if (refused_kind, refused_namespace) == (kind, namespace) and fnmatch.fnmatchcase(name, pattern):
                raise NotAppliedError(message)
        if self._shadowed(kind, item, cluster):
            raise NotAppliedError("database role is already managed by the CNPG cluster")
        if item.get("status", {}).get("observedGeneration", 0) > 0:
            return
        for other in self._informers[kind].items():
            if (
                key_of(other)[0] == namespace
                and key_of(other)[1] != name
                and other["spec"]["cluster"] == item["spec"]["cluster"]
                and other["spec"]["name"] == item["spec"]["name"]
                and other.get("status", {}).get("observedGeneration", 0) > 0
            ):
                raise NotAppliedError(f'"{item["spec"]["name"]}" is already managed by object "{key_of(other)[1]}"')

    @staticmethod
    def _shadowed(kind: str, item: Object, cluster: Object) -> bool:
        inline = cluster["spec"].get("managed", {}).get("roles", [])
        return kind == "DatabaseRole" and any(role["name"] == item["spec"]["name"] for role in inline)

    def _apply_role(self, item: Object, server: Postgres) -> Object:
        password, version = self._password_of(key_of(item)[0], item["spec"])
        with server.connect() as connection:
            name = item["spec"]["name"]
            doing = "updating" if cnpg_sql.role_exists(connection, name) else "creating"
            try:
                cnpg_sql.apply_role(connection, item["spec"], password)
            except psycopg.Error as error:
                message = cnpg_sql.message_of(error)
                raise NotAppliedError(f"while {doing} role {name} with role reconciler: {message}") from error
        result: Object = {
            "applied": True,
            "message": None,
            "observedGeneration": item["metadata"]["generation"],
            "secretResourceVersion": version or None,
        }
        if version:
            condition = {
                "type": "PasswordSecretChange",
                "status": "True",
                "reason": "ChangeDetected",
                "message": version,
            }
            result["conditions"] = objects.merge_condition(
                item.get("status", {}).get("conditions", []), condition, _now()
            )
        return result

    def _apply_database(self, item: Object, server: Postgres) -> Object:
        spec, generation = item["spec"], item["metadata"]["generation"]
        applied = {"applied": True, "message": None, "observedGeneration": generation}
        with server.connect() as connection:
            if spec.get("ensure") == "absent":
                cnpg_sql.drop_database(connection, spec["name"])
                return applied
            doing = "altering" if cnpg_sql.database_exists(connection, spec["name"]) else "creating"
            try:
                cnpg_sql.apply_database(connection, spec)
            except psycopg.Error as error:
                raise NotAppliedError(
                    f'while {doing} database "{spec["name"]}": {cnpg_sql.message_of(error)}'
                ) from error
        if not spec.get("schemas") and not spec.get("extensions"):
            return applied
        with server.connect(spec["name"]) as connection:
            outcome = {
                "schemas": cnpg_sql.apply_schemas(connection, spec.get("schemas", [])),
                "extensions": cnpg_sql.apply_extensions(connection, spec.get("extensions", [])),
            }
        lists = {name: [each.as_json() for each in entries] or None for name, entries in outcome.items()}
        if any(each.message for entries in outcome.values() for each in entries):
            return {"applied": False, "message": "database object reconciliation failed", **lists}
        return {**applied, **lists}

    def _finalize(self, kind: str, item: Object, cluster: Object, server: Postgres) -> bool:
        finalizer = _FINALIZERS[kind]
        if finalizer not in item["metadata"].get("finalizers", []):
            return True
        # An object that never was applied owns nothing: a refused duplicate must not drop what the other one manages.
        owns = item.get("status", {}).get("observedGeneration", 0) > 0 and not self._shadowed(kind, item, cluster)
        if item["spec"].get(_RECLAIM[kind]) == "delete" and owns:
            try:
                with server.connect() as connection:
                    drop = cnpg_sql.drop_role if kind == "DatabaseRole" else cnpg_sql.drop_database
                    drop(connection, item["spec"]["name"])
            except psycopg.OperationalError:
                return False  # sessions are still connected, or the server has just gone
            except psycopg.Error as error:
                if kind == "DatabaseRole":
                    self._write_status(item, {"applied": False, "message": cnpg_sql.message_of(error)})
                return False
        self._remove_finalizer(item, finalizer)
        return True

    # Passwords.

    def _password_of(self, namespace: str, spec: Object) -> tuple[Password | None, str]:
        """The password a role gets (None: left alone) and the version of the Secret that it comes from."""
        name = spec.get("passwordSecret", {}).get("name")
        if not name:
            return (Password(None) if spec.get("disablePassword") else None), ""
        text, version = self._read_password(namespace, name, spec["name"])
        return Password(text), version

    def _read_password(self, namespace: str, name: str, user: str) -> tuple[str, str]:
        try:
            secret = self._client.get("v1", "Secret", name, namespace)
        except NotFoundError as error:
            raise NotAppliedError(f'secrets "{name}" not found') from error
        data = data_of(secret)
        for key in ("username", "password"):
            if key not in data:
                raise NotAppliedError(f"{key} key doesn't exist inside the secret")
        if data["username"].decode().strip() != user:
            raise NotAppliedError(f'the username in secret "{name}" does not match role "{user}"')
        return data["password"].decode().strip(), secret["metadata"]["resourceVersion"]

    def _secret_version(self, item: Object) -> str | None:
        """The version of the role's labelled password Secret; None when changes of it cannot be seen."""
        name = item["spec"].get("passwordSecret", {}).get("name")
        secret = self._secrets.get((key_of(item)[0], name)) if name else None
        return secret["metadata"]["resourceVersion"] if secret else None

    # Writes.

    def _write_status(self, item: Object, wanted: Object) -> None:
        present = item.get("status", {})
        if all(present.get(name) == value for name, value in wanted.items()):
            return
        namespace, name = key_of(item)
        try:
            written = self._client.patch_status(item["apiVersion"], item["kind"], name, wanted, namespace)
        except NotFoundError:
            return
        self._informers[item["kind"]].put(written)

    def _add_finalizer(self, item: Object, finalizer: str) -> Object:
        present = item["metadata"].get("finalizers", [])
        return item if finalizer in present else self._patch_finalizers(item, [*present, finalizer])

    def _remove_finalizer(self, item: Object, finalizer: str) -> None:
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
        written = self._client.merge_patch(item["apiVersion"], item["kind"], name, patch, namespace)
        self._informers[item["kind"]].put(written)
        return written


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
