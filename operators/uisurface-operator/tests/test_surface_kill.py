"""The operator killed at every write of a UISurface's creation, and started again: the end is the same as without.

Each point twice: killed before the API server saw the write, and killed before the operator saw the answer. What it
had done in Keycloak by then is found again, and not done twice.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from surfaces import SUBJECT, Around, Surfaces

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import ApiProxy, Call
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.waiting import until

WRITES = 14
"""At least so many writes a UISurface takes; how many of status there are is up to timing."""
EXPECTED = {
    ("apps/v1", "Deployment"): 1,
    ("apps/v1", "ControllerRevision"): 1,
    ("v1", "ConfigMap"): 2,
    ("v1", "Secret"): 1,
    ("v1", "Service"): 1,
    ("v1", "ServiceAccount"): 1,
    ("networking.k8s.io/v1", "NetworkPolicy"): 1,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): 1,
    ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"): 1,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): 1,
}


@pytest.mark.parametrize("done", [False, True], ids=["before-each-write", "before-each-answer"])
def test_killed_at_each_write_it_ends_the_same(
    chart: Platform, kube: KubeClient, around: Around, gateways: GatewayStandIn, tmp_path: Path, done: bool
) -> None:
    """A surface after the other, the operator killed one write later each time, until none is left to be killed at."""
    prefix = f"own-ui-kill-{'after' if done else 'before'}"
    with ApiProxy(chart.control_plane) as proxy:
        kubeconfig = proxy.kubeconfig("uisurface", tmp_path)
        with SUBJECT.process(chart, tmp_path, f"{prefix}-*", kubeconfig=kubeconfig, **around.settings()) as operator:
            number = 1
            while True:
                with namespaces(kube, f"{prefix}-{number}") as (namespace,):
                    if not survives(operator, proxy, Surfaces(kube, namespace, around), number, done):
                        break
                number += 1
    assert number - 1 >= WRITES


def survives(operator: OperatorProcess, proxy: ApiProxy, surfaces: Surfaces, number: int, done: bool) -> bool:
    """Kill at this write and compare the end with what it should be; False if there was no such write."""
    stop = proxy.stop_at(number, functools.partial(counts, surfaces.namespace), done=done)
    scope = f"{surfaces.namespace}:read"
    surfaces.create(auth={"scopes": [scope]})
    where = f"{'after' if done else 'before'} write {number}"
    until(f"{where}, or Ready", lambda: stop.reached.is_set() or is_ready(surfaces), timeout=60)
    if not stop.reached.wait(1.0):
        proxy.resume()
        return False
    operator.kill()
    proxy.resume()
    operator.start(wait=False)
    surfaces.ready(timeout=60)
    selector = "app.kubernetes.io/managed-by=uisurface-operator"
    found = {kind: len(surfaces.kube.list(*kind, surfaces.namespace, label_selector=selector)) for kind in EXPECTED}
    assert found == EXPECTED, where
    client, realm = surfaces.client(), surfaces.around.realm
    assert client is not None
    assert surfaces.secret() == client["secret"], where
    assert scope in client["defaultClientScopes"], where
    surfaces.delete()
    surfaces.wait_gone()
    assert (surfaces.client(), realm.scope(scope), realm.role(scope)) == (None, None, None), where
    return True


def counts(namespace: str, call: Call) -> bool:
    return call.writes and call.concerns(namespace)


def is_ready(surfaces: Surfaces) -> bool:
    condition = condition_of(surfaces.get(), "Ready")
    return condition is not None and condition["status"] == "True"
