"""Blocks that we tell nobody of, as more headers than `NEWS` are ahead of them: who goes by ids hears of them later."""

from __future__ import annotations

import pytest

from p2pframe.protocols.bitcoin.api import hash256
from p2pframe.protocols.bitcoin.block_sync import NEWS
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_WITNESS_BLOCK,
    Locator,
    decode_entries,
    decode_headers,
    decode_inventory,
    encode_headers,
    encode_locator,
)
from tests.bitcoin.conftest import mine
from tests.bitcoin.test_serving import GENESIS, Server

AHEAD = NEWS + 4
PASSED_OVER = AHEAD - NEWS
"""The blocks that join while at least `NEWS` headers are ahead of them."""


def chain_on(template, count):
    """Blocks of another miner, each on top of the one before: their bytes."""
    raws = [mine(template, b"theirs")]
    for n in range(1, count):
        above = template._replace(previous=hash256(raws[-1][:80]), height=template.height + n, time=template.time + n)
        raws.append(mine(above, b"theirs"))
    return raws


def told(peer):
    """The ids of blocks that a peer was told of, in order."""
    return [id for payload in peer.heard("inv") for id in decode_inventory(payload).get(MSG_BLOCK, [])]


class Behind:
    """A node that has three blocks, a peer that shows it many headers at once, and a bystander."""

    def __init__(self, bitcoins, knows):
        self.server = Server(bitcoins)
        self.bystander = self.server.peer("203.0.113.10")
        ours = self.server.mine(3)
        self.bystander.wait(0.3)
        if knows != "inv":
            # One that asks, as it was told of nothing.
            self.bystander = self.server.peer("203.0.114.11")
            self.bystander.say(knows, encode_locator(Locator(70016, [GENESIS]))).wait(0.3)
        heads = [hash256(head) for payload in self.bystander.heard("headers") for head in decode_headers(payload)]
        assert (heads or told(self.bystander)) == ours, "so it has what theirs go on from"
        self.raws = chain_on(self.server.protocol.template(), AHEAD)
        self.hashes = [hash256(raw[:80]) for raw in self.raws]
        self.source = self.server.peer("203.0.115.12")
        self.bystander.got.clear()
        self.source.say("headers", encode_headers([raw[:80] for raw in self.raws])).wait(0.3)
        asked = [entry for payload in self.source.heard("getdata") for entry in decode_entries(payload)]
        assert asked == [(MSG_WITNESS_BLOCK, hash) for hash in self.hashes]

    def give(self, *numbers):
        """The bodies of some blocks, one by one; after each, the numbers of all that the bystander was told of."""
        seen = []
        for number in numbers:
            self.source.say("block", self.raws[number]).wait(0.3)
            seen.append([self.hashes.index(id) for id in told(self.bystander)])
        assert self.server.protocol.tip().hash == self.hashes[-1]
        assert "headers" not in self.bystander.kinds(), "it goes by ids"
        assert told(self.source) == [], "it showed them"
        return seen


@pytest.mark.parametrize("knows", ["inv", "getblocks", "getheaders"])
def test_who_goes_by_ids_is_told_once_of_every_block_after_its_parent_when_bodies_come_one_by_one(bitcoins, knows):
    seen = Behind(bitcoins, knows).give(*range(AHEAD))
    assert seen[:PASSED_OVER] == [[]] * PASSED_OVER
    # The first that is news comes with those before it, and each of the others by itself: none is an orphan.
    assert seen[PASSED_OVER:] == [list(range(n + 1)) for n in range(PASSED_OVER, AHEAD)]


@pytest.mark.parametrize("knows", ["inv", "getblocks", "getheaders"])
def test_who_goes_by_ids_is_told_once_of_every_block_after_its_parent_when_all_join_with_the_first(bitcoins, knows):
    seen = Behind(bitcoins, knows).give(*reversed(range(AHEAD)))
    assert seen == [[]] * (AHEAD - 1) + [list(range(AHEAD))]
