"""Where the API server is and who we are: read from a kubeconfig file or from a pod's service account.

Nothing here opens a connection; `connection.py` does, with what this module returns.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """The configuration of the connection cannot be used; the message names the file, the entry and the remedy."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A command that prints an ExecCredential (client.authentication.k8s.io) on its standard output."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    api_version: str
    provide_cluster_info: bool = False
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """Server and credentials. PEM data are bytes; at most one kind of credentials is normally set."""

    server: str
    namespace: str = "default"
    ca_data: bytes | None = field(default=None, repr=False)
    insecure: bool = False
    tls_server_name: str | None = None
    proxy: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cert_data: bytes | None = field(default=None, repr=False)
    key_data: bytes | None = field(default=None, repr=False)
    cert_file: Path | None = None
    key_file: Path | None = None
    exec_plugin: ExecPlugin | None = field(default=None, repr=False)


def load_access(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> ClusterAccess:
    """The cluster to talk to: `kubeconfig` if given, else $KUBECONFIG, else the pod's own, else ~/.kube/config.

    Raises ConfigError where none of them is there or one is broken.
    """
    paths = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG", "")
    if not paths and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    files = [Path(p).expanduser() for p in (paths or "~/.kube/config").split(os.pathsep) if p]
    found = [path for path in files if path.is_file()]
    if not found:
        raise ConfigError(
            f"no kubeconfig at {', '.join(map(str, files))} and not in a pod; set KUBECONFIG or pass --kubeconfig"
        )
    return _access_of(_merge(found), context, found)


def in_cluster(directory: Path = SERVICE_ACCOUNT) -> ClusterAccess:
    """Access as the service account of the pod that this process runs in."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token_file, ca_file, namespace_file = directory / "token", directory / "ca.crt", directory / "namespace"
    if not host or not token_file.is_file():
        raise ConfigError(
            f"not in a pod with a service account token ({token_file}, KUBERNETES_SERVICE_HOST); "
            "set KUBECONFIG, or automountServiceAccountToken on the pod"
        )
    return ClusterAccess(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace_file.read_text().strip() if namespace_file.is_file() else "default",
        ca_data=ca_file.read_bytes() if ca_file.is_file() else None,
        token_file=token_file,
    )


def _merge(paths: list[Path]) -> dict[str, Any]:
    """Several kubeconfig files as one: the first file that has a name, or a current context, wins."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as a kubeconfig: {error}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: a kubeconfig is a YAML mapping, found {type(content).__name__}")
        merged["current-context"] = merged["current-context"] or content.get("current-context") or ""
        for section, entry in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for item in content.get(section) or ():
                # Files named inside are relative to the file that names them.
                merged[section].setdefault(item.get("name"), {**(item.get(entry) or {}), "_base": path.parent})
    return merged


def _access_of(config: Mapping[str, Any], context: str | None, paths: list[Path]) -> ClusterAccess:
    where = ", ".join(map(str, paths))
    name = context or config["current-context"]
    if name not in config["contexts"]:
        known = ", ".join(sorted(config["contexts"])) or "none"
        raise ConfigError(f"{where}: no context {name!r}; contexts are: {known}")
    chosen = config["contexts"][name]
    for section, entry in (("clusters", "cluster"), ("users", "user")):
        if chosen.get(entry) not in config[section]:
            raise ConfigError(f"{where}: context {name!r} names {entry} {chosen.get(entry)!r}, which is not there")
    cluster, user = config["clusters"][chosen["cluster"]], config["users"][chosen["user"]]
    if not cluster.get("server"):
        raise ConfigError(f"{where}: cluster {chosen['cluster']!r} has no server; add its URL")
    plugin = user.get("exec")
    token_file = _path(user, "tokenFile")
    return ClusterAccess(
        server=str(cluster["server"]).rstrip("/"),
        namespace=chosen.get("namespace") or "default",
        ca_data=_data(cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        # A token file wins over a token, as with kubectl: the token is but its first value.
        token=None if token_file else user.get("token"),
        token_file=token_file,
        username=user.get("username"),
        password=user.get("password"),
        cert_data=_inline(user, "client-certificate"),
        key_data=_inline(user, "client-key"),
        cert_file=_path(user, "client-certificate"),
        key_file=_path(user, "client-key"),
        exec_plugin=_plugin(plugin, user["_base"]) if plugin else None,
    )


def _plugin(plugin: Mapping[str, Any], base: Path) -> ExecPlugin:
    command = str(plugin["command"])
    if "/" in command and not Path(command).is_absolute():
        command = str(base / command)
    return ExecPlugin(
        command=command,
        args=tuple(map(str, plugin.get("args") or ())),
        env={str(e["name"]): str(e["value"]) for e in plugin.get("env") or ()},
        api_version=str(plugin.get("apiVersion") or "client.authentication.k8s.io/v1"),
        provide_cluster_info=bool(plugin.get("provideClusterInfo")),
        install_hint=str(plugin.get("installHint") or ""),
    )


def _path(entry: Mapping[str, Any], key: str) -> Path | None:
    return Path(entry["_base"]) / str(entry[key]) if entry.get(key) else None


def _inline(entry: Mapping[str, Any], key: str) -> bytes | None:
    return base64.b64decode(entry[f"{key}-data"]) if entry.get(f"{key}-data") else None


def _data(entry: Mapping[str, Any], key: str) -> bytes | None:
    """The PEM under `<key>-data`, else the content of the file under `<key>`."""
    if (data := _inline(entry, key)) is not None:
        return data
    path = _path(entry, key)
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend {key} in the kubeconfig") from error
