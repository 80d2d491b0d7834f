"""Clusters of the CloudNativePG stand-in: a PostgreSQL server each, with the objects that clients of it read."""

import secrets
from typing import Any

from psycopg import sql

from ameide_dev import cnpg_objects as objects
from ameide_dev import cnpg_sql
from ameide_dev.cnpg_sql import Password
from ameide_dev.cnpg_store import FINALIZERS, Faults, Store, now
from ameide_dev.informer import Key, key_of
from ameide_dev.postgres import Postgres

Object = dict[str, Any]

CLUSTER_GONE = "cluster resource has been deleted, skipping reconciliation"


class Clusters:
    """The servers by Cluster. All methods but `server` are for the stand-in's own thread."""

    def __init__(self, store: Store, faults: Faults, host: str) -> None:
        self._store = store
        self._faults = faults
        self._host = host
        self._servers: dict[Key, Postgres] = {}
        self._server_uids: dict[Key, str] = {}

    def server(self, key: Key) -> Postgres | None:
        """The server behind a Cluster, None before it has been set up."""
        return self._servers.get(key)

    def known(self) -> list[Key]:
        """The Clusters that have a server."""
        return list(self._servers)

    def remove(self) -> None:
        """Stop all servers and delete their data."""
        for server in self._servers.values():
            server.remove()
        self._servers.clear()

    def reconcile(self, key: Key) -> None:
        """Bring a Cluster's server, objects and status up to date, or take them down when it is gone."""
        cluster = self._store.get("Cluster", key)
        if cluster is None:
            self._forget(key)
            return
        if cluster["metadata"].get("deletionTimestamp"):
            return
        if self._server_uids.get(key) not in (None, cluster["metadata"]["uid"]):
            self._forget(key)
        server = self._servers.get(key)
        if server is None:
            cluster = self._write_status(cluster, objects.PHASE_SETTING_UP, f"Creating primary instance {key[1]}-1")
            server = Postgres(f"{key[1]}-1", objects.host_names(*key), self._host)
            try:
                server.start()
                self._bootstrap(cluster, server)
            except BaseException:
                server.remove()
                raise
            self._servers[key] = server
            self._server_uids[key] = cluster["metadata"]["uid"]
        if server.running:
            self._write_objects(cluster, server)
            self._apply_inline_roles(cluster, server)
        phase = self._faults.unready.get(key, objects.PHASE_HEALTHY)
        self._write_status(cluster, phase, "")

    def _bootstrap(self, cluster: Object, server: Postgres) -> None:
        database, owner = objects.application(cluster)
        namespace = key_of(cluster)[0]
        initdb = cluster["spec"].get("bootstrap", {}).get("initdb", {})
        if given := initdb.get("secret", {}).get("name"):
            password = self._store.read_password(namespace, given, owner)[0]
        else:
            password = self._ensure_credentials(cluster, "app", owner, secrets.token_urlsafe(32), database)
        with server.connect() as connection:
            cnpg_sql.apply_role(connection, {"name": owner, "login": True}, Password(password))
            cnpg_sql.apply_database(connection, {"name": database, "owner": owner})
            if cluster["spec"].get("enableSuperuserAccess"):
                if given := cluster["spec"].get("superuserSecret", {}).get("name"):
                    password = self._store.read_password(namespace, given, server.superuser)[0]
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
            self._store.client.apply(endpoints, field_manager="cnpg-stand-in")
        if cluster["spec"].get("enableSuperuserAccess"):
            self._ensure_credentials(cluster, "superuser", server.superuser, server.superuser_password, "*")
        else:
            found = self._store.client.find("v1", "Secret", f"{name}-superuser", namespace)
            if found and any(
                owner["uid"] == cluster["metadata"]["uid"] for owner in found["metadata"].get("ownerReferences", [])
            ):
                self._store.client.delete("v1", "Secret", f"{name}-superuser", namespace, missing_ok=True)

    def _create_once(self, item: Object) -> None:
        namespace, name = key_of(item)
        if self._store.client.find(item["apiVersion"], item["kind"], name, namespace) is None:
            self._store.client.create(item)

    def _ensure_credentials(self, cluster: Object, suffix: str, user: str, password: str, database: str) -> str:
        """Create the Secret unless it exists; return the password it holds."""
        namespace, name = key_of(cluster)
        self._create_once(objects.credential_secret(cluster, suffix, user, password, database))
        return self._store.read_password(namespace, f"{name}-{suffix}", user)[0]

    def _apply_inline_roles(self, cluster: Object, server: Postgres) -> None:
        with server.connect() as connection:
            for role in cluster["spec"].get("managed", {}).get("roles", []):
                if role.get("ensure") == "absent":
                    cnpg_sql.drop_role(connection, role["name"])
                else:
                    cnpg_sql.apply_role(connection, role, self._store.password_of(key_of(cluster)[0], role)[0])

    def _write_status(self, cluster: Object, phase: str, reason: str) -> Object:
        return self._store.write_status(cluster, objects.cluster_status(cluster, phase, reason, now()))

    def _forget(self, key: Key) -> None:
        server = self._servers.pop(key, None)
        self._server_uids.pop(key, None)
        if server is not None:
            server.remove()
        for item in self._store.members(key):
            if item.get("status", {}).get("applied") is not None:
                gone = {"applied": False, "message": CLUSTER_GONE, "observedGeneration": 0}
                item = self._store.write_status(item, gone)
            self._store.remove_finalizer(item, FINALIZERS[item["kind"]])
