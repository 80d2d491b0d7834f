"""What the Domain operator reads of the cluster for one Domain: the only reader of its plan.

Nearly everything comes from caches that watches keep current. Three things are asked for, rarely: a Secret or
ServiceAccount of somebody else that the spec names, the end of a migration's log, and the registry.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from ameide_shared.builders.identity import Primitive
from ameide_shared.kube.errors import ApiError, NotFound
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DOMAIN,
    EXTERNAL_SECRET,
    JOB,
    NAMESPACE,
    SECRET,
    SERVICE_MONITOR,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.logging import known_secrets
from ameide_shared.observing import Reader
from ameide_shared.redact import scrub, tail
from ameide_shared.spec import InvalidSpec
from ameide_shared.status import parse_time
from ameide_shared.workload import JobPhase, job_state
from domain_operator.observed import Observed
from domain_operator.past import Past
from domain_operator.plan.attempts import ANNOTATION_IMAGE
from domain_operator.plan.binding import cluster_key, wanted_names
from domain_operator.plan.claims import ANNOTATION_CLUSTER, ANNOTATION_DATABASE, ANNOTATION_ROLE
from domain_operator.plan.told import LOG_PATIENCE_SECONDS, has_ended
from domain_operator.spec import Domain

log = logging.getLogger(__name__)

OPTIONAL_APIS = (CNPG_CLUSTER, CNPG_DATABASE, CNPG_DATABASE_ROLE, SERVICE_MONITOR, EXTERNAL_SECRET)
_LOG_LINES = 40
CREDENTIALS = frozenset(("password", "uri", "jdbc-uri"))
"""Keys of password and connection Secrets whose values must not be seen."""


class Observer:
    """Gathers an Observed. Keeps indexes over Domains and CloudNativePG objects, and short memories of single reads."""

    def __init__(self, reader: Reader, past: Past) -> None:
        self._reader = reader
        self._past = past
        cache = reader.cache
        self._logs: dict[str, str] = {}  # by uid of the Job: a finished Job's log does not change
        self.domains_by_cluster = Index(cache, DOMAIN, _cluster_of_domain)
        self._names = {
            resource: Index(cache, resource, _cluster_of_cnpg) for resource in (CNPG_DATABASE, CNPG_DATABASE_ROLE)
        }
        self._claims_of_jobs = Index(cache, SECRET, _cluster_of_secret)

    async def observe(self, manifest: Manifest) -> Observed:
        """Read what the plan of this Domain needs. Raises ApiError where the API server cannot be asked."""
        key, db = key_of(manifest), (manifest.get("spec") or {}).get("db")
        objects = self._reader.own(manifest, [cluster_key(db, key.namespace).namespace] if db else ())
        apis = self._reader.apis()
        try:
            domain = Domain.parse(manifest)
        except InvalidSpec:
            return Observed(self._reader.snapshot(objects), apis)
        objects += await self._reader.account(Primitive("Domain", key.name, key.namespace, ""), domain.spec)
        objects += await self._connection(domain, key)
        if domain.spec.db is not None:
            self._claims(domain, manifest, objects)
        snapshot = self._reader.snapshot(objects)
        logs = await self._job_logs(Observed(snapshot), manifest)
        known = self._past.is_known(manifest)
        return Observed(snapshot, apis, await self._reader.image(domain.spec.image), logs, known)

    def _claims(self, domain: Domain, manifest: Manifest, objects: list[Manifest]) -> None:
        """The Cluster, and whoever else wants something of it that we want."""
        cluster = ObjectKey(*domain.cluster)
        objects += self._reader.get(CNPG_CLUSTER, cluster)
        objects += self._reader.get(NAMESPACE, ObjectKey("", cluster.namespace))
        wanted = {CNPG_DATABASE: (domain.database,), CNPG_DATABASE_ROLE: (domain.role, domain.owner_role)}
        for resource, names in wanted.items():
            for name in names:
                for other in self._names[resource].keys((cluster, name)):
                    objects += self._reader.get(resource, other)
        for name in (domain.database, domain.role, domain.owner_role):
            for other in self._claims_of_jobs.keys((cluster, name)):
                objects += self._reader.get(SECRET, other)
        for other in self.rivals_of(manifest):
            objects += self._reader.get(DOMAIN, other)

    def rivals_of(self, manifest: Manifest) -> list[ObjectKey]:
        """The other Domains that want a database or role of the same name on the same Cluster, in order."""
        wanted = [value for value in _cluster_of_domain(manifest) if len(value) > 1]
        found = {other for value in wanted for other in self.domains_by_cluster.keys(value)}
        return sorted(found - {key_of(manifest)})

    async def _connection(self, domain: Domain, key: ObjectKey) -> list[Manifest]:
        """The connection Secret that the spec names, and the ExternalSecret that makes it."""
        reference = domain.spec.db.connection_secret_ref if domain.spec.db is not None else None
        if reference is None:
            return []
        found: list[Manifest] = []
        name = reference.name
        if reference.kind == "ExternalSecret":
            if not self._reader.discovery.installed(EXTERNAL_SECRET):
                return []
            external = await self._reader.foreign(EXTERNAL_SECRET, ObjectKey(key.namespace, name))
            if external is None:
                return []
            found.append(external)
            name = ((external.get("spec") or {}).get("target") or {}).get("name") or name
        secret = await self._reader.foreign(SECRET, ObjectKey(key.namespace, name))
        return [*found, secret] if secret is not None else found

    async def _job_logs(self, observed: Observed, manifest: Manifest) -> dict[str, str]:
        """The logs of Jobs that ended without a termination message, whose version is not yet told in status."""
        db = (manifest.get("status") or {}).get("db") or {}
        logs: dict[str, str] = {}
        for job in observed.objects.list(JOB, manifest["metadata"]["namespace"]):
            image = (job["metadata"].get("annotations") or {}).get(ANNOTATION_IMAGE)
            pods = observed.pods_of_job(job["metadata"]["name"])
            state = job_state(job, pods)
            told = db.get("migratedImage") == image and ("migrationVersion" in db or _is_long_ago(state.finished_at))
            # A Job's end may be seen before its pod's, whose termination message mostly says it all.
            silent = state.phase is JobPhase.SUCCEEDED and has_ended(pods) and not state.termination and not told
            text = await self._log_of(job, pods) if image and silent else None
            if text is not None:
                logs[job["metadata"]["name"]] = text
        return logs

    async def _log_of(self, job: Manifest, pods: list[Manifest]) -> str | None:
        """The end of a Job's log, None where it cannot be read now."""
        uid = job["metadata"]["uid"]
        if uid not in self._logs:
            newest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
            try:
                text = await self._reader.client.pod_log(key_of(newest), container="migrate", tail_lines=_LOG_LINES)
            except NotFound:
                text = ""  # the pod is gone, and its log with it
            except ApiError as error:
                log.info("log of pod %s cannot be read: %s", key_of(newest), error.message)
                return None
            if len(self._logs) > 1024:
                self._logs.clear()
            self._logs[uid] = tail(scrub(text, known_secrets()), _LOG_LINES, 8192)
        return self._logs[uid]


def _is_long_ago(finished_at: str) -> bool:
    """Whether a migration ended so long ago that its log is not asked for any more: a restart reads none again."""
    now = datetime.now(UTC)
    return not finished_at or (now - parse_time(finished_at)).total_seconds() > LOG_PATIENCE_SECONDS


def _cluster_of_domain(domain: Manifest) -> list[tuple[object, ...]]:
    """Values by which a Domain is found: its Cluster, and its Cluster with each name that it wants there."""
    db = (domain.get("spec") or {}).get("db")
    if not db:
        return []
    cluster = cluster_key(db, domain["metadata"]["namespace"])
    return [(cluster,), *((cluster, *name) for name in wanted_names(domain))]


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
