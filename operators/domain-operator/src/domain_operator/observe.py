"""What the Domain operator reads of the cluster for one Domain: the only reader of its plan.

Nearly everything comes from caches that watches keep current. Three things are asked for, rarely: a Secret or
ServiceAccount of somebody else that the spec names, the end of a migration's log, and the registry.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.converge import decoded
from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.kube.cache import Cache, Owner
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.errors import ApiError, NotFound
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DEPLOYMENT,
    DOMAIN,
    EXTERNAL_SECRET,
    JOB,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.logging import known_secrets, register_secret
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub, scrub_pod, tail
from ameide_shared.registry import ImageNotFound, RegistryClient, RegistryError
from ameide_shared.snapshot import Snapshot
from ameide_shared.spec import InvalidSpec
from ameide_shared.workload import JobPhase, job_state
from domain_operator.observed import Observed
from domain_operator.plan.claims import ANNOTATION_CLUSTER, ANNOTATION_DATABASE, ANNOTATION_ROLE
from domain_operator.spec import Domain

log = logging.getLogger(__name__)

OPTIONAL_APIS = (CNPG_CLUSTER, CNPG_DATABASE, CNPG_DATABASE_ROLE, SERVICE_MONITOR, EXTERNAL_SECRET)
FOREIGN_SECONDS = 9.0
"""How long an object of somebody else, got by name, is believed: less than plans wait before they look again."""
_LOG_LINES = 40
_CREDENTIALS = ("password", "uri", "jdbc-uri")
"""Keys of a connection Secret whose values must not be seen."""


def cluster_key(db: Mapping[str, object], namespace: str) -> ObjectKey:
    """The Cluster that a raw `spec.db` refers to."""
    where, _, name = str(db.get("clusterRef", "")).rpartition("/")
    return ObjectKey(where or namespace, name)


class Observer:
    """Gathers an Observed. Keeps indexes over Domains and CloudNativePG objects, and short memories of single reads."""

    def __init__(
        self, client: ApiClient, cache: Cache, discovery: Discovery, registry: RegistryClient | None = None
    ) -> None:
        self._client = client
        self._cache = cache
        self._discovery = discovery
        self._registry = registry
        self._foreign: dict[tuple[ResourceType, ObjectKey], tuple[float, Manifest | None]] = {}
        self._logs: dict[str, str] = {}  # by uid of the Job: a finished Job's log does not change
        self.domains_by_cluster = Index(cache, DOMAIN, _cluster_of_domain)
        self.domains_by_namespace = Index(cache, DOMAIN, lambda domain: [domain["metadata"]["namespace"]])
        self._names = {
            resource: Index(cache, resource, _cluster_of_cnpg) for resource in (CNPG_DATABASE, CNPG_DATABASE_ROLE)
        }
        self._claims_of_jobs = Index(cache, SECRET, _cluster_of_secret)

    async def observe(self, manifest: Manifest) -> Observed:
        """Read what the plan of this Domain needs. Raises ApiError where the API server cannot be asked."""
        key = key_of(manifest)
        objects = self._children(manifest)
        self._add(objects, NAMESPACE, ObjectKey("", key.namespace))
        apis = frozenset(resource for resource in OPTIONAL_APIS if self._discovery.installed(resource))
        try:
            domain = Domain.parse(manifest)
        except InvalidSpec:
            return Observed(Snapshot(objects), apis)
        await self._named_objects(domain, key, objects)
        if domain.spec.db is not None:
            self._claims(domain, manifest, objects)
        snapshot = Snapshot(objects)
        logs = await self._job_logs(snapshot, manifest)
        info, error = await self._image(domain)
        return Observed(snapshot, apis, logs, info, error)

    def _children(self, manifest: Manifest) -> list[Manifest]:
        """What says that it belongs to the Domain: in its namespace, and in that of its Cluster.

        Labels that say so can be written by anybody who has a namespace; elsewhere they mean nothing.
        """
        key, db = key_of(manifest), (manifest.get("spec") or {}).get("db")
        places = {key.namespace, cluster_key(db, key.namespace).namespace if db else key.namespace}
        children = self._cache.children(Owner("domain", key.namespace, key.name))
        known = known_secrets()
        return [
            scrub_pod(child, known) if child.get("kind") == POD.kind else child
            for child in children
            if child["metadata"].get("namespace") in places
        ]

    def _add(self, objects: list[Manifest], resource: ResourceType, key: ObjectKey) -> None:
        found = self._cache.get(resource, key)
        if found is not None:
            objects.append(found)

    def _claims(self, domain: Domain, manifest: Manifest, objects: list[Manifest]) -> None:
        """The Cluster, and whoever else wants something of it that we want."""
        cluster = ObjectKey(*domain.cluster)
        self._add(objects, CNPG_CLUSTER, cluster)
        self._add(objects, NAMESPACE, ObjectKey("", cluster.namespace))
        wanted = {CNPG_DATABASE: (domain.database,), CNPG_DATABASE_ROLE: (domain.role, domain.owner_role)}
        for resource, names in wanted.items():
            for name in names:
                for other in self._names[resource].keys((cluster, name)):
                    self._add(objects, resource, other)
        for name in (domain.database, domain.role, domain.owner_role):
            for other in self._claims_of_jobs.keys((cluster, name)):
                self._add(objects, SECRET, other)
        for other in self.rivals_of(manifest):
            self._add(objects, DOMAIN, other)

    def rivals_of(self, manifest: Manifest) -> list[ObjectKey]:
        """The other Domains that want a database or role of the same name on the same Cluster, in order."""
        wanted = [value for value in _cluster_of_domain(manifest) if len(value) > 1]
        found = {other for value in wanted for other in self.domains_by_cluster.keys(value)}
        return sorted(found - {key_of(manifest)})

    async def _named_objects(self, domain: Domain, key: ObjectKey, objects: list[Manifest]) -> None:
        """Objects of others that the spec names: they bear no label of ours, so no watch shows them."""
        primitive = Primitive("Domain", key.name, key.namespace, "")
        account = ObjectKey(key.namespace, service_account_name(primitive, domain.spec))
        deployed = self._cache.get(DEPLOYMENT, ObjectKey(key.namespace, primitive.child_name)) is not None
        if deployed or (SERVICE_ACCOUNT, account) in self._cache.foreign:
            # Before the first rollout it most likely does not exist: creating it tells without being asked first.
            await self._foreign_object(SERVICE_ACCOUNT, account, objects)
        db = domain.spec.db
        if db is None or db.provisioning != "None" or db.connection_secret_ref is None:
            return
        name = db.connection_secret_ref.name
        if db.connection_secret_ref.kind == "ExternalSecret":
            if not self._discovery.installed(EXTERNAL_SECRET):
                return
            external = await self._foreign_object(EXTERNAL_SECRET, ObjectKey(key.namespace, name), objects)
            if external is None:
                return
            name = ((external.get("spec") or {}).get("target") or {}).get("name") or name
        await self._foreign_object(SECRET, ObjectKey(key.namespace, name), objects)

    async def _foreign_object(self, resource: ResourceType, key: ObjectKey, objects: list[Manifest]) -> Manifest | None:
        found = self._cache.get(resource, key)
        if found is None:
            at, found = self._foreign.get((resource, key), (-FOREIGN_SECONDS, None))
            if found is None or time.monotonic() - at >= FOREIGN_SECONDS:
                try:
                    found = await self._client.get(resource, key)
                except NotFound:
                    found = None
                if found is not None and resource is SECRET:
                    for name in _CREDENTIALS:
                        register_secret(decoded(found, name) or "")
                    found = Snapshot([found]).get(SECRET, key.namespace, key.name)  # the values are not kept
                self._remember(resource, key, found)
            if found is not None:
                objects.append(found)
        return found

    def _remember(self, resource: ResourceType, key: ObjectKey, found: Manifest | None) -> None:
        now = time.monotonic()
        if len(self._foreign) > 4096:
            self._foreign = {k: v for k, v in self._foreign.items() if now - v[0] < FOREIGN_SECONDS}
        self._foreign[resource, key] = (now, found)

    async def _job_logs(self, snapshot: Snapshot, manifest: Manifest) -> dict[str, str]:
        """The log of a Job that ended without a usable termination message and is not yet told of in status."""
        db = (manifest.get("status") or {}).get("db") or {}
        logs: dict[str, str] = {}
        for job in snapshot.list(JOB, manifest["metadata"]["namespace"]):
            image = (job["metadata"].get("annotations") or {}).get("ameide.io/image")
            pods = _pods_of(snapshot, job)
            state = job_state(job, pods)
            told = db.get("migratedImage") == image and "lastMigrationTime" in db
            # A Job's end may be seen before its pod's, whose termination message mostly says it all.
            ended = any((pod.get("status") or {}).get("phase") == "Succeeded" for pod in pods)
            silent = state.phase is JobPhase.SUCCEEDED and ended and not state.termination and not told
            if image and silent:
                text = await self._log_of(job, pods)
                if text:
                    logs[job["metadata"]["name"]] = text
        return logs

    async def _log_of(self, job: Manifest, pods: list[Manifest]) -> str:
        uid = job["metadata"]["uid"]
        if uid not in self._logs and pods:
            newest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
            try:
                text = await self._client.pod_log(key_of(newest), container="migrate", tail_lines=_LOG_LINES)
            except ApiError as error:
                log.info("log of pod %s cannot be read: %s", key_of(newest), error.message)
                text = ""
            if len(self._logs) > 1024:
                self._logs.clear()
            self._logs[uid] = tail(scrub(text, known_secrets()), _LOG_LINES, 8192)
        return self._logs.get(uid, "")

    async def _image(self, domain: Domain) -> tuple[ImageInfo | None, tuple[str, str] | None]:
        if self._registry is None:
            return None, None
        try:
            return await self._registry.check(domain.spec.image), None
        except ImageNotFound as error:
            return None, (Reason.ImageNotFound, str(error))
        except RegistryError as error:
            return None, (Reason.RegistryUnavailable, str(error))


def _pods_of(snapshot: Snapshot, job: Manifest) -> list[Manifest]:
    name = job["metadata"]["name"]
    return [
        pod
        for pod in snapshot.list(POD, job["metadata"]["namespace"])
        if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == name
    ]


def _cluster_of_domain(domain: Manifest) -> list[tuple[object, ...]]:
    """Values by which a Domain is found: its Cluster, and its Cluster with each name that it wants there."""
    db = (domain.get("spec") or {}).get("db")
    if not db:
        return []
    metadata = domain["metadata"]
    cluster = cluster_key(db, metadata["namespace"])
    role = db.get("role") or metadata["name"]
    return [
        (cluster,),
        (cluster, "database", db.get("database") or metadata["name"]),
        (cluster, "role", role),
        (cluster, "role", f"{role}_owner"),
    ]


def _cluster_of_cnpg(manifest: Manifest) -> list[tuple[ObjectKey, str]]:
    """The Cluster and the name inside PostgreSQL of a Database or DatabaseRole."""
    spec = manifest.get("spec") or {}
    cluster = ObjectKey(manifest["metadata"]["namespace"], (spec.get("cluster") or {}).get("name") or "")
    return [(cluster, spec.get("name") or "")]


def _cluster_of_secret(secret: Manifest) -> list[tuple[ObjectKey, str]]:
    """The Cluster of a password Secret, with each name inside PostgreSQL that it is the claim to."""
    metadata = secret["metadata"]
    claim = metadata.get("annotations") or {}
    cluster = ObjectKey(metadata["namespace"], claim.get(ANNOTATION_CLUSTER, ""))
    return [(cluster, claim[name]) for name in (ANNOTATION_DATABASE, ANNOTATION_ROLE) if name in claim]
