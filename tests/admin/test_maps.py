"""Propagation, discovery, topology: what the API says, that pages say it too, and that no text of a peer is markup."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import quote

import pytest
import pytest_twisted

from p2pframe.admin.tree import ROWS, drawn
from p2pframe.admin.values_maps import Spread as ShownSpread
from p2pframe.admin.values_maps import SpreadDetail
from p2pframe.admin.values_maps import SpreadPeer as ShownPeer
from p2pframe.interfaces import AddressGroups, AgeHolds, BucketView, GroupHolds, IRoutingTables, Spread
from p2pframe.model import PeerAddress, SessionId, SessionSnapshot, Slot

V1 = "/api/v1/networks/net"
HOSTILE = "</title><script>alert(1)</script>\"'"


def snapshot(number, score=None, inbound=False, netgroup="v4:192.0"):
    return SessionSnapshot(
        SessionId(number), "net", PeerAddress("192.0.2.1", number), netgroup,
        Slot.INBOUND if inbound else Slot.OUTBOUND, "open", "tcp", 0.0, 0.0, inbound, score=score,
    )  # fmt: skip


def ours(web, **methods):
    """The node's view with other answers."""
    for name, answer in methods.items():
        setattr(web.view, name, answer)


async def told(web, path):
    answer = await web.ask(path=path, **web.viewer)
    assert answer.status == 200, answer
    return answer.json


async def page(web, path, status=200):
    answer = await web.ask(path=path, **web.viewer)
    assert answer.status == status, answer
    return answer.body.decode()


# --- propagation ---


@pytest_twisted.ensureDeferred
async def test_one_item_with_its_peers(web):
    found = await told(web, f"{V1}/spreads/plain/{b'id'.hex()}")
    assert found["spread"]["p50"] == 1.5 and found["spread"]["source"] == 1
    assert (found["spread"]["duplicates"], found["spread"]["wasted"]) == (1, 250)
    assert (found["spread"]["reached"], found["spread"]["present"]) == (3, 4)
    assert found["spread"]["address"] == "192.0.2.7:8333"
    assert [(one["session"], one["heard"], one["told"], one["served"], one["asked"]) for one in found["peers"]] == [
        (1, None, None, 2.0, True), (2, 0.5, 1.5, None, False), (3, 1.5, None, None, False),
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_items_of_a_topic_together(web):
    spreads = [
        Spread("tx", bytes([n]), 1.0, None, 2, 3, (0.1 * n,), n % 2, 100 * (n % 2), 10, n) for n in range(10)
    ]
    ours(web, spreads=lambda network, limit=100, topic=None: [] if topic == "block" else spreads,
         networks=lambda: [SimpleNamespace(name="net", topics=("tx", "block"))])  # fmt: skip
    [tx, block] = (await told(web, V1 + "/propagation"))["topics"]
    assert (tx["items"], tx["announcements"], tx["told"], tx["duplicates"], tx["wasted"]) == (10, 20, 30, 5, 500)
    assert (tx["p50"], tx["p90"], tx["p99"]) == (0.5, pytest.approx(0.9), pytest.approx(0.9))
    assert (tx["coverage"], tx["coverage_low"]) == (0.5, 0.1)
    assert block == {**dict.fromkeys(block), "topic": "block", "items": 0, "announcements": 0, "told": 0,
                     "duplicates": 0, "wasted": 0}  # fmt: skip
    text = await page(web, "/propagation")
    assert "half of the peers' announcements came within 500 ms, nine of ten within 900 ms" in text
    assert "5 copies came in whole for nothing: 500 B." in text
    # Of a topic that had no item nothing is said.
    assert "block" not in text


@pytest_twisted.ensureDeferred
async def test_a_topic_is_asked_for_by_name(web):
    asked = []
    ours(web, spreads=lambda *args: asked.append(args) or [])
    assert await told(web, V1 + "/spreads?topic=block&limit=7") == {"spreads": []}
    assert asked == [("net", 7, "block")]


@pytest.mark.parametrize(
    "path", [
        "/api/v1/networks/other/propagation", "/api/v1/networks/other/spreads", V1 + "/spreads/plain/00",
        V1 + "/spreads/other/6964", V1 + "/spreads/plain/xyz", V1 + "/spreads/plain/6", V1 + "/spreads/plain/%C3%A9",
        "/api/v1/networks/other/spreads/plain/6964", "/api/v1/networks/other/addresses",
        "/api/v1/networks/other/addresses/groups", "/api/v1/networks/other/buckets", "/api/v1/topology?network=other",
        "/api/v1/peers?network=other",
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_not_found(web, path):
    ours(web, address_groups=lambda network: {}[network])
    answer = await web.ask(path=path, **web.viewer)
    assert answer.status == 404 and answer.json["title"] == "Not found"


@pytest_twisted.ensureDeferred
async def test_an_item_that_is_gone_is_told_in_words(web):
    assert "among the latest items" in await page(web, "/propagation/net/plain/00", 404)


@pytest_twisted.ensureDeferred
async def test_the_page_of_an_item_says_the_way_it_took(web):
    text = await page(web, "/propagation/net/plain/6964")
    assert "192.0.2.7:8333 brought it" in text and "It has reached 3 of the 4 peers that were there." in text
    assert "It came in whole 1 time more: 250 B for nothing." in text
    # Who is connected still has a page; who is not, none.
    assert 'href="/peers/net/1"' in text and 'href="/peers/net/3"' not in text and "(gone)" in text


@pytest_twisted.ensureDeferred
async def test_topics_ids_and_addresses_are_text_on_every_page(webs):
    web = await webs(text=HOSTILE)
    for path in (
        "/propagation", f"/propagation/net/{quote(HOSTILE, safe='')}/6964", "/addresses", "/topology",
        "/topology?by=netgroup", "/propagation/net/%3Cscript%3Ealert(1)%3C%2Fscript%3E/%3Cscript%3Ealert(1)",
    ):  # fmt: skip
        answer = await web.ask(path=path, **web.viewer)
        assert answer.status in (200, 404) and b"<script>alert" not in answer.body, path
    found = await web.ask(path=f"{V1}/spreads/{quote(HOSTILE, safe='')}/6964", **web.viewer)
    assert found.json["spread"]["topic"] == HOSTILE


def detail(later, told):
    spread = ShownSpread(
        topic="tx", id="00", first_seen=1.0, source=1, address=None, heard_from=0, told=told, p50=None, p90=None,
        p99=None, duplicates=0, wasted=0, present=0, reached=0,
    )  # fmt: skip

    def peer(number, heard=None, told=None):
        return ShownPeer(session=number, address=None, heard=heard, told=told, served=None, asked=False)

    heard = [peer(100 + n, heard=float(later - n)) for n in range(later)]
    return SpreadDetail(spread=spread, peers=[peer(1), *heard, *(peer(500 + n, told=float(n)) for n in range(told))])


@pytest.mark.parametrize(("later", "told"), [(0, 0), (1, 0), (0, 1), (5, 40), (300, 2)])
def test_the_tree_is_ordered_by_time_and_what_it_has_no_room_for_is_counted(later, told):
    tree = drawn(detail(later, told))
    assert tree.left[0].kind == "source" and tree.left[0].peer.session == 1
    times = [one.delay for one in tree.left[1:]]
    assert times == sorted(times) and len(tree.left) <= ROWS and len(tree.right) <= ROWS
    assert (len(tree.left) - 1 + tree.more_left, len(tree.right) + tree.more_right) == (later, told)
    assert all(0 < one.y < tree.height for one in (*tree.left, *tree.right)) and 0 < tree.middle < tree.height


# --- discovery ---


@pytest_twisted.ensureDeferred
async def test_the_book_by_netgroup_and_age(web):
    assert (await told(web, V1 + "/addresses/groups"))["counted"] is None
    assert "being counted" in await page(web, "/addresses")
    ages = tuple(AgeHolds(below, held, 1) for below, held in ((60.0, 3), (float("inf"), 4)))
    ours(web, address_groups=lambda network: AddressGroups(7, 60, (GroupHolds("v4:1.2", 4, 1),), 900.0, ages, ages))
    found = await told(web, V1 + "/addresses/groups")
    assert (found["addresses"], found["netgroups"], found["counted"]) == (7, 60, 900.0)
    assert found["largest"] == [{"netgroup": "v4:1.2", "held": 4, "tried": 1}]
    assert [one["below"] for one in found["known"]] == [60.0, None]
    text = await page(web, "/addresses")
    assert "the largest is" in text and "57 %" in text and "and 59 smaller ones" in text


@pytest_twisted.ensureDeferred
async def test_sources_say_what_they_yield(web):
    [source, _] = (await told(web, "/api/v1/node"))["networks"][0]["sources"]
    assert (source["looks"], source["failed"], source["last_success"]) == (0, 0, 0.0)
    assert "Yield" in await page(web, "/addresses")


class Tables:
    """A DHT of one table."""

    def __init__(self, fails=False, count=2):
        self.fails = fails
        self.count = count

    def buckets(self):
        if self.fails:
            raise RuntimeError("no table today")
        return [BucketView("<i>t</i>", n, n == self.count - 1, 8, 4, 2, 1, 3, 900.0) for n in range(self.count)]


@pytest_twisted.ensureDeferred
async def test_the_buckets_of_a_dht(web, flush_logged_errors):
    assert await told(web, V1 + "/buckets") == {"buckets": []}
    assert "Routing table" not in await page(web, "/addresses")
    found = {"net: protocol.dht": Tables(), "other: protocol.dht": Tables(), "net: discovery.broken": Tables(True)}
    ours(web, providers=lambda interface: list(found.items()) if interface is IRoutingTables else [])
    buckets = (await told(web, V1 + "/buckets"))["buckets"]
    assert [(one["depth"], one["own"], one["nodes"], one["good"]) for one in buckets] == [
        (0, False, 7, 4), (1, True, 7, 4),
    ]  # fmt: skip
    text = await page(web, "/addresses")
    assert "14 nodes in 2 buckets; 8 have answered lately" in text and "<i>" not in text
    found["net: protocol.dht"] = Tables(count=700)
    assert len((await told(web, V1 + "/buckets"))["buckets"]) == 500
    # The plugin that fails is named each time, and hides no other.
    assert len(flush_logged_errors(RuntimeError)) == 3


# --- topology ---


@pytest_twisted.ensureDeferred
async def test_the_neighbourhood_as_a_graph(web):
    ours(web, sessions=lambda network=None: [snapshot(2, 0.7, inbound=True), snapshot(1)])
    found = await told(web, "/api/v1/topology")
    assert [one["id"] for one in found["nodes"]] == ["self", "net/1", "net/2"]
    assert [(one["source"], one["target"]) for one in found["edges"]] == [("self", "net/1"), ("net/2", "self")]
    assert found["nodes"][2]["score"] == 0.7 and found["left_out"] == 0
    assert (await told(web, "/api/v1/topology?limit=1&network=net"))["left_out"] == 1


@pytest_twisted.ensureDeferred
async def test_the_drawing_goes_by_what_is_chosen(web):
    peers = [
        snapshot(1, 0.9), snapshot(2, 0.3, True), snapshot(3, 0.1), snapshot(4), snapshot(5, netgroup="v4:198.51"),
    ]  # fmt: skip
    ours(web, sessions=lambda network=None: peers)
    for by, said in (
        ("direction", ["dialled by us: 4", "dialled us: 1"]),
        ("score", ["score of 0.5 and more: 1", "score of 0.2 to 0.5: 1", "score below 0.2: 1", "no score: 2"]),
        ("netgroup", ["netgroup v4:192.0: 4", "other netgroups: 1"]),
    ):
        text = await page(web, f"/topology?by={by}")
        assert all(one in text for one in said), by
        assert f'href="/topology?by={by}" aria-current="true"' in text
    assert "dialled by us: 4" in await page(web, "/topology")
    assert (await web.ask(path="/topology?by=age", **web.viewer)).status == 422
