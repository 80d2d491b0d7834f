"""CPU, memory and other resources of the application's container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.quantities import MemoryQuantity, Quantity, quantity_value
from ameide_shared.spec.rules import Check, every_key, rule

_NAMES: Final = every_key(
    r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|[a-z0-9]([-a-z0-9.]*[a-z0-9])?\.[a-z0-9]+/[-A-Za-z0-9_.]+",
    "has a key that is not a container resource",
    "use cpu, memory, ephemeral-storage, hugepages-<size>, or domain/name of an extended resource",
)
_WHOLE_BYTES: Final = Check(
    cel="!self.exists(key, key in ['memory', 'ephemeral-storage'] && string(self[key]).matches(r'[num]$'))",
    message="gives memory or ephemeral-storage in fractions of a byte (the suffix m means thousandths)",
    remedy="write bytes with a suffix such as Mi or Gi: 512Mi",
    holds=lambda amounts: (
        not any(amounts[key].endswith(("n", "u", "m")) for key in ("memory", "ephemeral-storage") if key in amounts)
    ),
)

ResourceAmounts = Annotated[Mapping[str, Quantity], Field(max_length=16), _NAMES, _WHOLE_BYTES]


class Resources(Model):
    """What the container may use: `cpu` and `memory` set request and limit alike, or `requests` and `limits` apart."""

    cpu: Quantity | None = Field(default=None, description="CPU cores, request and limit alike, as in 500m.")
    memory: MemoryQuantity | None = Field(
        default=None, description="Memory in bytes, request and limit alike, as in 512Mi."
    )
    requests: ResourceAmounts | None = Field(default=None, description="Amounts that the scheduler sets aside.")
    limits: ResourceAmounts | None = Field(
        default=None, description="Amounts that the container cannot exceed; also the request where none is given."
    )

    @property
    def effective_requests(self) -> dict[str, str]:
        """Requests by resource name, sorted; those that follow from limits are left to Kubernetes."""
        return self._flat or dict(sorted((self.requests or {}).items()))

    @property
    def effective_limits(self) -> dict[str, str]:
        """Limits by resource name, sorted."""
        return self._flat or dict(sorted((self.limits or {}).items()))

    @property
    def requests_cpu(self) -> bool:
        """Whether the container ends up with a CPU request, which a CPU autoscaler needs."""
        return "cpu" in self.effective_requests or "cpu" in self.effective_limits

    @property
    def _flat(self) -> dict[str, str]:
        pairs = (("cpu", self.cpu), ("memory", self.memory))
        return {name: amount for name, amount in pairs if amount is not None}


@rule(
    Resources,
    cel="!((has(self.cpu) || has(self.memory)) && (has(self.requests) || has(self.limits)))",
    message="resources mixes cpu or memory with requests or limits",
    remedy="write either {cpu, memory} or {requests, limits}",
)
def _one_form(resources: Resources) -> bool:
    flat = resources.cpu is not None or resources.memory is not None
    return not (flat and (resources.requests is not None or resources.limits is not None))


@rule(
    Resources,
    cel="!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits)"
    " || quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)",
    message="a request is greater than its limit",
    remedy="lower it under requests, or raise it under limits",
    field=".requests",
)
def _requests_within_limits(resources: Resources) -> bool:
    limits = resources.limits or {}
    return all(
        quantity_value(amount) <= quantity_value(limits[name])
        for name, amount in (resources.requests or {}).items()
        if name in limits
    )
