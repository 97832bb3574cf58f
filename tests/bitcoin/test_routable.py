"""What is routable.

Each refused range at both its ends and one step outside, by a second opinion where there is one.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin.chains import CHAINS
from p2pframe.protocols.bitcoin.routable import (
    SERVICE_PORTS,
    UNROUTABLE_IPV4,
    UNROUTABLE_IPV6,
    bad_port,
    routable,
)

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"


def at(host):
    return routable(PeerAddress.of(host, 8333))


@pytest.mark.parametrize("text", [*UNROUTABLE_IPV4, *UNROUTABLE_IPV6])
def test_ranges_end_where_they_end(text):
    network = ipaddress.ip_network(text)
    assert not at(str(network[0]))
    assert not at(str(network[-1]))
    others = [ipaddress.ip_network(other) for other in (*UNROUTABLE_IPV4, *UNROUTABLE_IPV6) if other != text]
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= number < 1 << network.max_prefixlen:
            outside = type(network[0])(number)
            expected = not any(outside in other for other in others if other.version == network.version)
            if network.version == 6:
                expected = expected and outside in ipaddress.ip_network("2000::/3")
            assert at(str(outside)) is expected, outside


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254", "172.31.0.1",
        "192.0.2.1",
        "192.168.1.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "::1",
        "::ffff:10.0.0.1", "64:ff9b::808:808", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "2001:db8::1", "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2002:a00:1::1", "3fff::1", "5f00::1",
        "200::1",
    ],
)  # fmt: skip
def test_refused(host):
    assert not at(host)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111",
    "2a00::1",
             "::ffff:8.8.8.8", ONION]
)  # fmt: skip
def test_taken(host):
    assert at(host)


def test_names_may_lead_anywhere():
    assert not at("node.example")
    assert routable(PeerAddress("x" * 52 + ".b32.i2p", 0, "i2p"))


def test_an_unnormalised_mapped_address_is_judged_by_what_it_maps():
    assert not routable(PeerAddress("::ffff:10.0.0.1", 8333))
    assert routable(PeerAddress("::ffff:8.8.8.8", 8333))


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_or_special_is_routable(ip):
    # A mapped address is the IPv4 address that it maps; Python calls the whole range special.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        assert not at(str(ip))


def test_ports_of_others_are_bad_and_those_of_the_chains_are_not():
    for port in (22, 25, 53, 3306, 6379):
        assert bad_port(port)
    for chain in CHAINS.values():
        assert not bad_port(chain.default_port)
    assert not bad_port(80)
    assert not bad_port(443)
    assert all(0 < port < 65536 for port in SERVICE_PORTS)
