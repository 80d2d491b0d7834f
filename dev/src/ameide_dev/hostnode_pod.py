"""One pod on the host node: a thread that brings its containers up, keeps them so, reports, and takes them down."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ameide_dev import hostnode_network as network
from ameide_dev import hostnode_status, images
from ameide_dev.hostnode_api import PodApi
from ameide_dev.hostnode_container import Backoff, Container, timestamp
from ameide_dev.hostnode_env import NotResolvedError, command_line, resolve
from ameide_dev.hostnode_probes import Surroundings
from ameide_dev.hostnode_volumes import Volumes
from ameide_dev.images import Image, ImageTable
from ameide_dev.transport import ApiError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]

HOST_IP = "127.0.0.1"
_PYTHON_STARTUP = images.IMAGES / "python"


@dataclass(frozen=True, slots=True)
class Node:
    """What all pods of a node share. `refresh_seconds`: how often volumes are looked at for changes."""

    images: ImageTable
    network: network.Network
    api: PodApi
    backoff: Backoff
    refresh_seconds: float


class Pod:
    """Runs one pod from its binding to its end. `update` and `vanish` are called by the node."""

    def __init__(self, node: Node, pod: Object, folder: Path) -> None:
        self.folder = folder
        self._node = node
        self._pod = pod
        self._wake = threading.Event()
        self._vanished = False
        self._address = node.network.range.pod()
        self._namespace: str = pod["metadata"]["namespace"]
        self._written: Object = {}
        self._began = timestamp()
        self._began_at = time.monotonic()
        self._refreshed = 0.0
        self._volumes_ready = False
        self._failure: Object = {}
        spec, policy = pod["spec"], pod["spec"].get("restartPolicy", "Always")
        self._sidecars: set[str] = {
            each["name"] for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"
        }
        init_policy = "Never" if policy == "Never" else "OnFailure"
        self._inits = [
            self._container(each, "Always" if each["name"] in self._sidecars else init_policy)
            for each in spec.get("initContainers", [])
        ]
        self._mains = [self._container(each, policy) for each in spec["containers"]]
        shown = network.advertised(self._address)
        addresses = {
            "status.podIP": self._address,
            "status.podIPs": self._address,
            "status.hostIP": HOST_IP,
            "status.hostIPs": HOST_IP,
        }
        self._addresses = addresses
        self._ips = {"podIP": shown, "podIPs": [{"ip": shown}], "hostIP": HOST_IP, "hostIPs": [{"ip": HOST_IP}]}
        self._volumes = Volumes(
            pod,
            folder / "volumes",
            addresses,
            node.api.lookup(self._namespace),
            lambda audience, seconds: node.api.token(self._pod, audience, seconds),
        )
        self._thread = threading.Thread(target=self._run, name=f"pod-{pod['metadata']['name']}", daemon=True)

    def _container(self, spec: Mapping[str, Any], policy: str) -> Container:
        return Container(spec, self.folder / "containers" / spec["name"], policy, self._node.backoff, self._wake.set)

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self._pod["metadata"]["uid"])

    @property
    def address(self) -> str:
        """The loopback address that its containers bind."""
        return self._address

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def update(self, pod: Object) -> None:
        """Take in a newer version of the object, for example one that is being deleted."""
        self._pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._wake.set()

    def vanish(self) -> None:
        """The object is gone, or the node stops: kill everything without a word."""
        self._vanished = True
        self._wake.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def container(self, name: str) -> Container | None:
        """One of its containers, for its log."""
        return next((each for each in (*self._inits, *self._mains) if each.name == name), None)

    def _run(self) -> None:
        delay: float | None = 0.0
        while True:
            self._wake.wait(delay)
            self._wake.clear()
            try:
                if self._vanished:
                    break
                if self._pod["metadata"].get("deletionTimestamp"):
                    self._terminate()
                    break
                delay = self._step()
            except (ApiError, UnavailableError) as error:
                log.debug("pod %s: %s", self._pod["metadata"]["name"], error)
                delay = 0.5
            except Exception:
                log.exception("pod %s", self._pod["metadata"]["name"])
                delay = 1.0
        for container in (*self._mains, *self._inits):
            container.stop(0.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    # One round: what has ended, what can start, what is due for a probe.

    def _step(self) -> float | None:
        """Do what can be done now; return the seconds until there may be more, None to wait for news only."""
        now = time.monotonic()
        if not self._prepare_volumes(now):
            self._report()
            return 1.0
        for container in (*self._inits, *self._mains):
            container.reap()
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        if deadline and now - self._began_at > deadline and not self._failure:
            self._failure = {
                "reason": "DeadlineExceeded",
                "message": "Pod was active on the node longer than the specified deadline",
            }
        if self._failure or all(each.finished for each in self._mains) or self._init_failed():
            self._wind_down()
            self._report()
            return None
        due: list[float] = [self._refreshed + self._node.refresh_seconds] if self._volumes.changing else []
        if deadline:
            due.append(self._began_at + deadline + 0.1)
        for container in self._runnable():
            if (at := container.startable_at) is not None and at <= now:
                self._start(container)
            if (at := container.startable_at) is not None:
                due.append(at)
            for failure in container.probe():
                self._node.api.event(self._pod, "Unhealthy", failure)
            if (at := container.next_probe()) is not None:
                due.append(at)
        self._report()
        return max(min(due) - time.monotonic(), 0.01) if due else None

    def _prepare_volumes(self, now: float) -> bool:
        if self._volumes_ready and (not self._volumes.changing or now < self._refreshed + self._node.refresh_seconds):
            return True
        try:
            self._volumes.write()
        except NotResolvedError as error:
            if not self._volumes_ready:
                for container in (*self._inits, *self._mains):
                    container.wait_for("ContainerCreating")
                self._node.api.event(self._pod, "FailedMount", f"MountVolume.SetUp failed: {error}")
                return False
        self._refreshed = now
        self._volumes_ready = True
        return True

    def _runnable(self) -> list[Container]:
        """Init containers up to the first that is not through; then also the others."""
        runnable: list[Container] = []
        for init in self._inits:
            sidecar = init.name in self._sidecars
            if not init.finished:
                runnable.append(init)
            if not (init.started if sidecar else init.succeeded):
                return runnable
        return [*runnable, *self._mains]

    def _init_failed(self) -> bool:
        return any(init.finished and not init.succeeded for init in self._inits if init.name not in self._sidecars)

    def _wind_down(self) -> None:
        grace = time.monotonic() + float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
        for container in (*self._mains, *self._inits):
            container.stop(grace)
            container.give_up()

    def _start(self, container: Container) -> None:
        image = self._node.images.find(container.spec["image"])
        if image is None:
            reason = "ImagePullBackOff" if container.status("")["state"].get("waiting", {}).get("reason") in (
                "ErrImagePull",
                "ImagePullBackOff",
            ) else "ErrImagePull"  # fmt: skip
            container.wait_for(reason, f'Back-off pulling image "{container.spec["image"]}": not found')
            return
        try:
            variables = resolve(self._pod, container.spec, self._addresses, self._node.api.lookup(self._namespace))
        except NotResolvedError as error:
            container.wait_for("CreateContainerConfigError", str(error))
            return
        self._volumes.mount(container.spec, container.root, image.files)
        env = self._environment(container, image, variables)
        # The image's own parts are paths on this machine already, maybe below what the pod mounts (/tmp, say).
        own = {*image.entrypoint, *image.arguments}
        command = [
            part if part in own else container.with_real_paths(part)
            for part in command_line(container.spec, image.entrypoint, image.arguments, variables)
        ]
        container.start(command, env, self._surroundings(container, env))

    def _surroundings(self, container: Container, env: Mapping[str, str]) -> Surroundings:
        directory = container.root
        if wanted := container.spec.get("workingDir"):
            directory = container.root / wanted.strip("/")
            directory.mkdir(parents=True, exist_ok=True)
        ports = {each["name"]: each["containerPort"] for each in container.spec.get("ports", []) if "name" in each}
        return Surroundings(self._address, ports, env, directory)

    def _environment(self, container: Container, image: Image, variables: Mapping[str, str]) -> dict[str, str]:
        """What the process sees: nothing of the platform's own environment but PATH, and the host node's hints."""
        path = [str(folder) for folder in image.path]
        host, port = self._node.api.api_address()
        env = {
            "PATH": os.pathsep.join([*path, os.environ.get("PATH", os.defpath)]),
            "HOME": str(container.root),
            "TMPDIR": str(_made(container.root / "tmp")),
            "LANG": "C.UTF-8",
            "HOSTNAME": self._pod["metadata"]["name"],
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **image.env,
            **{name: container.with_real_paths(value) for name, value in variables.items()},
            "AMEIDE_HOST_ROOT": str(container.root),
            "AMEIDE_TERMINATION_LOG": str(container.termination_log),
            "AMEIDE_HOSTS_FILE": str(self._node.network.hosts_file(self._namespace)),
            "AMEIDE_BIND_ADDRESS": self._address,
        }
        env["PYTHONPATH"] = os.pathsep.join([str(_PYTHON_STARTUP), *filter(None, [env.get("PYTHONPATH")])])
        if image.kubeconfig:
            env["KUBECONFIG"] = str(self._node.api.kubeconfig(self._pod, _made(self.folder / "kube")))
        else:
            env |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        # libpq resolves names itself, past any file of ours; it takes the address from here and the name for TLS.
        if address := self._node.network.resolve(self._namespace, variables.get("PGHOST", "")):
            env.setdefault("PGHOSTADDR", address)
        return env

    # Status and the end.

    def _statuses(self, containers: list[Container]) -> list[Object]:
        statuses = []
        for container in containers:
            status = container.status(images.digest(container.spec["image"]))
            if container in self._inits and container.name not in self._sidecars:
                status |= {"ready": container.succeeded, "started": container.running}
            statuses.append(status)
        return statuses

    def _report(self) -> None:
        mains, inits = self._statuses(self._mains), self._statuses(self._inits)
        work = [status for status in inits if status["name"] not in self._sidecars]
        current = "Failed" if self._failure else hostnode_status.phase(self._pod, work, mains)
        initialized = not self._inits or all(
            init.started if init.name in self._sidecars else init.succeeded for init in self._inits
        )
        if work and not all(init["ready"] for init in work):
            for main in mains:
                if "waiting" in main["state"]:
                    main["state"] = {"waiting": {"reason": "PodInitializing"}}
        relevant = [*mains, *(status for status in inits if status["name"] in self._sidecars)]
        status: Object = {
            **self._failure,
            "phase": current,
            "startTime": self._began,
            **self._ips,
            "conditions": hostnode_status.conditions(self._pod, current, initialized, relevant, timestamp()),
            "containerStatuses": mains,
        }
        if inits:
            status["initContainerStatuses"] = inits
        if status != self._written:
            self._node.api.write_status(self._pod, status)
            # Kept in the copy too: times of conditions are carried over from there.
            self._pod = {**self._pod, "status": {**self._pod.get("status", {}), **status}}
            self._written = status

    def _terminate(self) -> None:
        metadata = self._pod["metadata"]
        grace = float(metadata.get("deletionGracePeriodSeconds", 30))
        deadline = time.monotonic() + grace
        workers = [threading.Thread(target=each.stop, args=(deadline,)) for each in self._mains]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for init in reversed(self._inits):
            init.stop(deadline)
        for container in (*self._mains, *self._inits):
            container.give_up()
        while not self._vanished:
            try:
                self._report()
                self._node.api.finish(self._pod)
            except NotFoundError:
                return
            except (ApiError, UnavailableError) as error:
                log.debug("pod %s: %s", metadata["name"], error)
                time.sleep(0.5)
            else:
                return


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
