"""Sybils around a key of a DHT, and a flood of addresses: attackers that must reach their victims to show anything."""

from __future__ import annotations

import sys
from random import Random

import pytest

from p2pframe.protocols.mainline.api import infohash
from p2pframe.protocols.mainline.node_id import fits
from p2pframe.registry import Registry
from p2pframe.sim.run import Job, run
from tests.scenarios.conftest import PLUGINS

TARGET = int.from_bytes(infohash("the-topic0"), "big")
SYBIL = {"hosts.seekers.count": "40", "hosts.announcers.count": "4", "hosts.attackers.count": "1", "duration": "14min",
         "hosts.seekers.start": "30s", "hosts.announcers.after": "4min",
         "measures.lookups.after": "6min", "expect": "[]"}  # fmt: skip
POISONING = {"hosts.others.count": "20", "hosts.victims.count": "4", "duration": "12min", "timeline.0.at": "8min",
             "hosts.victims.after": "2min", "expect": "[]"}  # fmt: skip


@pytest.fixture(scope="module")
def sybil():
    registry = Registry([PLUGINS], installed=[])
    known = next(one for one in registry.known() if one.name == "sybil")
    return sys.modules[registry.load(known).__module__]


def go(name, settings, variant):
    result = run(Job(str(PLUGINS.parent / name), variant=variant, settings=tuple(settings.items())))
    assert not result.failures
    return result.values


def test_sybils_have_the_ids_that_they_claim(sybil):
    rng = Random(7)
    hosts = [".".join(str(rng.randrange(1, 255)) for _ in range(4)) for _ in range(200)]
    hosts = [host for host in hosts if not host.startswith(("10.", "127."))]
    near = [sybil.near_id(TARGET, host) for host in hosts]
    assert len(set(near)) == len(hosts)
    assert all((identity ^ TARGET).bit_length() <= 100 for identity in near)
    bound = [sybil.bound_id(TARGET, host) for host in hosts]
    assert all(fits(identity, host) for identity, host in zip(bound, hosts, strict=True))
    # The checksum is linear, so that eight ids begin with eight different values of their first four bits.
    assert 0.4 < sum(identity ^ TARGET < 1 << 156 for identity in bound) / len(bound) < 0.6


@pytest.mark.parametrize(("variant", "least", "most"), [("calm", 1, 1), ("ignore", 0, 0.2), ("enforce", 0.9, 1)])
def test_sybils_hide_a_topic_where_any_id_is_good(variant, least, most):
    came = {} if variant == "calm" else {"hosts.attackers.after": "100s"}
    values = go("sybil.yaml", SYBIL | came, variant)
    assert values["lookups.peers.count"] > 50
    assert least <= values["lookups.peers.success"] <= most


@pytest.mark.parametrize(
    ("variant", "book", "slots"),
    [("calm", (0, 0), (0, 0)), ("default", (0.85, 1), (0.1, 0.65)), ("off", (0.85, 1), (0.7, 1))],
)
def test_a_flood_fills_the_book_and_with_buckets_not_the_slots(variant, book, slots):
    values = go("poisoning.yaml", POISONING, variant)
    assert values["capture.alone"] == 0
    assert book[0] <= 1 - values["addresses.honest"] <= book[1]
    assert slots[0] <= values["capture.slots"] <= slots[1]
