"""A stand-in for Envoy Gateway 1.9: the statuses, reasons and refusals of the real controller.

It forwards no requests; `gateway_proxy` does that for what it has accepted. It follows GatewayClasses of its own
controller name, Gateways, HTTPRoutes, ReferenceGrants, SecurityPolicies, and what they refer to; and it gives Ingresses
the address that an ingress controller would. Faults are ordered by `refuse`.

    with GatewayStandIn(client) as stand_in:
        stand_in.make_gateway("edge", "web", hostname="*.example.com", allowed="All")
        stand_in.refuse("HTTPRoute", "t123", "shop", "Accepted", "UnsupportedValue", "no such filter")
"""

from __future__ import annotations

import fnmatch
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from ameide_dev import gateway_rules as rules
from ameide_dev.client import KubeClient
from ameide_dev.cnpg_objects import merge_condition
from ameide_dev.cnpg_store import now
from ameide_dev.informer import Informer, Key, WorkQueue, key_of
from ameide_dev.transport import ApiError, ConflictError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]

API: Final = f"{rules.GROUP}/v1"
POLICY_API: Final = f"{rules.POLICY_GROUP}/v1alpha1"
CLASS_NAME: Final = "envoy"
ADDRESS: Final = "192.0.2.10"
"""The address that Gateways and Ingresses show; it is reserved for documentation."""
_KINDS: Final[Mapping[str, str]] = {
    "GatewayClass": API,
    "Gateway": API,
    "HTTPRoute": API,
    "ReferenceGrant": API,
    "SecurityPolicy": POLICY_API,
    "Ingress": "networking.k8s.io/v1",
    "Service": "v1",
    "Namespace": "v1",
}
_WORKED_ON: Final = ("GatewayClass", "Gateway", "HTTPRoute", "SecurityPolicy", "Ingress")
_GATHER_SECONDS: Final = 0.02
_SYNC_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    condition: str
    reason: str
    message: str


@dataclass(slots=True)
class _Faults:
    paused: bool = False
    delay_seconds: float = 0.0
    addresses: tuple[str, ...] = (ADDRESS,)
    refused: dict[tuple[str, str, str], _Refusal] = field(default_factory=dict)

    def refusal(self, kind: str, key: Key) -> _Refusal | None:
        for (of, namespace, name), refusal in list(self.refused.items()):
            if of == kind and fnmatch.fnmatchcase(key[0], namespace) and fnmatch.fnmatchcase(key[1], name):
                return refusal
        return None


class GatewayStandIn:
    """The controller. Like the real one, it judges everything anew when anything that it follows changes."""

    def __init__(self, client: KubeClient, *, retry_seconds: float = 0.5) -> None:
        """`retry_seconds`: how soon a failed write is tried, and a missing Secret looked for, again."""
        self._client = client
        self._retry = retry_seconds
        self._faults = _Faults()
        self._queue: WorkQueue[str] = WorkQueue()
        self._informers = {
            kind: Informer(client, version, kind, lambda _event, _item: self._changed())
            for kind, version in _KINDS.items()
        }
        self._thread = threading.Thread(target=self._work, name="gateway", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start following and working; returns at once."""
        for informer in self._informers.values():
            informer.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop working; what was written stays."""
        for informer in self._informers.values():
            informer.stop()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # --- what tests and the demo reach for --------------------------------------------------------------------------

    def make_gateway(
        self,
        namespace: str,
        name: str,
        *,
        hostname: str = "",
        allowed: str = "All",
        selector: Mapping[str, str] | None = None,
        listeners: Sequence[Object] | None = None,
    ) -> Object:
        """Apply a Gateway of this controller's class, and the class; the Gateway once it is programmed.

        One HTTP listener `http` at port 80 for `hostname` (all unless given), which takes routes from `allowed`
        namespaces (All, Same, or Selector with the labels `selector`); `listeners` takes its place.
        """
        self._client.apply(
            {
                "apiVersion": API,
                "kind": "GatewayClass",
                "metadata": {"name": CLASS_NAME},
                "spec": {"controllerName": rules.CONTROLLER},
            }
        )
        origin: Object = {"from": allowed} | ({"selector": {"matchLabels": dict(selector)}} if selector else {})
        listener: Object = {
            "name": "http",
            "port": 80,
            "protocol": "HTTP",
            "allowedRoutes": {"namespaces": origin},
        } | ({"hostname": hostname} if hostname else {})
        self._client.apply(
            {
                "apiVersion": API,
                "kind": "Gateway",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"gatewayClassName": CLASS_NAME, "listeners": list(listeners or [listener])},
            }
        )
        return self._client.wait_condition(API, "Gateway", name, "Programmed", namespace)

    def refuse(self, kind: str, namespace: str, name: str, condition: str, reason: str, message: str) -> None:
        """Have `condition` (Accepted, ResolvedRefs, Programmed) be False of the objects that are named.

        `kind`: HTTPRoute, SecurityPolicy or Gateway; or Ingress, which then gets no address. `namespace` and `name`
        may be patterns: `*` means all.
        """
        self._faults.refused[kind, namespace, name] = _Refusal(condition, reason, message)
        self._changed()

    def allow(self, kind: str, namespace: str, name: str) -> None:
        """Undo `refuse` with the same arguments."""
        self._faults.refused.pop((kind, namespace, name), None)
        self._changed()

    def set_addresses(self, *addresses: str) -> None:
        """The IP addresses of all Gateways and Ingresses; with none, Gateways are not programmed."""
        self._faults.addresses = addresses
        self._changed()

    def set_delay(self, seconds: float) -> None:
        """Look at every change only after `seconds`."""
        self._faults.delay_seconds = seconds

    def pause(self) -> None:
        """Do nothing at all until `resume`, as a controller that is down."""
        self._faults.paused = True

    def resume(self) -> None:
        """Undo `pause` and look at everything again."""
        self._faults.paused = False
        self._changed()

    def objects(self, kind: str) -> list[Object]:
        """What it knows of a kind that it follows, statuses included."""
        return self._informers[kind].items()

    # --- the controller ---------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        # Changes that come together are judged together.
        self._queue.add("all", after=max(self._faults.delay_seconds, _GATHER_SECONDS))

    def _work(self) -> None:
        for informer in self._informers.values():
            informer.wait_synced(_SYNC_SECONDS)  # a verdict on half the cluster would flicker
        while self._queue.get() is not None:
            if not self._faults.paused and not self._attempt():
                self._queue.add("all", after=self._retry)

    def _attempt(self) -> bool:
        """Judge everything; whether nothing is left to be looked at again."""
        try:
            world = self._world()
            for kind in _WORKED_ON:
                for item in self._informers[kind].items():
                    if "deletionTimestamp" not in item["metadata"]:
                        self._write(item, self._verdict(world, kind, item))
            wanted = rules.secrets_of(world.policies.values(), world.gateways.values())
            return wanted <= set(world.secrets)
        except ConflictError:
            return False
        except (ApiError, UnavailableError) as error:
            log.info("gateways: %s", error)
        except Exception:
            log.exception("gateways")
        return False

    def _world(self) -> rules.World:
        found = {kind: {key_of(item): item for item in self._informers[kind].items()} for kind in _KINDS}
        wanted = rules.secrets_of(found["SecurityPolicy"].values(), found["Gateway"].values())
        return rules.World(
            classes={name: item for (_, name), item in found["GatewayClass"].items()},
            gateways=found["Gateway"],
            routes=found["HTTPRoute"],
            policies=found["SecurityPolicy"],
            grants=list(found["ReferenceGrant"].values()),
            services=found["Service"],
            namespaces={name: item for (_, name), item in found["Namespace"].items()},
            secrets={key: keys for key in wanted if (keys := self._keys(key)) is not None},
        )

    def _keys(self, key: Key) -> frozenset[str] | None:
        """The keys of a Secret that have a value; None if there is no Secret."""
        secret = self._client.find("v1", "Secret", key[1], key[0])
        return (
            None if secret is None else frozenset(name for name, value in (secret.get("data") or {}).items() if value)
        )

    def _verdict(self, world: rules.World, kind: str, item: Object) -> Object:
        """The status that an object should have; empty for one that is not ours."""
        refusal = self._faults.refusal(kind, key_of(item))
        if kind == "GatewayClass":
            if item["spec"]["controllerName"] != rules.CONTROLLER:
                return {}
            generation = item["metadata"]["generation"]
            return {"conditions": [rules.condition("Accepted", True, "Accepted", "Valid GatewayClass", generation)]}
        if kind == "Gateway":
            if not world.managed(item):
                return {}
            status = rules.gateway_status(world, item, self._faults.addresses)
            return {**status, "conditions": _refused(item, status["conditions"], refusal)}
        if kind == "HTTPRoute":
            return {"parents": _refused_each(item, rules.route_parents(world, item), refusal)}
        if kind == "SecurityPolicy":
            return {"ancestors": _refused_each(item, rules.policy_ancestors(world, item), refusal)}
        addresses = () if refusal else self._faults.addresses
        return {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}

    def _write(self, item: Object, wanted: Object) -> None:
        """Bring the status to what is wanted, unless it is that; what other controllers wrote there stays."""
        present = item.get("status") or {}
        status = _with_times(_with_others(wanted, present), present, now())
        if all(_filled(present.get(name)) == _filled(value) for name, value in status.items()):
            return
        namespace, name = key_of(item)
        try:
            written = self._client.patch_status(_KINDS[item["kind"]], item["kind"], name, status, namespace or None)
        except NotFoundError:
            return
        self._informers[item["kind"]].put({**written, "apiVersion": item["apiVersion"], "kind": item["kind"]})


def _filled(value: Any) -> Any:
    """A value of a status without its empty members: the API server leaves some of those out."""
    if isinstance(value, dict):
        return {name: _filled(one) for name, one in value.items() if one not in ({}, [], None)} or None
    return value or None


def _refused(item: Object, conditions: Sequence[Object], refusal: _Refusal | None) -> list[Object]:
    """The conditions, with the one that is to be refused in place of what was found."""
    if refusal is None:
        return list(conditions)
    generation = item["metadata"]["generation"]
    ordered = rules.condition(refusal.condition, False, refusal.reason, refusal.message, generation)
    return [ordered, *(one for one in conditions if one["type"] != refusal.condition)]


def _refused_each(item: Object, entries: Sequence[Object], refusal: _Refusal | None) -> list[Object]:
    return [{**entry, "conditions": _refused(item, entry["conditions"], refusal)} for entry in entries]


def _with_others(wanted: Object, present: Mapping[str, Any]) -> Object:
    """The wanted status together with the entries that other controllers keep in its lists."""
    lists: Object = {
        name: [*wanted[name], *(one for one in present.get(name) or () if one["controllerName"] != rules.CONTROLLER)]
        for name in ("parents", "ancestors")
        if name in wanted
    }
    return {**wanted, **lists}


def _with_times(wanted: Any, present: Any, moment: str) -> Any:
    """The wanted status with a time on each condition: that of the condition it replaces, unless its status moved."""
    if isinstance(wanted, list):
        before = {_identity(one): one for one in present or () if isinstance(one, dict)}
        return [_with_times(one, before.get(_identity(one), {}), moment) for one in wanted]
    if not isinstance(wanted, dict):
        return wanted
    timed = {}
    for name, value in wanted.items():
        old = present.get(name) if isinstance(present, dict) else None
        if name == "conditions":
            known = old or []
            timed[name] = [_timed(one, known, moment) for one in value]
        elif isinstance(value, dict | list):
            timed[name] = _with_times(value, old, moment)
        else:
            timed[name] = value
    return timed


def _timed(condition: Object, known: list[Object], moment: str) -> Object:
    if "lastTransitionTime" in condition:
        return condition  # another controller's
    return next(one for one in merge_condition(known, condition, moment) if one["type"] == condition["type"])


def _identity(entry: Any) -> str:
    """What tells the entries of a status list apart."""
    if not isinstance(entry, dict):
        return str(entry)
    names = ("name", "parentRef", "ancestorRef", "controllerName")
    return json.dumps({name: entry[name] for name in names if name in entry}, sort_keys=True)
