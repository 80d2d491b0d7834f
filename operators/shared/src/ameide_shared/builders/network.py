"""Network profiles: who may talk to pods and whom they may talk to, as data that settings can replace.

A NetworkPolicy knows no host names: a peer outside the cluster is a CIDR, or an egress gateway found by its labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

IPNetwork = IPv4Network | IPv6Network

METADATA_NETWORKS: Final[tuple[IPNetwork, ...]] = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: the metadata service of AWS, GCP, Azure, OpenStack and others
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's platform endpoint
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # GCP
    )
)
"""Addresses of cloud metadata services, which hand out credentials: excepted from every CIDR."""

PORT_NUMBERS: Final[Mapping[str, int]] = {"http": 8080, "grpc": 50051, "ui": 3000}
"""Ports that profiles may name. Numbers are written to the policy: not every CNI resolves names on egress."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class NetworkPort(_Data):
    """A port, or a range of ports up to `endPort`."""

    port: int = Field(ge=1, le=65535, description="Port number.")
    end_port: int | None = Field(None, ge=1, le=65535, description="Last port of a range.")
    protocol: Literal["TCP", "UDP", "SCTP"] = Field("TCP", description="Transport protocol.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`8080`, `http` and `5432/TCP` are short for the whole."""
        if isinstance(value, str):
            number, slash, protocol = value.partition("/")
            if number in PORT_NUMBERS:
                number = str(PORT_NUMBERS[number])
            return {"port": number, "protocol": protocol.upper()} if slash else {"port": number}
        return {"port": value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _ordered(self) -> NetworkPort:
        if self.end_port is not None and self.end_port < self.port:
            raise ValueError(f"endPort {self.end_port} is below port {self.port}; swap them")
        return self


class NetworkPeer(_Data):
    """One kind of peer: pods by tier or labels in some namespaces, or addresses by CIDR.

    `namespaces`: Same (the resource's own), Tenant (all of its tenant's, by the label `ameide.io/tenant-id`), Any.
    """

    tiers: tuple[str, ...] = Field((), description="Pods whose label ameide.io/tier is one of these.")
    pod_labels: dict[str, str] = Field(default_factory=dict, description="Pods with these labels.")
    namespaces: Literal["Same", "Tenant", "Any"] | None = Field(None, description="Where those pods are.")
    namespace_labels: dict[str, str] = Field(default_factory=dict, description="Namespaces with these labels.")
    namespace_names: tuple[str, ...] = Field((), description="Namespaces of these names.")
    cidr: str | None = Field(None, description="Addresses; cloud metadata services are always excepted.")

    @field_validator("cidr")
    @classmethod
    def _network(cls, value: str | None) -> str | None:
        return None if value is None else str(ip_network(value))

    @model_validator(mode="after")
    def _one_kind(self) -> NetworkPeer:
        by_labels = bool(self.namespace_labels or self.namespace_names)
        pods = bool(self.tiers or self.pod_labels or self.namespaces or by_labels)
        if pods == (self.cidr is not None):
            raise ValueError("a peer is either pods (tiers, podLabels, namespaces…) or a cidr; set one of them")
        if by_labels and self.namespaces is not None:
            raise ValueError("namespaces and namespaceLabels/namespaceNames exclude each other; keep one")
        return self

    @property
    def network(self) -> IPNetwork | None:
        """The CIDR as a network."""
        return None if self.cidr is None else ip_network(self.cidr)


class NetworkRule(_Data):
    """Traffic with any of `peers` on any of `ports`; no ports: the pods' own (ingress), or all of them (egress)."""

    peers: tuple[NetworkPeer, ...] = Field(min_length=1, description="With whom.")
    ports: tuple[NetworkPort, ...] = Field((), description="On which ports.")


class NetworkProfile(_Data):
    """A named answer to: who may talk to these pods, and whom may they talk to?"""

    description: str = Field("", description="What the profile is for.")
    ingress: tuple[NetworkRule, ...] = Field((), description="Who may connect, next to who scrapes metrics.")
    egress: tuple[NetworkRule, ...] = Field((), description="Whom the pods may connect to, next to DNS.")
    allow_internet: bool = Field(False, description="Permit CIDRs as wide as the internet, such as 0.0.0.0/0.")

    @model_validator(mode="after")
    def _guarded(self) -> NetworkProfile:
        for direction, rules in (("ingress", self.ingress), ("egress", self.egress)):
            for network in (peer.network for rule in rules for peer in rule.peers):
                if network is None:
                    continue
                if any(_within(network, metadata) for metadata in METADATA_NETWORKS):
                    raise ValueError(f"{direction}: {network} is a cloud metadata or link-local address; remove it")
                if is_internet(network) and not self.allow_internet:
                    raise ValueError(
                        f"{direction}: {network} is as wide as the internet; narrow it, or set allowInternet: true"
                    )
        return self

    def with_scraping(self) -> NetworkProfile:
        """The profile with a rule for who scrapes metrics; itself where these, or everybody, may connect already."""
        if any(rule == SCRAPING or (_EVERYBODY in rule.peers and not rule.ports) for rule in self.ingress):
            return self
        return self.model_copy(update={"ingress": (*self.ingress, SCRAPING)})

    @property
    def reaches_internet(self) -> bool:
        """Whether its egress takes in the internet."""
        networks = (peer.network for rule in self.egress for peer in rule.peers)
        return any(network is not None and is_internet(network) for network in networks)


@dataclass(frozen=True, slots=True)
class ProfileProblem:
    """Why a resource may not use a profile, and what to do."""

    message: str
    remedy: str


def profile_problem(name: str, profile: NetworkProfile, *, allow_internet: bool) -> ProfileProblem | None:
    """Why a spec may not use a profile, or None: the internet has to be asked for on both sides."""
    if not profile.reaches_internet or allow_internet:
        return None
    return ProfileProblem(
        f"spec.security.networkProfile: profile {name!r} lets pods reach the internet, which the spec does not ask for",
        "set spec.security.allowInternet: true, or use another profile",
    )


def is_internet(network: IPNetwork) -> bool:
    """Whether a CIDR takes in so much of the public address space that it means the internet.

    Wider than /8 (IPv4) or /16 (IPv6): so two halves of everything do not slip through where the whole would not.
    """
    return not network.is_private and network.prefixlen < (8 if network.version == 4 else 16)


def exceptions(network: IPNetwork) -> list[str]:
    """The metadata networks inside a CIDR, as the `except` of an ipBlock."""
    return [str(metadata) for metadata in METADATA_NETWORKS if metadata != network and _within(metadata, network)]


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _profile(**fields: Any) -> NetworkProfile:
    return NetworkProfile.model_validate(fields)


_METRICS: Final = {"peers": [{"namespaceLabels": {"ameide.io/network": "monitoring"}}]}
SCRAPING: Final = NetworkRule.model_validate(_METRICS)
"""Metrics can be scraped in any profile."""
_EVERYBODY: Final = NetworkPeer(namespaces="Any")
_TELEMETRY: Final = {
    "peers": [{"namespaceLabels": {"ameide.io/network": "monitoring"}}],
    "ports": [4317, 4318],
}
_GATEWAYS: Final = {"peers": [{"namespaceLabels": {"ameide.io/network": "gateway"}}]}
_CALLERS: Final = {"tiers": ["frontend", "backend", "agent"]}
_BACKENDS: Final = {"peers": [{"tiers": ["backend"], "namespaces": "Tenant"}], "ports": ["http", "grpc"]}

BUILT_IN_PROFILES: Final[Mapping[str, NetworkProfile]] = {
    "backend": _profile(
        description="Called by the tenant's primitives, calls the tenant's backends.",
        ingress=[{"peers": [{**_CALLERS, "namespaces": "Tenant"}]}, _METRICS],
        egress=[_BACKENDS, _TELEMETRY],
    ),
    "frontend": _profile(
        description="Called by the gateways and the tenant's primitives, calls the tenant's backends and agents.",
        ingress=[_GATEWAYS, {"peers": [{**_CALLERS, "namespaces": "Tenant"}]}, _METRICS],
        egress=[
            {"peers": [{"tiers": ["backend", "agent"], "namespaces": "Tenant"}], "ports": ["http", "grpc"]},
            _TELEMETRY,
        ],
    ),
    "isolated": _profile(
        description="Called by nobody but metric scrapers; calls its database and declared dependencies only.",
        ingress=[_METRICS],
        egress=[],
    ),
    "open": _profile(
        description="Called by every pod of the cluster and calls every pod of the cluster; not the internet.",
        ingress=[{"peers": [{"namespaces": "Any"}]}],
        egress=[{"peers": [{"namespaces": "Any"}]}],
    ),
}
"""The profiles there are unless settings replace the table.

Namespaces of gateways and of monitoring are found by the label `ameide.io/network`, which the cluster's operator sets.
"""

DEFAULT_DNS: Final[tuple[NetworkPeer, ...]] = (
    NetworkPeer(namespace_names=("kube-system", "openshift-dns")),
    NetworkPeer(cidr="169.254.20.10/32"),  # the node-local cache
)
"""Where name servers are. Not "anywhere on port 53": clouds answer DNS on their metadata address."""


def parse_profiles(table: Mapping[str, Any] | None) -> Mapping[str, NetworkProfile]:
    """The profiles of the settings' table, each with a rule for who scrapes metrics, or the built-in ones for None.

    Raises ValueError with a line per wrong field: `networkProfiles.backend.egress.0.peers: …`.
    """
    if table is None:
        return BUILT_IN_PROFILES
    profiles, problems = {}, []
    for name, data in table.items():
        try:
            profile = data if isinstance(data, NetworkProfile) else NetworkProfile.model_validate(data)
            profiles[name] = profile.with_scraping()
        except ValidationError as error:
            problems += [
                f"networkProfiles.{'.'.join(str(part) for part in (name, *item['loc']))}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            ]
    if problems:
        raise ValueError("\n".join(problems))
    return profiles
