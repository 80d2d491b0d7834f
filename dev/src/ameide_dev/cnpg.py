"""A stand-in for CloudNativePG 1.30: no instance pods, but real PostgreSQL servers and the real API's behaviour.

Every Cluster gets one PostgreSQL server of its own on loopback, with the Services, Secrets and status that clients of
CloudNativePG read. DatabaseRole and Database objects are applied to it, with the statuses, messages, finalizers and
refusals of the real operator. Faults can be switched on: see the methods of `CnpgStandIn`.
"""

import logging
import threading
from typing import Any

import psycopg

from ameide_dev import cnpg_objects as objects
from ameide_dev.client import KubeClient
from ameide_dev.cnpg_clusters import CLUSTER_GONE, Clusters
from ameide_dev.cnpg_members import Members
from ameide_dev.cnpg_store import DATABASE_FINALIZER, ROLE_FINALIZER, Faults, NotAppliedError, Store
from ameide_dev.components import LOOPBACK
from ameide_dev.informer import Key, WorkQueue, key_of
from ameide_dev.postgres import Postgres, PostgresError
from ameide_dev.transport import ApiError, ConflictError, UnavailableError

__all__ = ["CLUSTER_GONE", "DATABASE_FINALIZER", "ROLE_FINALIZER", "CnpgStandIn"]

log = logging.getLogger(__name__)

Object = dict[str, Any]
Task = tuple[str, Key]  # (kind, key)


class CnpgStandIn:
    """The controller. `start()` follows Clusters, Databases, DatabaseRoles and labelled Secrets in all namespaces."""

    def __init__(self, client: KubeClient, *, retry_seconds: float = 1.0, host: str = LOOPBACK) -> None:
        """`retry_seconds`: how soon a failure is tried again (the real operator waits 30 s).

        `host`: the address that the servers listen on.
        """
        self._retry = retry_seconds
        self._faults = Faults()
        self._store = Store(client, self._changed, self._secret_changed)
        self._clusters = Clusters(self._store, self._faults, host)
        self._members = Members(self._store, self._clusters, self._faults)
        self._queue: WorkQueue[Task] = WorkQueue()
        self._thread = threading.Thread(target=self._work, name="cnpg", daemon=True)

    def start(self) -> None:
        """Start following and working; returns at once."""
        self._store.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop working and remove all PostgreSQL servers with their data."""
        self._store.stop()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        self._clusters.remove()

    # What tests and the demo reach for.

    def postgres(self, namespace: str, cluster: str) -> Postgres:
        """The PostgreSQL server behind a Cluster. Raises KeyError before it has been set up."""
        server = self._clusters.server((namespace, cluster))
        if server is None:
            raise KeyError(f"Cluster {namespace}/{cluster} has no server yet: wait for its condition Ready")
        return server

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

    def _changed(self, item: Object) -> None:
        self._queue.add((item["kind"], key_of(item)), after=self._faults.delay_seconds)

    def _queue_all(self) -> None:
        for key in self._clusters.known():
            self._queue.add(("Cluster", key))  # also those whose object has gone meanwhile
        for kind in ("Cluster", "DatabaseRole", "Database"):
            for item in self._store.items(kind):
                self._changed(item)

    def _secret_changed(self, secret: Object) -> None:
        namespace, name = key_of(secret)
        for role in self._store.items("DatabaseRole"):
            if key_of(role)[0] == namespace and role["spec"].get("passwordSecret", {}).get("name") == name:
                self._changed(role)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if not self._faults.paused and not self._attempt(*task):
                self._queue.add(task, after=self._retry)

    def _attempt(self, kind: str, key: Key) -> bool:
        """Work on one object; whether it is settled."""
        try:
            if kind != "Cluster":
                return self._members.reconcile(kind, key)
            self._clusters.reconcile(key)
        except ConflictError:
            return False
        except (ApiError, UnavailableError, NotAppliedError, PostgresError, psycopg.Error, OSError) as error:
            log.warning("%s %s/%s: %s", kind, *key, error)
            return False
        except Exception:
            log.exception("%s %s/%s", kind, *key)
            return False
        for member in self._store.members(key):
            self._changed(member)
        return True
