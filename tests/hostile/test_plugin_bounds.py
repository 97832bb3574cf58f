"""Every bound of the plugins says what counts what it turns away, if it turns anything away, and has a test that hits it.

As `test_bounds.py` for core: an option that is added to one of these configs fails here until it is declared by
`bound` and its test named here, or it is named as no bound.
"""

# ruff: noqa: E501 - a row of the tables is a line

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from p2pframe.applications.dns_seed_server import DnsSeedServerConfig
from p2pframe.discovery.dns_seed.discovery import DnsSeedConfig, DnsSeedDiscovery
from p2pframe.discovery.file import FileConfig, FileDiscovery
from p2pframe.discovery.http import HttpConfig, HttpDiscovery
from p2pframe.discovery.mdns.config import MdnsConfig
from p2pframe.discovery.mdns.discovery import MdnsDiscovery
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import IAddressBook, INodeControl, Visit
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import bound_of
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.items import Items
from p2pframe.protocols.mainline.requests import Requests
from p2pframe.testing.context import FakeContext, result_of
from plugins.crawler import Crawler, CrawlerConfig
from tests.applications.dns_seed_server.test_server import Town, pass_time, server, started
from tests.discovery.test_http import KEY
from tests.hostile.test_dht import Node, query, searching
from tests.mainline.test_network import dht, start
from tests.plugins.test_crawler import World as Crawl

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
HERE = "hostile/test_plugin_bounds.py::"
ANSWERS = "mainline/test_answers.py::"
WIRE = "applications/dns_seed_server/test_wire_and_zone.py::"
SERVER = "applications/dns_seed_server/test_server.py::"
HOSTILE_DNS = "hostile/test_dns.py::"
CRAWLER = "plugins/test_crawler.py::"

FLOOD = ANSWERS + "test_a_forged_flood_is_never_answered_with_more_than_three_times_its_bytes"

MAINLINE = {
    "k": HERE + "test_a_bucket_of_the_table_has_so_many_nodes_and_so_many_wait",
    "replacements": HERE + "test_a_bucket_of_the_table_has_so_many_nodes_and_so_many_wait",
    "alpha": HERE + "test_a_search_has_so_many_queries_under_way",
    "candidates": HERE + "test_a_search_remembers_so_many_nodes",
    "lookup_timeout": HERE + "test_a_search_has_its_time",
    "calls": "hostile/test_dht.py::test_too_many_queries_of_ours_are_refused_and_counted",
    "grace": HERE + "test_queries_that_were_given_up_are_remembered_for_so_long_and_so_many",
    "verifications": HERE + "test_strangers_are_pinged_so_many_at_once_and_so_often",
    "verifications_per_second": HERE + "test_strangers_are_pinged_so_many_at_once_and_so_often",
    "topics": HERE + "test_so_many_topics_are_announced",
    "kept_items": HERE + "test_so_many_items_are_kept",
    "infohashes": ANSWERS + "test_the_oldest_infohash_makes_room",
    "peers": ANSWERS + "test_the_oldest_infohash_makes_room",
    "peers_per_infohash": ANSWERS + "test_an_infohash_has_so_many_peers_and_then_gives_no_token",
    "peers_per_subnet": HERE + "test_one_subnet_has_so_many_peers_of_an_infohash",
    "items": ANSWERS + "test_the_oldest_item_makes_room",
    "items_per_subnet": ANSWERS + "test_one_subnet_stores_so_much",
    "queries_per_second": ANSWERS + "test_one_address_is_answered_so_often",
    "queries_burst": ANSWERS + "test_one_address_is_answered_so_often",
    "sources": ANSWERS + "test_sources_are_forgotten_and_that_is_counted",
    "subnet_budget": HERE + "test_what_a_flood_gets_beyond_its_own_bytes_is_counted_out",
    "subnet_burst": HERE + "test_what_a_flood_gets_beyond_its_own_bytes_is_counted_out",
    "budget": HERE + "test_what_a_flood_gets_beyond_its_own_bytes_is_counted_out",
    "budget_burst": HERE + "test_what_a_flood_gets_beyond_its_own_bytes_is_counted_out",
    "peer_lifetime": ANSWERS + "test_who_announces_is_told_of",
    "item_lifetime": ANSWERS + "test_items_are_kept_and_given",
    "proven_for": ANSWERS + "test_who_has_answered_us_is_answered_in_full_for_ten_minutes",
    "token_rotation": ANSWERS + "test_a_token_is_for_one_address_one_infohash_and_some_minutes",
    "stores_per_second": HERE + "test_one_subnet_stores_so_often",
    "stores_burst": HERE + "test_one_subnet_stores_so_often",
}  # fmt: skip

MDNS = {
    "instances": "discovery/mdns/test_parts.py::test_what_is_kept_is_bounded",
    "per_source": "discovery/mdns/test_parts.py::test_what_is_kept_is_bounded",
    "rate": "discovery/mdns/test_mdns.py::test_one_source_can_not_keep_it_busy",
    "rate_of_all": "discovery/mdns/test_review.py::test_all_sources_together_can_not_keep_it_busy",
}  # fmt: skip

DNS_SEED = {
    "lookups": "discovery/test_dns_seed_walk.py::test_a_list_that_never_ends_costs_no_more_look_ups_than_allowed",
    "per_seed": "discovery/test_dns_seed.py::test_a_seed_brings_32_at_most_and_draws_them_by_the_contexts_chance",
    "tries": "discovery/test_dns_seed.py::test_a_silent_server_costs_bounded_time_and_the_next_one_answers",
    "patience": "discovery/test_dns_seed.py::test_a_silent_server_costs_bounded_time_and_the_next_one_answers",
    "timeout": "discovery/test_dns_seed.py::test_what_came_within_the_time_limit_is_kept",
}  # fmt: skip

SEED_SERVER = {
    "visits": HERE + "test_a_visit_of_the_seed_server_has_its_time_and_so_many_are_under_way",
    "visit_time": HERE + "test_a_visit_of_the_seed_server_has_its_time_and_so_many_are_under_way",
    "ask": HERE + "test_a_peer_that_tells_the_seed_server_of_more_than_it_was_asked_for_is_cut_short",
    "addresses": SERVER + "test_the_table_is_bounded_in_all_and_by_netgroup",
    "group_addresses": SERVER + "test_the_table_is_bounded_in_all_and_by_netgroup",
    "responses_per_second": WIRE + "test_one_network_of_askers_does_not_use_up_what_others_have",
    "responses_burst": WIRE + "test_one_network_of_askers_does_not_use_up_what_others_have",
    "slip": WIRE + "test_one_network_of_askers_does_not_use_up_what_others_have",
    "all_excess_per_second": WIRE + "test_who_asks_in_peace_is_answered_in_full_and_a_flood_leaves_the_budget_to_refill",
    "all_excess_burst": WIRE + "test_who_asks_in_peace_is_answered_in_full_and_a_flood_leaves_the_budget_to_refill",
    "prefixes": WIRE + "test_networks_of_askers_are_forgotten_when_there_are_too_many",
    "tcp_connections": HOSTILE_DNS + "test_many_networks_that_hold_every_place_leave_udp_alone_and_lose_them",
    "tcp_per_prefix": HOSTILE_DNS + "test_who_connects_and_says_nothing_or_little_holds_a_place_for_ten_seconds",
    "tcp_queries": HOSTILE_DNS + "test_who_asks_without_end_on_one_connection_is_hung_up_on",
    "tcp_timeout": HOSTILE_DNS + "test_who_connects_and_says_nothing_or_little_holds_a_place_for_ten_seconds",
    "answers": WIRE + "test_addresses_are_answered_by_family_at_most_so_many_and_authoritatively",
    "per_netgroup": WIRE + "test_an_answer_has_at_most_so_many_of_a_netgroup",
    "ttl": WIRE + "test_the_same_set_is_answered_until_its_ttl_is_over_and_then_another",
    "proven_for": SERVER + "test_only_who_kept_answering_for_a_day_is_told_of",
    "retry": SERVER + "test_who_does_not_answer_is_left_alone_for_hours_and_makes_room_for_others",
}  # fmt: skip

HTTP = {
    "timeout": "discovery/test_http.py::test_what_is_wrong_with_a_list_is_said",
    "largest": "discovery/test_http.py::test_what_is_wrong_with_a_list_is_said",
    "skew": "discovery/test_http.py::test_what_is_wrong_with_a_list_is_said",
}  # fmt: skip

FILE = {
    "largest": "discovery/test_file.py::test_a_file_without_end_is_read_so_far",
}  # fmt: skip

CRAWL = {
    "rate": HERE + "test_a_crawl_goes_no_faster_than_it_may",
    "concurrency": HERE + "test_a_crawl_goes_no_faster_than_it_may",
    "netgroup_pause": HERE + "test_a_crawl_goes_no_faster_than_it_may",
    "wait": HERE + "test_a_crawl_goes_no_faster_than_it_may",
    "visits": HERE + "test_a_crawl_ends_after_so_many_visits",
    "ask": HERE + "test_a_peer_that_tells_a_crawl_of_more_than_it_was_asked_for_is_cut_short",
    "nodes": CRAWLER + "test_a_liar_fills_neither_the_answer_nor_the_table",
    "avoid": CRAWLER + "test_who_asks_to_be_left_alone_is",
    "queue": HERE + "test_a_crawl_rests_where_so_many_results_wait",
}  # fmt: skip

NO_BOUND = {
    MainlineConfig: {
        "public", "node_ids", "read_only", "questionable_after", "refresh_after", "paths", "quorum", "upkeep",
        "save_interval", "republish", "sample_interval",
    },
    MdnsConfig: {
        "service", "instance", "interfaces", "ipv4", "ipv6", "announce", "any_network", "announced_port", "interval",
        "patience", "rescan",
    },
    DnsSeedConfig: {
        "seeds", "servers", "port", "service_bits", "ipv4", "ipv6", "service", "dnsaddr", "enough", "wait", "wait_full",
        "full_book", "interval", "retry",
    },
    DnsSeedServerConfig: {
        "network", "zone", "nameserver", "nameserver_addresses", "contact", "listen", "port", "service", "public",
        "services", "check_every", "failures", "pace", "ask_every", "sample_every",
    },
    HttpConfig: {"url", "key", "network", "ca", "port", "interval"},
    FileConfig: {"path", "port", "look", "again"},
    CrawlerConfig: {"network", "database", "revisit", "retry", "flush"},
}  # fmt: skip

TABLES = {
    MainlineConfig: MAINLINE, MdnsConfig: MDNS, DnsSeedConfig: DNS_SEED, DnsSeedServerConfig: SEED_SERVER,
    HttpConfig: HTTP, FileConfig: FILE, CrawlerConfig: CRAWL,
}  # fmt: skip
SOURCES = {
    MainlineConfig: "p2pframe/protocols/mainline", MdnsConfig: "p2pframe/discovery/mdns",
    DnsSeedConfig: "p2pframe/discovery/dns_seed", DnsSeedServerConfig: "p2pframe/applications/dns_seed_server",
    HttpConfig: "p2pframe/discovery/http.py", FileConfig: "p2pframe/discovery/file.py",
    CrawlerConfig: "plugins/crawler.py",
}  # fmt: skip
OF_LIBRARIES = {"table: bucket full", "table: cache full"}
"""Put together of what the routing table says: their tests see them."""
ROWS = [(model, key, test) for model, table in TABLES.items() for key, test in table.items()]


@pytest.mark.parametrize("model", TABLES)
def test_every_option_is_a_bound_with_a_test_or_none(model):
    declared = {name for name in model.model_fields if bound_of(model, name)}
    assert declared == set(TABLES[model]), "a bound is declared by `bound`, and has its test here"
    assert set(model.model_fields) - declared == NO_BOUND[model], "name new options here, or declare them by `bound`"


@pytest.mark.parametrize(("model", "key", "test"), ROWS, ids=[f"{row[0].__name__}.{row[1]}" for row in ROWS])
def test_every_bound_has_a_counter_and_a_test_that_hits_it(model, key, test):
    said = bound_of(model, key)
    source = text_of(test)
    assert source, f"{key}: no {test}"
    if not said.counter:
        return
    counter = f"{said.counter}_total"
    assert counter in metrics(model), f"{key}: nothing counts {counter}"
    for label in said.label:
        assert label in OF_LIBRARIES or label in texts(SOURCES[model]), f"{key}: nothing is counted as {label!r}"
        assert label in source, f"{key}: {test} does not look at what is counted as {label!r}"


@cache
def functions(file):
    """The source of each function of a file of tests, with its parameters."""
    text = (TESTS / file).read_text()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1 : node.end_lineno])
        for node in ast.parse(text).body
        if isinstance(node, kinds)
    }


def text_of(test):
    file, _, name = test.partition("::")
    return functions(file).get(name, "")


@cache
def texts(where):
    """All strings that a plugin's source has."""
    path = ROOT / where
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    return {node.value for node in found if isinstance(node.value, str)}


@cache
def metrics(model):
    """The names of what a plugin of that config counts."""
    context = FakeContext()
    context.provide(INodeControl, None)
    context.provide(IAddressBook, None)
    if model is MainlineConfig:
        context = Node().context
    elif model is DnsSeedServerConfig:
        _, context = server(Town())
    elif model is MdnsConfig:
        MdnsDiscovery(MdnsConfig(), context)
    elif model is DnsSeedConfig:
        DnsSeedDiscovery(DnsSeedConfig(seeds=("seed.example",)), context)
    elif model is HttpConfig:
        HttpDiscovery(HttpConfig(url="http://a.example/", key=KEY.hex()), context)
    elif model is FileConfig:
        FileDiscovery(FileConfig(path="peers.txt"), context)
    else:
        Crawler(CrawlerConfig(network="n"), context)
    return set(context.metrics.metrics)


# --- the bounds that no other file is about ---


def known(number):
    return PeerAddress(f"{40 + number}.1.1.1", 6881)


@pytest.mark.parametrize(("replacements", "label"), [(0, "table: bucket full"), (2, "table: cache full")])
def test_a_bucket_of_the_table_has_so_many_nodes_and_so_many_wait(replacements, label):
    node = Node(k=4, replacements=replacements, node_ids="ignore")
    far = node.endpoint.own ^ 1 << 159
    for number in range(20):
        node.endpoint.table.replied(far ^ number, known(number), 0.0)
    full = [bucket for bucket in node.endpoint.table.shape() if bucket[1] + bucket[2]]
    assert max(size for _, size, _ in full) == 4 and max(waiting for *_, waiting in full) == replacements
    assert node.count("dht_turned_away_total", label) == 16 - replacements


def told_of_many(node, at_once=None):
    """Replies that each tell of eight nodes that nobody has heard of, ever nearer."""
    made = []

    def replies(asked, to, ids):
        if at_once is not None:
            at_once.append(len(node.endpoint.calls))
        identity = ids.get(to) or next((one for one, place in made if place == to), 0)
        found = []
        for _ in range(8):
            number = len(made) + 1
            place = PeerAddress(f"{1 + number % 200}.{number // 200 % 250}.{number // 50_000}.9", 6881)
            made.append((1 << 159 >> (number // 50) | number, place))
            found.append(krpc_node(*made[-1]))
        return {b"id": identity.to_bytes(20, "big"), b"nodes": b"".join(found)}

    return replies


def krpc_node(identity, address):
    host = bytes(int(part) for part in address.host.split("."))
    return identity.to_bytes(20, "big") + host + address.port.to_bytes(2, "big")


def test_a_search_remembers_so_many_nodes():
    node = Node(candidates=50)
    search = searching(node, told_of_many(node))
    assert search.lookup.queries <= 50
    assert node.count("dht_turned_away_total", "candidates") == search.lookup.left_out > 50


@pytest.mark.parametrize("alpha", [1, 3])
def test_a_search_has_so_many_queries_under_way(alpha):
    node, at_once = Node(candidates=100, alpha=alpha), []
    searching(node, told_of_many(node, at_once))
    assert max(at_once) == alpha
    assert node.count("dht_calls_total", "answered") > 20


def test_a_search_has_its_time():
    node = Node(lookup_timeout=0.4)
    search = searching(node, lambda asked, to, ids: None)
    assert search.seconds <= 0.5 and not search.complete
    assert node.count("dht_searches_total", "out of time") == 1


def test_queries_that_were_given_up_are_remembered_for_so_long_and_so_many():
    node = Node(calls=8, grace=100, public=False)
    for number in range(1, 31):
        node.endpoint.ping(PeerAddress(f"8.8.{number}.1", 6881))
        node.clock.advance(5)
    assert node.count("dht_calls_total", "lost") >= 28
    assert node.count("dht_calls_total", "forgotten") == node.count("dht_calls_total", "lost") - 8
    assert len(node.endpoint.calls._calls) <= 8 + 2
    node.clock.advance(200)
    assert not node.endpoint.calls._calls


def test_strangers_are_pinged_so_many_at_once_and_so_often():
    node = Node(verifications=3, verifications_per_second=10)
    for number in range(20):
        node.hears(query(asker=number + 1), known(number))
    assert sum(isinstance(krpc.parse(data), krpc.Query) for data, _ in node.port.sent) == 1
    assert node.count("dht_turned_away_total", "verifications") == 19
    for number in range(20, 40):
        node.clock.advance(0.1001)
        node.hears(query(asker=number + 1), known(number))
    assert len(node.endpoint._verifying) == 3
    assert node.count("dht_turned_away_total", "verifications") > 19 + 10


def test_so_many_topics_are_announced(simulation):
    (host,) = start(simulation, 1, ", topics: 2")
    protocol = dht(host)
    for topic in ("a", "b"):
        protocol.announce(topic, 1).addErrback(lambda _: None)
    with pytest.raises(P2PFrameError, match="topics"):
        protocol.announce("c", 1)
    protocol.withdraw("a")
    protocol.announce("c", 1).addErrback(lambda _: None)
    (key,) = [one for one in host.node.metrics.snapshot() if one == "p2pframe_dht_turned_away_total"]
    assert sum(host.node.metrics.snapshot()[key].values()) == 1, "as `topics`"


def test_so_many_items_are_kept():
    node = Node(kept_items=2)
    items = Items(node.dht, Requests(node.dht))
    for value in (b"one", b"two", b"one", b"three"):
        Deferred.fromCoroutine(items.put_immutable(value, keep=True)).addErrback(lambda failure: None)
    assert node.count("dht_turned_away_total", "kept items") == 1
    assert len(items._kept) == 2
    items.stop()


def test_one_subnet_has_so_many_peers_of_an_infohash():
    node = Node(peers_per_subnet=5)
    peers = node.dht.stores.peers
    for number in range(9):
        peers.add(bytes(20), bytes((9, 9, 9, number)), 80, False, 0.0)
    assert peers.add(bytes(20), bytes((9, 9, 8, 1)), 80, False, 0.0)
    assert peers.size == 6 and node.count("dht_stores_turned_away_total", "peers of a subnet") == 4


@pytest.mark.parametrize("option", ["subnet", ""])
def test_what_a_flood_gets_beyond_its_own_bytes_is_counted_out(option):
    name = "subnet_budget" if option else "budget"
    burst = {"subnet_burst": 300} if option else {"budget_burst": 300}
    node = Node(**{name: 100, **burst})
    for number in range(8):
        node.knows(known(number), number << 150 | 1)
    stores = node.dht.stores.peers
    for number in range(60):
        stores.add(bytes(20), bytes((9, 9, number, 9)), 80, False, 0.0)
    asked = query(b"get_peers", info_hash=bytes(20))
    sent = [node.hears(asked, PeerAddress(f"9.8.{1 if option else number}.7", 6881)) for number in range(1, 50)]
    longer = [len(data) for answer in sent for data, _ in answer if b"values" in data]
    assert len(longer) <= 1, "what there is at once is spent by then"
    assert node.count("dht_answers_dropped_total", "shortened") >= 40
    node.clock.advance(20)
    assert any(b"values" in data for data, _ in node.hears(asked, PeerAddress("9.8.1.7", 6881))) == bool(longer)


def test_one_subnet_stores_so_often():
    node = Node(stores_per_second=1, stores_burst=3)
    now = node.clock.seconds()
    assert [node.dht.guard.store(PeerAddress(f"8.8.4.{n}", 1), now) for n in range(1, 6)] == [True] * 3 + [False] * 2
    assert node.count("dht_stores_turned_away_total", "rate") == 2
    assert node.dht.guard.store(PeerAddress("8.8.5.1", 1), now)
    assert node.dht.guard.store(PeerAddress("8.8.4.9", 1), now + 1)


def test_a_visit_of_the_seed_server_has_its_time_and_so_many_are_under_way():
    town = Town(known=[f"11.{n}.0.1" for n in range(10)])
    town.visit = lambda network, address, peers=0, wait=30.0: town.calls.append((address.host, wait)) or Deferred()
    made, context = started(town, visits=3, visit_time=20, pace="1s")
    pass_time(context, 20, 1.0)
    assert [wait for _, wait in town.calls] == [20.0] * 3
    pass_time(context, 10, 1.0)
    assert context.metrics.value("dns_seed_server_visits_total", "failed") == 3
    assert len(town.calls) == 6
    made.stop()


def test_a_peer_that_tells_the_seed_server_of_more_than_it_was_asked_for_is_cut_short():
    town = Town(known=["11.1.0.1"], up=["11.1.0.1"])
    town.tells = [FoundAddress(PeerAddress(f"12.{n}.0.1", 8333)) for n in range(100)]
    made, context = started(town, ask=10, pace="1s")
    pass_time(context, 3, 1.0)
    assert len(made._watch) == 11
    assert context.metrics.value("dns_seed_server_turned_away_total", "more than asked for") == 90
    made.stop()


def test_a_crawl_goes_no_faster_than_it_may(tmp_path):
    names = [f"{11 + n % 50}.{n // 50}.1.1:8333" for n in range(100)]
    waits = []

    def counted(crawl):
        visit = crawl.visit
        crawl.visit = lambda *where, **how: waits.append(how["wait"]) or visit(*where, **how)
        crawl.run(20)
        failed = crawl.context.metrics.value("crawler_visits_total", "failed")
        assert failed == len(crawl.calls)
        result_of(crawl.crawler.stop())
        return failed

    for name in ("rate", "pause", "wait"):
        (tmp_path / name).mkdir()
    assert 20 <= counted(Crawl(tmp_path / "rate", {}, names, rate=2)) <= 40
    group = [f"11.0.0.{n}:8333" for n in range(1, 100)]
    assert 2 <= counted(Crawl(tmp_path / "pause", {}, group, rate=50, netgroup_pause="5s")) <= 4
    assert set(waits) == {20.0}
    hanging = Crawl(tmp_path / "wait", dict.fromkeys(names, Deferred), names, rate=50, concurrency=4, wait=7)
    counted_so_far = len(waits)
    assert counted_calls(hanging, waits) == 4 and set(waits[counted_so_far:]) == {7.0}


def counted_calls(crawl, waits):
    """Visits of a crawl whose peers all hang."""
    visit = crawl.visit
    crawl.visit = lambda *where, **how: waits.append(how["wait"]) or visit(*where, **how)
    crawl.run(20)
    crawl.crawler.stop()
    return len(crawl.calls)


def test_a_crawl_ends_after_so_many_visits(tmp_path):
    names = [f"{11 + n}.1.1.1:8333" for n in range(30)]
    crawl = Crawl(tmp_path, dict.fromkeys(names, ()), names, rate=50, visits=7)
    crawl.run(60)
    assert crawl.context.metrics.value("crawler_visits_total", "answered") == len(crawl.calls) == 7
    result_of(crawl.crawler.stop())


def test_a_peer_that_tells_a_crawl_of_more_than_it_was_asked_for_is_cut_short(tmp_path):
    lies = tuple(FoundAddress(PeerAddress(f"12.{n}.0.1", 8333)) for n in range(100))
    visit = Visit(PeerAddress("11.1.1.1", 1), peers=lies)
    crawl = Crawl(tmp_path, {"11.1.1.1:1": lambda: done(visit)}, ["11.1.1.1:1"], ask=10)
    crawl.run(12)
    assert crawl.context.metrics.value("crawler_left_out_total", "more than asked for") == 90
    assert crawl.rows("SELECT count(*) FROM nodes") == [(11,)]
    result_of(crawl.crawler.stop())


def done(value):
    deferred = Deferred()
    deferred.callback(value)
    return deferred


def test_a_crawl_rests_where_so_many_results_wait(tmp_path, monkeypatch):
    names = [f"{11 + n}.1.1.1:8333" for n in range(30)]
    crawl = Crawl(tmp_path, dict.fromkeys(names, ()), names, rate=0.5, queue=5, flush="0.5s")
    crawl.run(8)
    before = len(crawl.calls)
    monkeypatch.setattr(crawl.context, "work", lambda *_: Deferred())
    crawl.crawler.reconfigure(crawl.crawler.config.model_copy(update={"rate": 50}))
    crawl.run(60)
    assert before < len(crawl.calls) <= before + 2 * 5, "those that are being written, and those that wait"
    assert crawl.context.metrics.value("crawler_rests_total") == 1
