"""Roles and databases of the CloudNativePG stand-in: applied, refused and finalised as the real operator does it."""

from typing import Any

import psycopg

from ameide_dev import cnpg_objects as objects
from ameide_dev import cnpg_sql
from ameide_dev.cnpg_clusters import Clusters
from ameide_dev.cnpg_store import FINALIZERS, Faults, NotAppliedError, Store, now
from ameide_dev.informer import Key, key_of
from ameide_dev.postgres import Postgres

Object = dict[str, Any]

_RECLAIM = {"Database": "databaseReclaimPolicy", "DatabaseRole": "databaseRoleReclaimPolicy"}


class Members:
    """What is done for one Database or DatabaseRole at a time."""

    def __init__(self, store: Store, clusters: Clusters, faults: Faults) -> None:
        self._store = store
        self._clusters = clusters
        self._faults = faults

    def reconcile(self, kind: str, key: Key) -> bool:
        """Apply or finalise one object and write its status; return whether it is settled, else it is tried again."""
        item = self._store.get(kind, key)
        if item is None:
            return True
        cluster = self._store.get("Cluster", (key[0], item["spec"]["cluster"]["name"]))
        if cluster is None:
            return True
        server = self._clusters.server(key_of(cluster))
        if server is None or not server.running or key_of(cluster) in self._faults.unready:
            return False
        if item["metadata"].get("deletionTimestamp"):
            return self._finalize(kind, item, cluster, server)
        version = self._store.secret_version(item)
        status = item.get("status", {})
        unchanged = (
            status.get("applied") is True
            and status.get("observedGeneration") == item["metadata"]["generation"]
            and version in (None, status.get("secretResourceVersion"))
        )
        if unchanged and not self._shadowed(kind, item, cluster):
            return True
        item = self._store.add_finalizer(item, FINALIZERS[kind])
        try:
            self._check_admissible(kind, item, cluster)
            result = self._apply_role(item, server) if kind == "DatabaseRole" else self._apply_database(item, server)
        except psycopg.OperationalError:
            return False
        except (NotAppliedError, psycopg.Error) as error:
            message = cnpg_sql.message_of(error) if isinstance(error, psycopg.Error) else str(error)
            # The real operator leaves observedGeneration as it was when an attempt fails.
            self._store.write_status(item, {"applied": False, "message": message})
            return False
        self._store.write_status(item, result)
        return result["applied"] is True

    def _check_admissible(self, kind: str, item: Object, cluster: Object) -> None:
        namespace, name = key_of(item)
        if message := self._faults.refusal(kind, namespace, name):
            raise NotAppliedError(message)
        if self._shadowed(kind, item, cluster):
            raise NotAppliedError("database role is already managed by the CNPG cluster")
        if item.get("status", {}).get("observedGeneration", 0) > 0:
            return
        for other in self._store.items(kind):
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
        password, version = self._store.password_of(key_of(item)[0], item["spec"])
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
                item.get("status", {}).get("conditions", []), condition, now()
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
        finalizer = FINALIZERS[kind]
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
                    self._store.write_status(item, {"applied": False, "message": cnpg_sql.message_of(error)})
                return False
        self._store.remove_finalizer(item, finalizer)
        return True
