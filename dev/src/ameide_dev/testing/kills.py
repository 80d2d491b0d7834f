"""An operator killed at every write of something that it does, and started again: the end is the same as without.

Each point can be tried twice: killed before the API server saw the write, and before the operator saw the answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import ApiProxy, Call
from ameide_dev.testing.subject import Subject, namespaces
from ameide_dev.testing.waiting import until

Chains = dict[bool, Future[int]]
"""By whether the operator is killed after the write: how many writes there were to be killed at."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What an operator does in a namespace: how it begins, whether it has ended, and what must be so then.

    `prepare` is what must have been before; `check` is also given in words where the operator was killed.
    """

    begin: Callable[[str], None]
    ended: Callable[[str], bool]
    check: Callable[[str, str], None]
    prepare: Callable[[str], None] = field(default=lambda namespace: None)
    timeout: float = 60.0


@contextmanager
def chains(
    subject: Subject, chart: Platform, kube: KubeClient, directory: Path, deed: Deed, **settings: str
) -> Iterator[Chains]:
    """Both chains of kills, which run beside each other; `settings` are the operator's."""
    with ThreadPoolExecutor(2) as pool:

        def start(done: bool) -> Future[int]:
            own = directory / str(done)
            own.mkdir()
            return pool.submit(_chain, subject, chart, kube, own, deed, done, settings)

        yield {done: start(done) for done in (False, True)}


def _chain(
    subject: Subject,
    chart: Platform,
    kube: KubeClient,
    directory: Path,
    deed: Deed,
    done: bool,
    settings: dict[str, str],
) -> int:
    """One namespace after the other, the operator killed one write later each time, until there is none left."""
    prefix = f"own-kill-{'after' if done else 'before'}"
    with ApiProxy(chart.control_plane) as proxy:
        kubeconfig = proxy.kubeconfig(subject.operator, directory)
        with subject.process(chart, directory, f"{prefix}-*", kubeconfig=kubeconfig, **settings) as operator:
            number = 1
            while True:
                with namespaces(kube, f"{prefix}-{number}") as (namespace,):
                    if not _survives(operator, proxy, deed, namespace, number, done):
                        return number - 1
                number += 1


def _survives(operator: OperatorProcess, proxy: ApiProxy, deed: Deed, namespace: str, number: int, done: bool) -> bool:
    """Kill at this write and check the end; False if there was no such write."""
    deed.prepare(namespace)
    stop = proxy.stop_at(number, functools.partial(_counts, namespace), done=done)
    deed.begin(namespace)
    where = f"{'after' if done else 'before'} write {number}"
    until(f"{where}, or the end", lambda: stop.reached.is_set() or deed.ended(namespace), deed.timeout)
    if not stop.reached.wait(1.0):
        proxy.resume()
        return False
    operator.kill()
    proxy.resume()
    operator.start(wait=False)
    until(f"the end, killed {where}", lambda: deed.ended(namespace), deed.timeout)
    deed.check(namespace, where)
    return True


def _counts(namespace: str, call: Call) -> bool:
    return call.writes and call.concerns(namespace)
