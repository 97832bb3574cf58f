"""The crawler: finds a whole network, politely; remembers within bounds; and what it wrote can be read."""

import json
import re
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred, fail, succeed

from p2pframe.cli import main
from p2pframe.cli.crawl.findings import CrawlError, read, survival
from p2pframe.errors import P2PFrameError, VisitRefused
from p2pframe.interfaces import IAddressBook, INodeControl, Visit
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.testing.context import FakeContext, result_of
from plugins.crawler import Crawler, CrawlerConfig

HOUR = 3600.0


class World:
    """Peers by address, whom each knows, and who calls on them."""

    def __init__(self, tmp_path, peers, start=(), **options):
        self.peers = peers
        self.start = start
        self.calls = []
        self.path = tmp_path / "crawl.sqlite"
        self.context = FakeContext("application.crawler", "")
        self.context.provide(INodeControl, self)
        self.context.provide(IAddressBook, self)
        self.options = {"network": "n", "database": self.path, "netgroup_pause": 0, **options}
        self.crawler = self.made()

    def made(self):
        crawler = Crawler(CrawlerConfig(**self.options), self.context)
        result_of(crawler.start())
        return crawler

    def sample(self, maximum, percent=100):
        return [FoundAddress(PeerAddress.parse(text)) for text in self.start]

    def visit(self, network, address, peers=0, wait=30.0):
        text = str(address)
        self.calls.append((self.context.reactor.seconds(), text))
        known = self.peers.get(text)
        if known is None:
            return fail(P2PFrameError(f"{text}: refused"))
        if callable(known):
            return known()
        found = tuple(FoundAddress(PeerAddress.parse(one)) for one in known)
        return succeed(Visit(address, agent="/a:1/", version=7, id=f"id of {text}", round_trip=0.1, peers=found))

    def run(self, seconds, step=0.5):
        for _ in range(int(seconds / step)):
            self.context.reactor.advance(step)

    def rows(self, query):
        with sqlite3.connect(self.path) as database:
            found = database.execute(query).fetchall()
        database.close()
        return found


def chain(count):
    """Each knows the next two."""
    names = [f"{11 + n % 200}.{n // 200}.1.1:8333" for n in range(count)]
    return names, {name: names[at + 1 : at + 3] for at, name in enumerate(names)}


def test_it_finds_everybody_and_writes_down_who_they_are(tmp_path):
    names, peers = chain(50)
    world = World(tmp_path, peers, names[:1], rate=50)
    world.run(300)
    assert {row[0] for row in world.rows("SELECT address FROM nodes WHERE last_answer IS NOT NULL")} == set(names)
    assert world.rows("SELECT DISTINCT agent, version, round_trip FROM nodes") == [("/a:1/", 7, 0.1)]
    assert len(world.calls) == 50, "nobody is called on twice within `revisit`"
    result_of(world.crawler.stop())


def test_it_goes_no_faster_than_its_rate_and_one_netgroup_slower_still(tmp_path):
    names, peers = chain(200)
    world = World(tmp_path, peers, names[:100], rate=5, concurrency=100)
    world.run(30)
    assert 100 <= len(world.calls) <= 160
    group = [f"11.0.0.{n}:8333" for n in range(1, 100)]
    (tmp_path / "two").mkdir()
    world = World(tmp_path / "two", {}, group, rate=50, netgroup_pause="10s")
    world.run(60)
    assert 4 <= len(world.calls) <= 7


def test_no_more_are_under_way_than_it_may_and_a_peer_that_hangs_holds_up_nobody(tmp_path):
    names = [f"{n}.1.1.1:8333" for n in range(11, 61)]
    world = World(tmp_path, dict.fromkeys(names, Deferred), names, rate=100, concurrency=3)
    world.run(60)
    assert len(world.calls) == 3
    world.crawler.stop()


def test_who_answered_is_called_on_again_later_and_who_did_not_later_and_later(tmp_path):
    world = World(tmp_path, {"11.1.1.1:1": []}, ["11.1.1.1:1", "12.1.1.1:1"], revisit="1h", retry="1h", flush="1min")
    world.run(12 * HOUR, step=20)
    good = [when for when, who in world.calls if who == "11.1.1.1:1"]
    bad = [when for when, who in world.calls if who == "12.1.1.1:1"]
    assert 10 <= len(good) <= 13
    assert len(bad) <= 5
    gaps = [after - before for before, after in pairwise(bad)]
    assert gaps == sorted(gaps)
    assert world.rows("SELECT over FROM sessions") == [(0,)]


def test_who_asks_to_be_left_alone_is(tmp_path):
    names, peers = chain(30)
    world = World(tmp_path, peers, names, rate=50, avoid=["12.0.1.0/24", "13.0.1.1"])
    world.run(60)
    called = {who for _, who in world.calls}
    assert called == set(names) - {"12.0.1.1:8333", "13.0.1.1:8333"}
    assert world.context.metrics.value("crawler_left_out_total", "avoid") >= 2


def test_a_liar_fills_neither_the_answer_nor_the_table(tmp_path):
    lies = [f"{11 + n // 250}.1.{n % 250}.1:8333" for n in range(5000)]
    world = World(tmp_path, {"99.1.1.1:1": lies}, ["99.1.1.1:1"], rate=1, nodes=200, ask=300)
    world.run(30)
    assert world.rows("SELECT count(*) FROM nodes") == [(200,)]
    assert world.context.metrics.value("crawler_left_out_total", "nodes") >= 100
    assert world.rows("SELECT told FROM visits WHERE answered") == [(300,)]


def test_it_ends_after_so_many_visits(tmp_path):
    names, peers = chain(50)
    world = World(tmp_path, peers, names, rate=50, visits=7)
    world.run(120)
    assert len(world.calls) == 7


def test_it_goes_on_where_it_was_after_a_restart(tmp_path):
    names, peers = chain(20)
    world = World(tmp_path, peers, names[:1], rate=50)
    world.run(12)
    result_of(world.crawler.stop())
    before = len(world.calls)
    world.start = ()
    world.crawler = world.made()
    world.run(8 * HOUR, step=20)
    assert before < 20
    assert {who for _, who in world.calls} == set(names)


def test_a_visit_that_was_not_made_is_no_failure(tmp_path):
    world = World(tmp_path, {"11.1.1.1:1": lambda: fail(VisitRefused("busy"))}, ["11.1.1.1:1"])
    world.run(30)
    assert world.rows("SELECT count(*) FROM visits") == [(0,)]


def test_a_file_of_something_else_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "crawl.sqlite"
    path.write_bytes(b"something else altogether, and longer than a header" * 10)
    with pytest.raises(P2PFrameError, match="name another `database`"):
        World(tmp_path, {})
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(P2PFrameError, match="its version is 9"):
        World(tmp_path, {})


def test_a_database_that_can_not_be_written_lets_the_crawl_rest_and_loses_nothing(tmp_path, monkeypatch):
    names, peers = chain(20)
    world = World(tmp_path, peers, names[:1], rate=50)
    world.run(7)
    asked = len(world.calls)

    def full(*_):
        raise P2PFrameError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("plugins.crawler.store", full)
        world.run(200)
        assert len(world.calls) <= asked + 2
    world.run(200)
    assert world.rows("SELECT count(*) FROM visits")[0][0] == len(world.calls) == 20


NODE = """
version: 1
node: {{data_dir: ./data-{at}, plugin_path: [{plugins}]}}
storage: {{plugin: memory}}
{more}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["{at}:18444"]}}]
    topology: {{plugin: random, outbound: {outbound}}}
    discovery: [{{plugin: static, peers: [{known}]}}]
"""


def test_a_whole_network_in_the_simulator(simulation, tmp_path):
    """Twelve nodes that tell of a fifth of those they know, the same ones for a day: the crawler knows one."""
    plugins = Path(__file__).parents[2] / "plugins"
    hosts = [f"203.0.{n}.1" for n in range(12)]
    for at, host in enumerate(hosts):
        known = f'"{hosts[(at + 1) % 12]}:18444"'
        simulation.start(NODE.format(at=host, plugins=plugins, more="", outbound=2, known=known), host)
    for at, host in enumerate(hosts):
        book = simulation.hosts[host].node.networks["bitcoin"].book
        book.add([FoundAddress(PeerAddress(hosts[(at + step) % 12], 18444), 9) for step in range(1, 12)], "test")
    path = tmp_path / "crawl.sqlite"
    options = f"network: bitcoin, database: {path}, rate: 10, retry: 60s, revisit: 5min"
    more = f"applications: [{{plugin: crawler, {options}}}]"
    ours = NODE.format(at="198.51.100.1", plugins=plugins, more=more, outbound=1, known=f'"{hosts[0]}:18444"')
    host = simulation.start(ours, "198.51.100.1")
    host.node.networks["bitcoin"].book.add([FoundAddress(PeerAddress(hosts[3], 18444), 9)], "test")
    simulation.run(400)
    found = read(path)
    assert found.reachable >= 8
    assert found.agents[0].name.startswith("/p2pframe")


# --- the report ---


@pytest.fixture
def crawled(tmp_path):
    names, peers = chain(30)
    peers[names[4]] = lambda: succeed(
        Visit(PeerAddress.parse(names[4]), "<script>alert(1)</script>\x1b[31m[red]", version=8, id="x", round_trip=1.0)
    )
    world = World(tmp_path, peers, [*names, "99.1.1.1:1"], rate=50, revisit="30min", retry="30min", flush="30s")
    world.run(60)
    world.run(4 * HOUR, step=20)
    del peers[names[0]]
    world.run(2 * HOUR, step=20)
    result_of(world.crawler.stop())
    return world.path


def test_the_report_says_what_was_found(crawled):
    found = read(crawled)
    assert (found.known, found.reachable, found.answering) == (31, 30, 29)
    assert found.sessions == 30
    assert found.over == 1
    assert found.half == 15
    assert found.agents[0].name == "/a:1/"
    assert found.agents[0].count == 29
    assert found.reasons[0].name == "refused"
    assert found.round_trips["p50"] == 0.1
    assert found.growth[-1][1:] == (31, 30)
    assert read(crawled, since=HOUR).began == found.ended - HOUR


def test_the_command_prints_tables_json_and_a_page_and_nobody_acts_on_the_terminal(crawled, tmp_path):
    page = tmp_path / "crawl.html"
    done = CliRunner().invoke(main, ["crawl", "report", str(crawled), "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert "\x1b[31m" not in done.output
    assert "that have answered" in done.output
    text = page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 3
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    told = CliRunner().invoke(main, ["crawl", "report", str(crawled), "--json", "--since", "1h"])
    assert json.loads(told.stdout)["known"] >= 29


def test_what_is_no_crawl_is_said(tmp_path):
    (tmp_path / "x").write_text("x" * 1000)
    for name, why in (("none", "no such file"), ("x", "is it the database of a crawler")):
        done = CliRunner().invoke(main, ["crawl", "report", str(tmp_path / name)])
        assert done.exit_code == 1
        assert why in done.output
    World(tmp_path, {})
    with pytest.raises(CrawlError, match="no visit"):
        read(tmp_path / "crawl.sqlite")


def test_sessions_that_are_not_over_count_for_as_long_as_they_were_seen():
    assert survival([(1, 1), (2, 1), (3, 1), (4, 1)]) == [(0.0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25), (4, 0.0)]
    assert survival([(1, 0), (2, 1)]) == [(0.0, 1.0), (2, 0.0)]
    assert survival([(1, 1), (5, 0), (5, 0), (5, 0)]) == [(0.0, 1.0), (1, 0.75)]
    assert survival([]) == [(0.0, 1.0)]


DHT = """
version: 1
node: {{data_dir: ./data-{at}, plugin_path: [{plugins}]}}
storage: {{plugin: memory}}
{more}
networks:
  mainline:
    protocol: {{plugin: mainline, public: false}}
    transports: [{{plugin: udp, listen: "{at}:6881"}}]
    discovery: [{{plugin: static, peers: ["10.0.0.1:6881"]}}]
"""


def test_a_whole_dht_in_the_simulator(simulation, tmp_path):
    """Thirty nodes of the DHT, each asked once, for others near a key drawn anew: nearly all are found."""
    plugins = Path(__file__).parents[2] / "plugins"
    for number in range(1, 31):
        at = f"10.0.0.{number}"
        simulation.start(DHT.format(at=at, plugins=plugins, more=""), at)
    simulation.run(60)
    path = tmp_path / "crawl.sqlite"
    options = f"network: mainline, database: {path}, rate: 10, netgroup_pause: 0"
    more = f"applications: [{{plugin: crawler, {options}}}]"
    simulation.start(DHT.format(at="10.1.0.1", plugins=plugins, more=more), "10.1.0.1")
    simulation.run(120)
    found = read(path)
    assert found.reachable >= 26
    assert found.agents[0].name == "p2 0.1"
    assert found.changing == found.shared == 0
