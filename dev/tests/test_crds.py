"""The third-party CRDs come from their modules and are accepted by a real API server."""

import pytest

from ameide_dev import crds
from ameide_dev.client import KubeClient, condition_of


def test_an_unknown_system_is_named() -> None:
    with pytest.raises(crds.CrdError, match=r"no CRDs are known for 'etcd'; known are cnpg, external-secrets"):
        crds.load("etcd")


def test_a_wrong_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = crds.SOURCES["keda"]
    wrong = crds.Source(source.module, source.version, source.folder, ("unscaledobjects",))
    monkeypatch.setitem(crds.SOURCES, "keda", wrong)
    with pytest.raises(crds.CrdError, match=r"expected one file \*_unscaledobjects.yaml .*, found 0; correct SOURCES"):
        crds.load("keda")


def test_a_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setitem(crds.SOURCES, "keda", crds.Source("example.org/nothing", "v1.0.0", "crds", ("things",)))
    with pytest.raises(crds.CrdError, match=r"the CRDs of example.org/nothing@v1.0.0 cannot be fetched: "):
        crds.load("keda")


@pytest.mark.parametrize("system", crds.SOURCES)
def test_every_crd_is_established(kube: KubeClient, system: str) -> None:
    plurals = []
    for crd in crds.load(system):
        live = kube.get(crds.API_VERSION, crds.KIND, crd["metadata"]["name"])
        condition = condition_of(live, "Established")
        assert condition is not None
        assert condition["status"] == "True"
        plurals.append(live["spec"]["names"]["plural"])
    assert tuple(plurals) == crds.SOURCES[system].plurals


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("postgresql.cnpg.io/v1", "DatabaseRole"),
        ("external-secrets.io/v1", "ExternalSecret"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("temporal.io/v1alpha1", "WorkerDeployment"),
    ],
)
def test_the_versions_that_we_write_are_served(kube: KubeClient, api_version: str, kind: str) -> None:
    assert kube.resource(api_version, kind).namespaced
