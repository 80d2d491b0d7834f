"""Loaded by every Python program on the host node: cluster names resolve, and wildcard binds stay within the pod.

Pods share the machine's network there. Names come from the file $AMEIDE_HOSTS_FILE, read anew at each look-up as it
follows the cluster's Services; a server that binds all addresses gets the pod's own, $AMEIDE_BIND_ADDRESS, so that two
pods can serve the same port.
"""

import os
import socket
from typing import Any

_HOSTS = os.environ.get("AMEIDE_HOSTS_FILE", "")
_ADDRESS = os.environ.get("AMEIDE_BIND_ADDRESS", "")
_WILDCARDS = {None, "", "0.0.0.0", "::"}  # noqa: S104 (these are what is being replaced)

_getaddrinfo = socket.getaddrinfo
_bind = socket.socket.bind


def _look_up(name: Any) -> Any:
    text = name.decode() if isinstance(name, bytes) else str(name)
    try:
        with open(_HOSTS, encoding="utf-8") as file:
            for line in file:
                address, *names = line.split()
                if text.rstrip(".") in names:
                    return address
    except OSError:
        pass
    return name


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
    """As socket.getaddrinfo."""
    if host in _WILDCARDS and flags & socket.AI_PASSIVE and _ADDRESS:
        host, family = _ADDRESS, socket.AF_INET
    elif host:
        host = _look_up(host)
    return _getaddrinfo(host, port, family, type, proto, flags)


def bind(self: socket.socket, address: Any) -> None:
    """As socket.socket.bind."""
    if self.family == socket.AF_INET and address[0] in _WILDCARDS and address[1] != 0:
        address = (_ADDRESS, address[1])
    _bind(self, address)


if _HOSTS:
    socket.getaddrinfo = getaddrinfo
if _ADDRESS:
    socket.socket.bind = bind  # type: ignore[assignment, method-assign] # replacing it is the purpose of this file
