"""The host node's network: a loopback address per pod and per Service, names for them, and a proxy to the endpoints.

Programs on the host node share one network namespace, so each pod and each Service gets a loopback address of its own
in 127.B.0.0/16, where B is a number that no other host node on this machine has at the time. The API server refuses
loopback addresses in endpoints; there a pod shows up as 10.B.x.y and means 127.B.x.y.
"""

import asyncio
import contextlib
import fcntl
import functools
import itertools
import logging
import os
import random
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from ameide_dev.cnpg_objects import LOCAL_ADDRESS_ANNOTATION
from ameide_dev.informer import Key, key_of

log = logging.getLogger(__name__)

Object = dict[str, Any]
Target = tuple[str, int]  # (address, port)

_SUFFIXES = ("", ".svc", ".svc.cluster.local")


class NoAddressError(RuntimeError):
    """Every range of loopback addresses is taken by another host node, or this one's is used up."""


class Range:
    """The addresses 127.B.0.0/16 of one host node: the lower half for Services, the upper for pods."""

    def __init__(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"ameide-networks-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        # 10.0 to 10.79 hold the addresses of the simulated nodes' pods and of Services.
        for number in random.sample(range(96, 224), 128):
            handle = (folder / str(number)).open("w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.close()
                continue
            self._lock: IO[str] = handle
            self.number = number
            break
        else:
            raise NoAddressError("128 host nodes run on this machine already; stop some of them")
        self._services = _addresses(number, 0, 127)
        self._pods = _addresses(number, 128, 255)

    def service(self) -> str:
        """A fresh address for a Service."""
        return next(self._services)

    def pod(self) -> str:
        """A fresh address for a pod; addresses are not used again."""
        return next(self._pods)

    def release(self) -> None:
        """Let another host node have this range."""
        self._lock.close()


def _addresses(number: int, first: int, last: int) -> Iterator[str]:
    for third, fourth in itertools.product(range(first, last + 1), range(2, 255)):
        yield f"127.{number}.{third}.{fourth}"
    raise NoAddressError(f"no address is left in 127.{number}.{first}.0 to 127.{number}.{last}.255")


def advertised(address: str) -> str:
    """How a pod's loopback address is shown in its status: 127.a.b.c as 10.a.b.c."""
    return "10" + address.removeprefix("127")


def local(address: str) -> str:
    """The inverse of `advertised`."""
    return "127" + address.removeprefix("10")


class Network:
    """Names and proxies for all Services; fed with Services and EndpointSlices, and written out as hosts files."""

    def __init__(self, node: str, folder: Path) -> None:
        """`folder` gets one hosts file per namespace that asks for it."""
        self.range = Range()
        self._node = node
        self._folder = folder
        self._lock = threading.Lock()
        self._services: dict[Key, Object] = {}
        self._slices: dict[Key, Object] = {}
        self._addresses: dict[Key, str] = {}
        self._namespaces: set[str] = set()
        self._servers: dict[Target, asyncio.Server] = {}
        self._backends: dict[Target, list[Target]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostnode-network", daemon=True)

    def start(self) -> None:
        """Start the proxy's thread."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all proxies and free the address range."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._loop.close()
        self.range.release()

    def service_changed(self, event: str, service: Object) -> None:
        """Take in a Service event."""
        key = key_of(service)
        with self._lock:
            if event == "DELETED":
                self._services.pop(key, None)
            else:
                self._services[key] = service
                if key not in self._addresses:
                    self._addresses[key] = self.range.service()
            self._write_hosts()
        self._schedule(key)

    def endpoints_changed(self, event: str, endpoints: Object) -> None:
        """Take in an EndpointSlice event."""
        with self._lock:
            if event == "DELETED":
                self._slices.pop(key_of(endpoints), None)
            else:
                self._slices[key_of(endpoints)] = endpoints
        if service := endpoints["metadata"].get("labels", {}).get("kubernetes.io/service-name"):
            self._schedule((key_of(endpoints)[0], service))

    def resolve(self, namespace: str, host: str) -> str | None:
        """The address that a Service's name stands for, as seen from `namespace`; None for any other name."""
        with self._lock:
            return self._names(namespace).get(host)

    def listens(self, address: str, port: int) -> bool:
        """Whether the proxy of a Service listens, which it does while there is a ready endpoint."""
        return (address, port) in self._servers

    def hosts_file(self, namespace: str) -> Path:
        """The hosts file for pods of `namespace`; it follows later changes of Services."""
        with self._lock:
            if namespace not in self._namespaces:
                self._namespaces.add(namespace)
                self._write_hosts()
        return self._folder / namespace

    def _names(self, namespace: str) -> dict[str, str]:
        names = {
            f"{name}.{space}{suffix}": self._addresses[space, name]
            for space, name in self._services
            for suffix in _SUFFIXES
        }
        return names | {name: self._addresses[space, name] for space, name in self._services if space == namespace}

    def _write_hosts(self) -> None:
        for namespace in self._namespaces:
            lines = [f"{address} {name}\n" for name, address in sorted(self._names(namespace).items())]
            draft = self._folder / f".{namespace}.new"
            draft.write_text("127.0.0.1 localhost\n" + "".join(lines))
            draft.replace(self._folder / namespace)

    def _schedule(self, service: Key) -> None:
        if self._loop.is_closed():
            return  # an event that came while the node was stopping

        def report(done: Future[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("the proxy of Service %s/%s was not adjusted", *service, exc_info=error)

        asyncio.run_coroutine_threadsafe(self._adjust(service), self._loop).add_done_callback(report)

    async def _adjust(self, key: Key) -> None:
        with self._lock:
            wanted = self._wanted(key)
            address = self._addresses.get(key)
        for place in [place for place in self._servers if place[0] == address and place not in wanted]:
            self._servers.pop(place).close()
            self._backends.pop(place, None)
        for place, backends in wanted.items():
            self._backends[place] = backends
            if place in self._servers:
                continue
            try:
                server = await asyncio.start_server(functools.partial(self._serve, place), *place)
            except OSError as error:
                # Ports below 1024 need a privilege; everything else about the Service still works.
                log.warning("Service %s/%s is not reachable at port %d: %s", *key, place[1], error)
                continue
            if place in self._servers:
                server.close()  # another event was quicker
            else:
                self._servers[place] = server

    def _wanted(self, key: Key) -> dict[Target, list[Target]]:
        """Where to listen for a Service and where to connect to; a port without ready endpoints refuses connections."""
        service = self._services.get(key)
        if service is None or service["spec"].get("type") == "ExternalName":
            return {}
        wanted: dict[Target, list[Target]] = {}
        for port in service["spec"].get("ports", []):
            backends = self._ready_backends(key, port.get("name", ""))
            if backends and port.get("protocol", "TCP") == "TCP":
                wanted[self._addresses[key], port["port"]] = backends
        return wanted

    def _ready_backends(self, service: Key, port_name: str) -> list[Target]:
        found: list[Target] = []
        for (namespace, _), item in self._slices.items():
            metadata = item["metadata"]
            if namespace != service[0] or metadata.get("labels", {}).get("kubernetes.io/service-name") != service[1]:
                continue
            fixed = metadata.get("annotations", {}).get(LOCAL_ADDRESS_ANNOTATION)
            ports = [each["port"] for each in item.get("ports") or [] if each.get("name", "") == port_name]
            for endpoint in item.get("endpoints") or []:
                ours = fixed or (local(endpoint["addresses"][0]) if endpoint.get("nodeName") == self._node else None)
                if ours and endpoint.get("conditions", {}).get("ready", True):
                    found += [(ours, port) for port in ports]
        return found

    async def _serve(self, place: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backends = self._backends.get(place, [])
        random.shuffle(backends := list(backends))
        try:
            for backend in backends:
                try:
                    to_reader, to_writer = await asyncio.open_connection(*backend)
                except OSError:
                    continue
                await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
                return
        finally:
            writer.close()

    async def _close(self) -> None:
        for server in self._servers.values():
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            writer.close()
