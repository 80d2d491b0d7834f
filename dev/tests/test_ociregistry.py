"""A registry on loopback: what is pushed is there, and nothing of it stays."""

from __future__ import annotations

import httpx
import pytest

from ameide_dev.ociregistry import MISSING, OciRegistry, installed
from ameide_dev.processes import ProcessError


@pytest.mark.skipif(not installed(), reason=MISSING)
def test_a_registry_of_its_own() -> None:
    with OciRegistry() as one, OciRegistry() as other:
        assert one.address != other.address
        begun = httpx.post(f"http://{one.address}/v2/helm/chart/blobs/uploads/", trust_env=False)
        assert begun.status_code == 202
        assert one.tags("helm/chart") == []
    with pytest.raises(httpx.TransportError):
        one.tags("helm/chart")


def test_a_machine_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProcessError, match="apt-get install docker-registry"):
        OciRegistry().start()
