"""Migrations before rollout: the pod template moves on only once its migration has succeeded.

What the migrators do is played by scenario images; the Jobs, their pods and their conditions are the cluster's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from databases import given, given_secret, migration_jobs, migrator, outcomes
from domain_support import Domains

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

V1, V2, V3 = (f"ghcr.io/ameide/orders-domain:1.{minor}.0" for minor in range(3))


def released(domains: Domains, **db: object) -> dict[str, object]:
    """A Domain at V1 whose migration has succeeded; its Deployment."""
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("ok:7"), **db))
    domains.ready()
    return deployment(domains)


def deployment(domains: Domains) -> dict[str, object]:
    found = domains.child("apps/v1", "Deployment", "orders-domain")
    assert found is not None
    return found


def running_image(domains: Domains) -> str:
    return deployment(domains)["spec"]["template"]["spec"]["containers"][0]["image"]


def test_first_release_waits_for_its_migration(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("slow:3")))
    running = domains.until("Ready", "False", reason="MigrationRunning")
    assert domains.child("apps/v1", "Deployment", "orders-domain") is None
    assert condition_of(running, "WorkloadReady")["reason"] == "Blocked"
    assert condition_of(running, "Reconciling")["status"] == "True"
    assert condition_of(running, "Stalled") is None
    ready = domains.ready()
    assert ready["status"]["db"]["migrationVersion"] == "3"
    assert ready["status"]["db"]["migratedImage"] == V1
    assert ready["status"]["db"]["lastMigrationTime"]
    assert outcomes(domains) == ["complete"]


def test_failed_first_migration_starts_nothing(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("fail:1")))
    domain = domains.until("Stalled")
    assert domains.child("apps/v1", "Deployment", "orders-domain") is None
    assert outcomes(domains) == ["failed"]
    assert condition_of(domain, "MigrationFailed")["status"] == "True"
    assert condition_of(domain, "WorkloadReady")["reason"] == "Blocked"
    assert "migrationVersion" not in domain["status"].get("db", {})


def test_failed_migration_leaves_the_current_revision_serving(domains: Domains) -> None:
    before = released(domains)
    domains.patch(image=V2, db={"migrationJobImage": migrator("fail:1")})
    domain = domains.until("MigrationFailed")
    for condition, status in {
        "Ready": "False",
        "Degraded": "True",
        "Stalled": "True",
        "MigrationSucceeded": "False",
        "WorkloadReady": "True",
        "Progressing": "False",
    }.items():
        assert condition_of(domain, condition)["status"] == status, condition
    assert condition_of(domain, "Reconciling") is None
    assert condition_of(domain, "Ready")["reason"] == "MigrationFailed"
    blocker = domain["status"]["blocker"]
    name = migration_jobs(domains)[-1]["metadata"]["name"]
    assert blocker["reason"] == "MigrationFailed"
    assert blocker["object"] == f"Job {name}"
    assert 'relation "orders" already exists' in blocker["message"]
    assert "spec.image" in blocker["remedy"]
    assert "ameide.io/retry-migration" in blocker["remedy"]
    assert blocker["remedy"] in condition_of(domain, "Ready")["message"]
    assert domain["status"]["revision"]["current"] != domain["status"]["revision"]["target"]
    assert domain["status"]["db"]["migratedImage"] == V1
    assert outcomes(domains) == ["complete", "failed"]
    after = deployment(domains)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert running_image(domains) == V1


def test_fixed_image_goes_on_after_a_failure(domains: Domains) -> None:
    released(domains)
    domains.patch(image=V2, db={"migrationJobImage": migrator("fail:1")})
    domains.until("MigrationFailed")
    domains.patch(image=V3, db={"migrationJobImage": migrator("ok:9")})
    domain = domains.ready()
    assert domain["status"]["db"]["migrationVersion"] == "9"
    assert domain["status"]["db"]["migratedImage"] == V3
    assert condition_of(domain, "MigrationFailed")["status"] == "False"
    assert condition_of(domain, "Degraded")["status"] == "False"
    assert condition_of(domain, "Stalled") is None
    assert "blocker" not in domain["status"]
    assert running_image(domains) == V3
    assert outcomes(domains) == ["complete", "complete", "failed"]


def test_going_back_after_a_failed_migration_needs_no_migration(domains: Domains) -> None:
    """What serves has been migrated to; asking for it again is Ready without another Job."""
    before = released(domains)
    domains.patch(image=V2, db={"migrationJobImage": migrator("fail:1")})
    domains.until("MigrationFailed")
    domains.patch(image=V1, db={"migrationJobImage": migrator("ok:7")})
    domains.ready()
    assert outcomes(domains) == ["complete", "failed"]
    assert deployment(domains)["metadata"]["generation"] == before["metadata"]["generation"]


def test_retry_annotation_starts_one_new_job(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("fail:1")))
    first = domains.until("MigrationFailed")["status"]["blocker"]["object"]
    domains.annotate(retry_migration="once more")
    failed_otherwise(domains, first)
    assert outcomes(domains) == ["failed", "failed"]


def failed_otherwise(domains: Domains, first: str) -> str:
    """The Job that failed after another one had."""

    def failed_again(domain: dict[str, object] | None) -> bool:
        blocker = (domain or {}).get("status", {}).get("blocker", {})
        return blocker.get("reason") == "MigrationFailed" and blocker["object"] != first

    domain = domains.kube.wait_for("ameide.io/v1", "Domain", "orders", failed_again, domains.namespace)
    name: str = domain["status"]["blocker"]["object"]
    return name


def test_pruned_jobs_start_no_migration(
    kube: KubeClient, make_namespace: Callable[..., str], start_operator: StartOperator
) -> None:
    """Where one Job is kept, a retry prunes the last one of another image: the retry's own stays what it is."""
    domains = Domains(kube, make_namespace("own"))
    start_operator(domains.namespace, AMEIDE_HISTORY__JOBS="1")
    released(domains)
    domains.patch(image=V2, db={"migrationJobImage": migrator("fail:1")})
    failed = domains.until("MigrationFailed")["status"]["blocker"]["object"]
    for retry in ("1", "2"):
        domains.annotate(retry_migration=retry)
        failed = failed_otherwise(domains, failed)
    until("all but two Jobs are pruned", lambda: outcomes(domains) == ["failed", "failed"])
    names = [job["metadata"]["name"] for job in migration_jobs(domains)]
    domains.annotate(reconcile_at="now")
    time.sleep(3)
    assert [job["metadata"]["name"] for job in migration_jobs(domains)] == names
    assert domains.get()["status"]["blocker"]["object"] == failed == f"Job {names[-1]}"


def test_rollback_runs_that_images_migrator_again(domains: Domains) -> None:
    released(domains)
    domains.patch(image=V2)
    domains.ready()
    domains.patch(image=V1)
    domain = domains.ready()
    assert running_image(domains) == V1
    assert outcomes(domains) == ["complete"] * 3
    assert domain["status"]["db"]["migratedImage"] == V1
    assert domain["status"]["revision"]["current"] == domain["status"]["revision"]["target"]


def test_rollback_may_skip_the_migrator(domains: Domains) -> None:
    released(domains, migrations={"onRollback": "Skip"})
    domains.patch(image=V2)
    domains.ready()
    domains.patch(image=V1)
    domain = domains.ready()
    assert condition_of(domain, "MigrationSucceeded")["reason"] in ("MigrationSkipped", "MigrationComplete")
    assert running_image(domains) == V1
    assert outcomes(domains) == ["complete"] * 2


def test_newer_image_waits_for_the_running_migration(domains: Domains) -> None:
    released(domains)
    domains.patch(image=V2, db={"migrationJobImage": migrator("slow:8")})
    domains.until("Ready", "False", reason="MigrationRunning")
    running = migration_jobs(domains)[-1]["metadata"]["name"]
    domains.patch(image=V3, db={"migrationJobImage": migrator("ok:9")})
    domain = domains.until("Ready", "False", reason="MigrationPending")
    assert running in domain["status"]["blocker"]["message"]
    assert len(migration_jobs(domains)) == 2
    domain = domains.ready()
    first, second = migration_jobs(domains)[-2:]
    assert first["metadata"]["name"] == running
    assert second["status"]["startTime"] >= first["status"]["completionTime"]
    assert domain["status"]["db"]["migrationVersion"] == "9"
    assert running_image(domains) == V3


def test_hanging_migration_ends_at_its_deadline(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("hang:1"), migrations={"timeoutSeconds": 2}))
    domain = domains.until("MigrationFailed")
    assert "did not finish within 2 s" in domain["status"]["blocker"]["message"]
    assert outcomes(domains) == ["failed"]


def test_other_changes_do_not_migrate_again(domains: Domains) -> None:
    released(domains)
    domains.patch(env=[{"name": "FEATURE_FLAG_X", "value": "true"}], observability={"logLevel": "debug"})
    domains.ready()
    assert outcomes(domains) == ["complete"]


def test_migration_command_runs_in_the_domains_own_image(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given(migrations={"command": ["/migrate", "up"]}))
    domains.ready()
    (job,) = migration_jobs(domains)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["command"]) == (V1, ["/migrate", "up"])


def test_migrator_that_cannot_be_pulled_is_named(domains: Domains) -> None:
    given_secret(domains)
    domains.create(image=V1, db=given("ghcr.io/ameide/scenario-image-pull-backoff:1"))

    def told(domain: dict[str, object] | None) -> bool:
        return "ImagePullBackOff" in (domain or {}).get("status", {}).get("blocker", {}).get("message", "")

    domain = domains.kube.wait_for("ameide.io/v1", "Domain", "orders", told, domains.namespace)
    assert condition_of(domain, "Ready")["reason"] == "MigrationRunning"


def test_job_deleted_under_way_is_not_started_beside_its_pod(domains: Domains) -> None:
    """Never two migrations of one schema: a Job that is deleted without its pod is not replaced while the pod runs."""
    given_secret(domains)
    domains.create(image=V1, db=given(migrator("hang:1"), migrations={"timeoutSeconds": 600}))
    domains.until("Ready", "False", reason="MigrationRunning")
    (job,) = migration_jobs(domains)
    name = job["metadata"]["name"]
    domains.kube.wait_for(
        "batch/v1", "Job", name, lambda it: bool(it) and it.get("status", {}).get("active") == 1, domains.namespace
    )
    (pod,) = domains.kube.list("v1", "Pod", domains.namespace)
    domains.kube.delete("batch/v1", "Job", name, domains.namespace, propagation="Orphan", wait=10)
    domain = domains.until("Ready", "False", reason="MigrationPending")
    assert pod["metadata"]["name"] in domain["status"]["blocker"]["message"]
    assert migration_jobs(domains) == []
    domains.kube.delete("v1", "Pod", pod["metadata"]["name"], domains.namespace)
    domains.until("Ready", "False", reason="MigrationRunning")
    assert len(migration_jobs(domains)) == 1


def test_finished_jobs_beyond_the_limit_go(domains: Domains) -> None:
    released(domains)
    for minor in range(1, 6):
        domains.patch(image=f"ghcr.io/ameide/orders-domain:1.{minor}.0")
        domains.ready()
    assert len(migration_jobs(domains)) <= 4  # three of the past and the current one
