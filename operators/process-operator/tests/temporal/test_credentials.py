"""TLS and API keys: real handshakes, files that are rotated under a running operator, nothing shown."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from ameide_dev.pki import Pki
from ameide_dev.temporal import TemporalServer
from ameide_shared.logging import known_secrets
from process_operator.temporal.errors import TemporalDenied, TemporalUnreachable
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.settings import TlsSettings

from .conftest import settings_for
from .front import on_the_wire, tls_front


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def replace(path: Path, content: bytes) -> None:
    """As a mounted Secret does it: another file, in one step."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    os.replace(draft, path)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def gateway(address: str, clock: Clock | None = None, **more: Any) -> TemporalGateway:
    return TemporalGateway(settings_for(address, timeout=2.0, **more), clock=clock or Clock())


async def test_tls_with_our_own_authority(temporal: TemporalServer, pki: Pki) -> None:
    async with tls_front(temporal.address, pki) as front:
        assert await gateway(front.address, tls=TlsSettings(ca_file=pki.ca_file)).ping("default")


async def test_a_server_of_another_authority_is_not_talked_to(
    temporal: TemporalServer, pki: Pki, tmp_path: Path
) -> None:
    other = Pki(tmp_path / "other")
    async with tls_front(temporal.address, pki) as front:
        for tls in (TlsSettings(ca_file=other.ca_file), TlsSettings()):
            with pytest.raises(TemporalUnreachable):
                await gateway(front.address, tls=tls).ping("default")
        assert not front.received


async def test_the_name_in_the_certificate_may_differ_from_the_address(temporal: TemporalServer, pki: Pki) -> None:
    async with tls_front(temporal.address, pki, name="temporal.internal") as front:
        with pytest.raises(TemporalUnreachable):
            await gateway(front.address, tls=TlsSettings(ca_file=pki.ca_file)).ping("default")
        named = TlsSettings(ca_file=pki.ca_file, server_name="temporal.internal")
        assert await gateway(front.address, tls=named).ping("default")


async def test_client_certificates_are_shown_and_renewed(temporal: TemporalServer, pki: Pki, tmp_path: Path) -> None:
    stranger = Pki(tmp_path / "stranger")
    certificate, key = stranger.client("operator")
    mounted = TlsSettings(ca_file=pki.ca_file, cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    assert mounted.cert_file
    assert mounted.key_file
    replace(mounted.cert_file, certificate.read_bytes())
    replace(mounted.key_file, key.read_bytes())
    clock = Clock()
    async with tls_front(temporal.address, pki, client_certificates=True) as front:
        asked = gateway(front.address, clock, tls=mounted)
        with pytest.raises(TemporalUnreachable):
            await asked.ping("default")
        certificate, key = pki.client("operator")
        replace(mounted.cert_file, certificate.read_bytes())
        replace(mounted.key_file, key.read_bytes())
        clock.now += 1.5
        assert await asked.ping("default")
        assert key.read_text().strip() in known_secrets()


async def test_an_api_key_goes_along_and_is_renewed_without_dialling_again(
    temporal: TemporalServer, pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first, second = "0aces1tatio2", "1ceasiest2toast"
    file = tmp_path / "api-key"
    replace(file, f"{first}\n".encode())
    clock = Clock()
    async with tls_front(temporal.address, pki) as front:
        asked = gateway(front.address, clock, tls=TlsSettings(ca_file=pki.ca_file), api_key_file=file)
        await asked.ping("default")
        assert on_the_wire(first) in front.received
        front.received.clear()
        replace(file, second.encode())
        await asked.ping("default")
        assert on_the_wire(second) not in front.received  # the file is looked at once a second
        clock.now += 1.5
        await asked.ping("default")
        assert on_the_wire(second) in front.received
        assert front.connections == 1
    assert {first, second} <= set(known_secrets())
    assert first not in caplog.text
    assert second not in caplog.text


@pytest.mark.parametrize("content", [b"", b"  \n", b"two\nlines", b"\x00\x01"])
async def test_a_file_without_an_api_key_is_named(temporal: TemporalServer, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "api-key"
    file.write_bytes(content)
    with pytest.raises(TemporalDenied, match="does not hold one line with a key") as caught:
        await gateway(temporal.address, api_key_file=file).ping("default")
    assert str(file) in str(caught.value)


async def test_a_file_that_is_missing_is_named_and_taken_when_it_comes(
    temporal: TemporalServer, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "ca.crt"
    async with tls_front(temporal.address, pki) as front:
        asked = gateway(front.address, tls=TlsSettings(ca_file=file))
        with pytest.raises(TemporalDenied, match=r"ca\.crt cannot be read: No such file or directory"):
            await asked.ping("default")
        assert front.connections == 0
        replace(file, pki.ca_pem)
        assert await asked.ping("default")
