"""Watches that break, lie or grow old: what they lost is found, by listing anew and by the audit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from domain_support import SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import Answer, ApiProxy, Call, Cut, Fault
from ameide_dev.testing.subject import metric, namespaces

AUDIT_SECONDS = 3.0


@pytest.fixture
def proxy(chart: Platform) -> Iterator[ApiProxy]:
    with ApiProxy(chart.control_plane) as proxy:
        yield proxy


@pytest.fixture
def watched(
    chart: Platform, kube: KubeClient, tmp_path: Path, proxy: ApiProxy, request: pytest.FixtureRequest
) -> Iterator[tuple[Domains, OperatorProcess]]:
    """A Ready Domain and its operator, which audits every so many seconds as the test's parameter says."""
    settings = {"AMEIDE_AUDIT_SECONDS": str(getattr(request, "param", 600.0))}
    with namespaces(kube, "own-watch") as (namespace,):
        kubeconfig = proxy.kubeconfig("domain", tmp_path)
        with SUBJECT.process(chart, tmp_path, f"{namespace}*", kubeconfig=kubeconfig, **settings) as process:
            domains = Domains(kube, namespace)
            domains.create()
            domains.ready()
            yield domains, process


def replaced(domains: Domains, kind: str, api_version: str = "v1") -> None:
    """Wait until a child that was deleted is there again."""
    domains.kube.wait_for(api_version, kind, "orders-domain", lambda found: found is not None, domains.namespace)


@pytest.mark.parametrize("watched", [AUDIT_SECONDS], indirect=True)
def test_deletion_that_no_watch_told_of_is_found_by_the_audit(
    watched: tuple[Domains, OperatorProcess], proxy: ApiProxy
) -> None:
    domains, process = watched
    hidden = threading.Event()

    def hides(event: dict[str, Any]) -> bool:
        deleted = event["type"] == "DELETED" and event["object"]["kind"] == "Service"
        mine: bool = deleted and event["object"]["metadata"]["namespace"] == domains.namespace
        if mine:
            hidden.set()
        return mine

    proxy.hides = hides
    domains.kube.delete("v1", "Service", "orders-domain", domains.namespace)
    assert hidden.wait(5)
    replaced(domains, "Service")
    assert metric(process, "ameide_audit_findings_total", kind="Service", finding="missed_deletion") == 1


def test_deletion_while_the_watches_were_cut_is_found(
    watched: tuple[Domains, OperatorProcess], proxy: ApiProxy
) -> None:
    """The watch goes on from where it was, and tells of what happened meanwhile."""
    domains, _ = watched
    proxy.fault = lambda call: Cut() if call.watches else None
    proxy.cut_watches()
    domains.kube.delete("v1", "Service", "orders-domain", domains.namespace)
    domains.kube.delete("apps/v1", "Deployment", "orders-domain", domains.namespace)
    proxy.fault = lambda call: None
    replaced(domains, "Service")
    replaced(domains, "Deployment", "apps/v1")
    domains.ready()


def test_deletion_before_a_watch_that_is_too_old_is_found(
    watched: tuple[Domains, OperatorProcess], proxy: ApiProxy
) -> None:
    """410 Gone: what is listed anew does not tell of deletions; the comparison with the cache does."""
    domains, _ = watched
    proxy.fault = lambda call: Cut() if call.watches else None
    proxy.cut_watches()
    domains.kube.delete("v1", "Service", "orders-domain", domains.namespace)
    gone: set[str] = set()

    def too_old(call: Call) -> Fault:
        """Each kind's first watch from now on is refused."""
        if not call.watches or call.path in gone:
            return None
        gone.add(call.path)
        return Answer(410)

    proxy.fault = too_old
    replaced(domains, "Service")
    assert any(path.endswith("/services") for path in gone)
    domains.ready()


def test_new_objects_arrive_after_the_watches_were_cut(
    watched: tuple[Domains, OperatorProcess], proxy: ApiProxy
) -> None:
    domains, process = watched
    proxy.cut_watches()
    domains.create("late")
    domains.ready("late")
    assert process.is_ready()
