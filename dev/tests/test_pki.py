"""Certificates do what TLS asks of them: a server and a client that trust only the local CA talk to each other."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from ameide_dev.kubeconfig import certificate_user, write_kubeconfig
from ameide_dev.pki import Pki


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> x509.Certificate | None:
    """Connect over a socket pair; the certificate that the server saw of the client."""
    left, right = socket.socketpair()
    seen: list[bytes | None] = []

    def serve() -> None:
        try:
            with server.wrap_socket(left, server_side=True) as stream:
                seen.append(stream.getpeercert(binary_form=True))
                stream.send(b"x")
        except ssl.SSLError:
            seen.append(None)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=host) as stream:
            stream.recv(1)
    finally:
        right.close()
        thread.join()
        left.close()
    return x509.load_der_x509_certificate(seen[0]) if seen[0] else None


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def contexts(pki: Pki) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.ca_file))
    server.load_cert_chain(*pki.server("server", ["127.0.0.1", "db.test.svc"]))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(pki.ca_file))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(*pki.client("alice", ["team:a", "team:b"]))
    return server, client


@pytest.mark.parametrize("host", ["127.0.0.1", "db.test.svc"])
def test_mutual_tls(pki: Pki, host: str) -> None:
    certificate = handshake(*contexts(pki), host)
    assert certificate is not None
    subject = certificate.subject
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    groups = [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["team:a", "team:b"]


def test_another_name_is_refused(pki: Pki) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.test"):
        handshake(*contexts(pki), "other.test")


def test_another_authority_is_refused(pki: Pki, tmp_path: Path) -> None:
    server, _ = contexts(pki)
    stranger = ssl.create_default_context(cafile=str(Pki(tmp_path / "other").ca_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, stranger, "127.0.0.1")


def test_private_files_are_private(pki: Pki, tmp_path: Path) -> None:
    certificate, key = pki.client("system:alice")
    config = write_kubeconfig(
        tmp_path / "config", server="https://127.0.0.1:1", ca_pem=pki.ca_pem, user=certificate_user(certificate, key)
    )
    public, private = pki.signing_key("tokens")
    for path in (key, private, config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert b"PUBLIC KEY" in public.read_bytes()
    document = yaml.safe_load(config.read_text())
    assert document["contexts"][0]["name"] == document["current-context"]
