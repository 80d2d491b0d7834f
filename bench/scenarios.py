"""What operators are put through, one function for each scenario, each on the state that the one before left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ameide_dev.client import NotFoundError
from bench.observe import Requests, load
from bench.subject import IMAGE, NAMESPACE, Subject

CREATORS = 8  # threads that create or change Domains at once


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes: Domains, repairs, Domains one at a time, seconds at rest; `timeout` in seconds for each wait."""

    size: int = 100
    drifts: int = 20
    singles: int = 20
    rest: float = 60.0
    timeout: float = 600.0


@dataclass(slots=True)
class Result:
    """One scenario: `objects` it was about, seconds until all was done, latencies of each, and what it took."""

    scenario: str
    objects: int
    wall: float = 0.0
    latencies: list[float] = field(default_factory=list)
    requests: Requests = field(default_factory=Requests)
    cpu: float = 0.0
    peak_rss: int = 0
    missing: int = 0  # objects that were not there in time
    unready: int = 0  # Domains not Ready once all was quiet
    others: float = 0.0  # share of the machine's processors that strangers used meanwhile
    control_plane: dict[str, float] = field(default_factory=dict)  # processor seconds of each of its processes

    def percentile(self, share: float) -> float | None:
        """A latency in seconds; None without any."""
        if not self.latencies:
            return None
        return (
            statistics.quantiles(self.latencies, n=100, method="inclusive")[round(share * 100) - 1]
            if len(self.latencies) > 1
            else self.latencies[0]
        )


@contextmanager
def measured(subject: Subject, scenario: str, objects: int, *, settle: bool = True) -> Iterator[Result]:
    """Count requests, processor time and memory from here until the operator is quiet again."""
    result = Result(scenario, objects)
    subject.ledger.mark()
    subject.meter.reset_peak()
    cpu, beside, before, began = subject.cpu, subject.control_plane_cpu, load(), time.monotonic()
    yield result
    after = load()
    strangers = (after.busy - before.busy) - (after.own - before.own)
    result.others = max(0.0, strangers / max(after.total - before.total, 1e-9))
    result.wall = result.wall or time.monotonic() - began
    if settle:
        subject.ledger.settle()
    result.cpu = subject.cpu - cpu
    result.peak_rss = subject.meter.peak_rss
    result.requests = subject.ledger.read()
    result.unready = len(subject.watcher.unready())
    result.control_plane = {name: used - beside[name] for name, used in subject.control_plane_cpu.items()}


def names(plan: Plan) -> list[str]:
    return [f"d{number:04d}" for number in range(plan.size)]


def single(subject: Subject, plan: Plan) -> Result:
    """Domains one at a time, each created, awaited and deleted: what one person waits for."""
    with measured(subject, "single", plan.singles) as result:
        for number in range(plan.singles):
            name = f"s{number:03d}"
            _create(subject, [name], result, plan.timeout)
            subject.client.delete("ameide.io/v1", "Domain", name, NAMESPACE)
            subject.watcher.wait_gone([name], plan.timeout)
    return result


def cold(subject: Subject, plan: Plan) -> Result:
    """All Domains at once, from nothing to Ready."""
    with measured(subject, "cold", plan.size) as result:
        result.wall = _create(subject, names(plan), result, plan.timeout)
    return result


def rest(subject: Subject, plan: Plan) -> Result:
    """Nothing happens: nothing should be asked."""
    with measured(subject, "rest", plan.size, settle=False) as result:
        time.sleep(plan.rest)
    return result


def fanout(subject: Subject, plan: Plan) -> Result:
    """A new image on every Domain at once."""
    with measured(subject, "fanout", plan.size) as result:
        result.wall = _change(subject, names(plan), "1.1.0", result, plan.timeout)
    return result


def drift(subject: Subject, plan: Plan) -> Result:
    """Children deleted and edited by somebody else: each is to come back as it was."""
    chosen = names(plan)[: plan.drifts]
    with measured(subject, "drift", len(chosen)) as result:
        repairs = [
            _damage_deployment(subject, name) if number % 2 else _delete_service(subject, name)
            for number, name in enumerate(chosen)
        ]
        began = time.monotonic()
        waiting = list(repairs)
        while waiting and time.monotonic() - began < plan.timeout:
            for repaired in list(waiting):
                if repaired():
                    waiting.remove(repaired)
                    result.latencies.append(time.monotonic() - began)
            time.sleep(0.02)
        result.wall, result.missing = time.monotonic() - began, len(waiting)
    return result


def restart(subject: Subject, plan: Plan) -> Result:
    """A stop and a start with everything in place: nothing should be written."""
    with measured(subject, "restart", plan.size) as result:
        began = time.monotonic()
        subject.stop()
        result.latencies.append(time.monotonic() - began)  # the time it takes to stop
        subject.start()
        # Its first watches say that it is back; then it may finish.
        while not subject.ledger.read().watches and time.monotonic() - began < plan.timeout:
            time.sleep(0.1)
    return result


def recovery(subject: Subject, plan: Plan) -> Result:
    """A stop, a change to one Domain meanwhile, a start: how long until the change is carried out."""
    name = names(plan)[0]
    with measured(subject, "recovery", 1) as result:
        subject.stop()
        generation = _set_image(subject, name, "1.2.0")
        began = time.monotonic()
        subject.start()
        moments = subject.wait_ready({name: generation}, plan.timeout)
        result.latencies = [moment - began for moment in moments.values()]
        result.missing = 1 - len(moments)
    return result


def delete(subject: Subject, plan: Plan) -> Result:
    """All Domains deleted at once, until they are gone."""
    with measured(subject, "delete", plan.size) as result:
        with ThreadPoolExecutor(CREATORS) as pool:
            for name in names(plan):
                pool.submit(subject.client.delete, "ameide.io/v1", "Domain", name, NAMESPACE)
        subject.watcher.wait_gone(names(plan), plan.timeout)
        result.missing = len(set(names(plan)) & set(subject.watcher.domains))
    return result


ALL: dict[str, Callable[[Subject, Plan], Result]] = {
    "single": single,
    "cold": cold,
    "rest": rest,
    "fanout": fanout,
    "drift": drift,
    "restart": restart,
    "recovery": recovery,
    "delete": delete,
}


def _create(subject: Subject, wanted: Sequence[str], result: Result, timeout: float) -> float:
    """Create Domains and wait for them; seconds from the first request to the last Ready."""

    def create(name: str) -> tuple[str, int, float]:
        made = subject.client.create(subject.domain(name))
        return name, made["metadata"]["generation"], time.monotonic()

    return _carry_out(subject, wanted, create, result, timeout)


def _change(subject: Subject, wanted: Sequence[str], tag: str, result: Result, timeout: float) -> float:
    def change(name: str) -> tuple[str, int, float]:
        return name, _set_image(subject, name, tag), time.monotonic()

    return _carry_out(subject, wanted, change, result, timeout)


def _carry_out(
    subject: Subject,
    wanted: Sequence[str],
    act: Callable[[str], tuple[str, int, float]],
    result: Result,
    timeout: float,
) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(CREATORS) as pool:
        acted = list(pool.map(act, wanted))
    moments = subject.wait_ready({name: generation for name, generation, _ in acted}, timeout)
    # Ready may be seen before the answer to the request that caused it.
    result.latencies += [max(0.0, moments[name] - at) for name, _, at in acted if name in moments]
    result.missing += len(acted) - len(moments)
    return max(moments.values(), default=time.monotonic()) - began


def _set_image(subject: Subject, name: str, tag: str) -> int:
    """Change the image of a Domain; the generation that results."""
    patch = {"spec": {"image": f"{IMAGE}:{tag}"}}
    changed = subject.client.merge_patch("ameide.io/v1", "Domain", name, patch, NAMESPACE)
    generation: int = changed["metadata"]["generation"]
    return generation


def _child(subject: Subject, api_version: str, kind: str, name: str) -> str:
    """The name of a Domain's child, by its ownerReference. Raises NotFoundError."""
    for child in subject.client.list(api_version, kind, NAMESPACE):
        if any(owner["name"] == name for owner in child["metadata"].get("ownerReferences", [])):
            found: str = child["metadata"]["name"]
            return found
    raise NotFoundError("LIST", kind, 404, "NotFound", f"Domain {name} has no {kind}")


def _delete_service(subject: Subject, name: str) -> Callable[[], bool]:
    child = _child(subject, "v1", "Service", name)
    before = subject.client.get("v1", "Service", child, NAMESPACE)["metadata"]["uid"]
    subject.client.delete("v1", "Service", child, NAMESPACE)

    def back() -> bool:
        found = subject.client.find("v1", "Service", child, NAMESPACE)
        return found is not None and bool(found["metadata"]["uid"] != before)

    return back


def _damage_deployment(subject: Subject, name: str) -> Callable[[], bool]:
    child = _child(subject, "apps/v1", "Deployment", name)
    containers = subject.client.get("apps/v1", "Deployment", child, NAMESPACE)["spec"]["template"]["spec"]["containers"]
    image, path = containers[0]["image"], "/spec/template/spec/containers/0/image"
    patch = [{"op": "replace", "path": path, "value": "example.org/damage:1"}]
    subject.client.json_patch("apps/v1", "Deployment", child, patch, NAMESPACE)

    def repaired() -> bool:
        found = subject.client.get("apps/v1", "Deployment", child, NAMESPACE)
        return bool(found["spec"]["template"]["spec"]["containers"][0]["image"] == image)

    return repaired
