"""Network profiles as data: what is refused, and what never gets out."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.network import METADATA_NETWORKS, NetworkProfile, is_internet
from ameide_shared.builders.networkpolicy import (
    BUILT_IN_PROFILES,
    endpoint_egress,
    network_policy,
    parse_profiles,
    profile_problem,
)

ORDERS = Primitive("Domain", "orders", "shop", "uid-1", tenant_id="t1")


def profile(**fields: Any) -> NetworkProfile:
    return NetworkProfile.model_validate(fields)


def egress_to(cidr: str, **fields: Any) -> dict[str, Any]:
    return {"egress": [{"peers": [{"cidr": cidr}]}], **fields}


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/7", "2000::/3"])
def test_the_internet_has_to_be_asked_for(cidr: str) -> None:
    with pytest.raises(ValidationError, match="allowInternet: true"):
        profile(**egress_to(cidr))
    wide = profile(**egress_to(cidr, allowInternet=True))
    problem = profile_problem("wide", wide, allow_internet=False)
    assert problem is not None
    assert "spec.security.allowInternet: true" in problem.remedy
    assert profile_problem("wide", wide, allow_internet=True) is None


@pytest.mark.parametrize(
    "cidr", ["10.0.0.0/8", "192.168.0.0/16", "203.0.113.0/24", "fd00::/8", "8.0.0.0/8", "2001:db8::/32"]
)
def test_narrower_networks_need_not(cidr: str) -> None:
    assert not is_internet(ip_network(cidr))
    assert profile_problem("narrow", profile(**egress_to(cidr)), allow_internet=False) is None


@pytest.mark.parametrize("cidr", ["169.254.169.254/32", "169.254.0.0/16", "fd00:ec2::254/128", "168.63.129.16/32"])
@pytest.mark.parametrize("allow", [True, False])
def test_metadata_services_are_no_peers(cidr: str, allow: bool) -> None:
    with pytest.raises(ValidationError, match="metadata"):
        profile(**egress_to(cidr, allowInternet=allow))


@given(st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_no_metadata_address_is_ever_permitted(length: int, number: int) -> None:
    network = ip_network((number, length), strict=False)
    try:
        wanted = profile(**egress_to(str(network), allowInternet=True))
    except ValidationError:
        return
    policy = network_policy(ORDERS, wanted, [8080], dns=())
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert blocks
    for block in blocks:
        for metadata in METADATA_NETWORKS:
            address = metadata.network_address
            permitted = address in ip_network(block["cidr"]) and not any(
                address in ip_network(excepted) for excepted in block.get("except", ())
            )
            assert not permitted
        assert all(ip_network(block["cidr"]).supernet_of(ip_network(item)) for item in block.get("except", ()))  # type: ignore[arg-type]  # both are IPv4


@pytest.mark.parametrize("name", sorted(BUILT_IN_PROFILES))
def test_dns_always_works_but_not_at_metadata_services(name: str) -> None:
    policy = network_policy(ORDERS, BUILT_IN_PROFILES[name], [8080])
    first = policy["spec"]["egress"][0]
    assert {(port["port"], port["protocol"]) for port in first["ports"]} >= {(53, "UDP"), (53, "TCP")}
    networks = [ip_network(peer["ipBlock"]["cidr"]) for peer in first["to"] if "ipBlock" in peer]
    assert not any(ip_address("169.254.169.254") in network for network in networks)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("table", [{"mine": {}}, {"mine": profile()}, None], ids=["mine", "parsed", "built-in"])
def test_metrics_can_be_scraped_in_any_profile(table: dict[str, Any] | None) -> None:
    """Once: by a rule for the namespaces of monitoring, where not everybody may connect."""
    scraping = {"from": [{"namespaceSelector": {"matchLabels": {"ameide.io/network": "monitoring"}}}]}
    everybody = {"from": [{"namespaceSelector": {}}]}
    ports = {"ports": [{"protocol": "TCP", "port": 8080}]}
    for wanted in parse_profiles(table).values():
        rules = network_policy(ORDERS, wanted, [8080])["spec"]["ingress"]
        assert sum(rule in (scraping | ports, everybody | ports) for rule in rules) == 1
        assert parse_profiles({"again": wanted}) == {"again": wanted}


def test_no_built_in_profile_reaches_the_internet() -> None:
    assert set(BUILT_IN_PROFILES) == {"backend", "frontend", "isolated", "open"}
    assert not any(found.reaches_internet for found in BUILT_IN_PROFILES.values())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"x": {"egres": []}}, "networkProfiles.x.egres: Extra inputs"),
        ({"x": {"egress": [{"peers": []}]}}, "networkProfiles.x.egress.0.peers"),
        ({"x": {"egress": [{}]}}, "networkProfiles.x.egress.0.peers: Field required"),
        ({"x": {"egress": [{"peers": [{}]}]}}, "set one of them"),
        ({"x": {"egress": [{"peers": [{"cidr": "10.0.0.1/8"}]}]}}, "has host bits set"),
        ({"x": {"egress": [{"peers": [{"cidr": "10.0.0.0/8", "tiers": ["backend"]}]}]}}, "set one of them"),
        (
            {"x": {"ingress": [{"peers": [{"namespaces": "Same"}], "ports": ["htp"]}]}},
            "networkProfiles.x.ingress.0.ports.0",
        ),
        ({"x": {"ingress": [{"peers": [{"namespaces": "Same"}], "ports": [{"port": 9, "endPort": 8}]}]}}, "swap them"),
        ({"x": {"ingress": [{"peers": [{"namespaces": "All"}]}]}}, "'Same', 'Tenant' or 'Any'"),
        ({"x": {"ingress": [{"peers": [{"namespaces": "Any", "namespaceNames": ["a"]}]}]}}, "keep one"),
    ],
)
def test_wrong_tables_say_where(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="networkProfiles") as caught:
        parse_profiles(table)
    assert words in str(caught.value)


def test_a_table_replaces_the_built_in_one() -> None:
    table = parse_profiles({"mine": egress_to("10.0.0.0/8")})
    assert set(table) == {"mine"}
    assert parse_profiles(None) is BUILT_IN_PROFILES


@pytest.mark.parametrize(
    ("url", "namespace"),
    [
        ("http://collector:4318", "shop"),
        ("http://collector.observability:4318", "observability"),
        ("collector.observability.svc:4317", "observability"),
        ("https://collector.observability.svc.cluster.local", "observability"),
    ],
)
def test_telemetry_in_the_cluster(url: str, namespace: str) -> None:
    rule = endpoint_egress(url, "shop")
    assert rule is not None
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert {4317, 4318} <= {port["port"] for port in rule["ports"]}


def test_telemetry_elsewhere() -> None:
    assert endpoint_egress("https://otlp.example.org", "shop") is None
    rule = endpoint_egress("http://[2001:db8::7]:4318", "shop")
    assert rule is not None
    assert rule["to"] == [{"ipBlock": {"cidr": "2001:db8::7/128"}}]
