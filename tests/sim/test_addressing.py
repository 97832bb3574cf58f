"""Drawn addresses: where they may be, how they are spread, that none is given out twice."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pframe.model import PeerAddress, netgroup
from p2pframe.protocols.bitcoin.routable import routable
from p2pframe.sim.addressing import AddressError, AddressSpace, fall
from p2pframe.sim.scenario import AddressesConfig


def draw(count, seed=1, space=None, **options):
    return (space or AddressSpace()).draw(AddressesConfig(**options), count, Random(seed))


def groups_of(spots):
    return [netgroup(PeerAddress.of(address, 0)) for spot in spots for address in spot.addresses]


def test_addresses_are_globally_routable_and_nobodys_for_special_purposes():
    spots = draw(3000, ipv4=1, ipv6=1)
    for spot in spots:
        four, six = (ip_address(address) for address in spot.addresses)
        assert (four.version, six.version) == (4, 6)
        assert four.is_global
        assert six.is_global
        assert six in ip_network("2000::/3")
        assert four.packed[3] not in (0, 255)
        # The protocol that the scenarios run thinks so too.
        assert routable(PeerAddress.of(str(four), 8333))
        assert routable(PeerAddress.of(str(six), 8333))


def test_each_host_has_a_netgroup_of_its_own_where_nothing_else_is_said():
    spots = draw(2000)
    assert len(set(groups_of(spots))) == 2000
    assert len({spot.asn for spot in spots}) == 2000


def test_hosts_fall_over_as_many_netgroups_and_asns_as_are_asked_for():
    spots = draw(1000, netgroups=250, asns=40)
    groups = groups_of(spots)
    assert len(set(groups)) == 250
    assert len({spot.asn for spot in spots}) == 40
    owners = {}
    for spot, group in zip(spots, groups, strict=True):
        assert owners.setdefault(group, spot.asn) == spot.asn


def test_there_are_no_more_netgroups_than_addresses():
    assert len(set(groups_of(draw(10, netgroups=250, asns=40)))) == 10


def test_skew_says_how_uneven():
    def largest(skew):
        return Counter(groups_of(draw(2000, netgroups=100, skew=skew))).most_common(1)[0][1] / 2000

    even, zipf, steep = largest(0), largest(1), largest(2)
    assert even < 0.03
    # The first of 100 has 1 / H(100) = 19% of what follows Zipf's law.
    assert 0.13 < zipf < 0.25
    assert steep > 0.5


def test_many_addresses_each_in_few_netgroups():
    # The attackers of an eclipse: 4,000 addresses in 16 netgroups.
    spots = draw(40, ipv4=100, netgroups=16)
    addresses = [address for spot in spots for address in spot.addresses]
    assert len(set(addresses)) == 4000
    assert len(set(groups_of(spots))) == 16
    assert all(len(spot.addresses) == 100 for spot in spots)


def test_groups_share_nothing():
    space = AddressSpace()
    one, other = draw(500, 1, space, netgroups=50, asns=10), draw(500, 2, space, netgroups=50, asns=10)
    assert not set(groups_of(one)) & set(groups_of(other))
    assert not {spot.asn for spot in one} & {spot.asn for spot in other}


def test_equal_seeds_give_equal_addresses_and_others_others():
    assert draw(100, 5, ipv6=2, netgroups=20) == draw(100, 5, ipv6=2, netgroups=20)
    assert draw(100, 5) != draw(100, 6)


def test_ranges_are_used_to_the_last_address():
    space = AddressSpace()
    spots = draw(254, 1, space, ranges=("203.0.113.0/24",))
    assert {spot.addresses[0] for spot in spots} == {str(one) for one in ip_network("203.0.113.0/24").hosts()}
    assert len({spot.asn for spot in spots}) == 1
    with pytest.raises(AddressError, match="another group has some"):
        draw(1, 2, space, ranges=("203.0.113.0/24",))


def test_ranges_of_both_families_and_any_size():
    spots = draw(100, ipv4=1, ipv6=1, ranges=("10.0.0.0/8", "198.51.100.7/32", "2001:db8::/32"), asns=3)
    for spot in spots:
        four, six = (ip_address(address) for address in spot.addresses)
        assert four in ip_network("10.0.0.0/8") or str(four) == "198.51.100.7"
        assert six in ip_network("2001:db8::/32")
    assert len({address for spot in spots for address in spot.addresses}) == 200


def test_too_many_addresses_for_few_netgroups_are_refused():
    with pytest.raises(AddressError, match="have no room"):
        draw(61, ipv4=1000, netgroups=1)


@given(st.integers(0, 200), st.integers(1, 50), st.floats(0, 5), st.integers(0, 99))
@settings(deadline=None)
def test_every_place_gets_something_before_one_gets_two(count, places, skew, seed):
    found = fall(count, places, skew, Random(seed))
    assert len(found) == count
    assert len(set(found)) == min(count, places)
