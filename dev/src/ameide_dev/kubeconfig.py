"""Writes kubeconfig files that reach the local API server as one user."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def certificate_user(certificate: Path, key: Path) -> dict[str, str]:
    """The `user` part for a client certificate, embedded so that the file can be copied elsewhere."""
    return {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }


def token_file_user(token_file: Path) -> dict[str, str]:
    """The `user` part for a bearer token that clients read, and read again, from a file."""
    return {"tokenFile": str(token_file)}


def write_kubeconfig(
    path: Path, *, server: str, ca_pem: bytes, user: Mapping[str, str], name: str = "ameide", namespace: str = "default"
) -> Path:
    """Write a kubeconfig (mode 0600) with one context called `name`; returns `path`."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca_pem).decode()},
            }
        ],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
