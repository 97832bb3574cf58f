"""DNS from both ends: a server that lies to our `dns-seed` discovery, and a client that plagues our `dns-seed-server`.

All in the simulator, with whole nodes: a bound on time is one of virtual time, and one of the processor's.
"""

from __future__ import annotations

import ipaddress
import random
import struct
import tracemalloc

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.names import dns

from p2pframe.applications.dns_seed_server import zone as zones
from p2pframe.discovery.dns_seed.message import parse
from tests.applications.dns_seed_server.test_wire_and_zone import World, entry, question, read
from tests.core.conftest import cluster  # noqa: F401 - a fixture
from tests.work import Work

NODE, FRIEND, HOSTILE = "192.0.2.1", "198.51.100.7", "203.0.113.53"
SEED = "s.example"
ASKING = f'dns-seed, seeds: [{SEED}], servers: ["{HOSTILE}:53"], port: 7777, wait: 0, tries: 1'
POINT = b"\xc0\x0c"
"""A pointer to the name in the question."""


def record(type, data, owner=POINT):
    return owner + struct.pack("!HHIH", type, dns.IN, 60, len(data)) + data


def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def reply(asked, answers=(), additional=(), claimed=None, flags=0x8180):
    """An answer to a question's bytes."""
    count = len(answers) if claimed is None else claimed
    head = asked[:2] + struct.pack("!5H", flags, 1, count, 0, len(additional))
    return head + asked[12:] + b"".join(answers) + b"".join(additional)


def framed(data):
    return len(data).to_bytes(2, "big") + data


class Liar:
    """A DNS server: `udp` and `tcp` take a question and give what is sent back, or None for silence.

    Over UDP it says "truncated" unless told otherwise. `tcp` is sent as it is, and then the connection is closed.
    """

    def __init__(self, net, udp=None, tcp=None, listens=True):
        self.heard = []
        reactor = net.at(HOSTILE).reactor
        liar = self

        class Datagrams(DatagramProtocol):
            def datagramReceived(self, data, addr):
                liar.heard.append(data)
                for answer in udp(data) if udp else [reply(data, flags=0x8380)]:
                    self.transport.write(answer, addr)

        class Stream(Protocol):
            def dataReceived(self, data):
                answer = tcp(data[2:]) if tcp else None
                if answer is not None:
                    self.transport.write(answer)
                    self.transport.loseConnection()

        reactor.listenUDP(53, Datagrams())
        if listens:
            reactor.listenTCP(53, Factory.forProtocol(Stream))


class Costs:
    """What a block costs: lines that run, and memory (bytes at the peak above what there was)."""

    def __enter__(self):
        tracemalloc.start()
        self.work = Work(15_000_000)
        self.work.__enter__()
        return self

    def __exit__(self, *error):
        self.work.__exit__(*error)
        self.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def lookup(cluster, options=", ipv6: false", **how):  # noqa: F811 - the fixture
    """A node that asks the liar: how its discovery did, the node, and the liar. It must live on, and cheaply."""
    liar = Liar(cluster.net, **how)
    with Costs() as costs:
        node = cluster.start(NODE, extra=f"    discovery: [{{plugin: {ASKING}{options}}}]")
        cluster.net.run(25)
    assert costs.memory < 30_000_000, "the limits of one answer hold"
    friend = cluster.start(FRIEND, peers=(NODE,))
    cluster.net.run(3)
    assert [one.state for one in friend.networks["chat"].sessions.values()] == ["open"], "the node goes on"
    return node.networks["chat"].finder.status()["dns-seed"], node, liar


def many(count):
    return [record(dns.A, ipaddress.ip_address(0x0B000001 + 0x10000 * n).packed) for n in range(count)]


def test_ten_thousand_records_bring_what_one_seed_may_bring(cluster):  # noqa: F811
    """A message over TCP holds four thousand of the ten that it says it has."""
    status, node, _ = lookup(cluster, tcp=lambda q: framed(reply(q, many(3000), claimed=10_000)))
    assert status.found == 32 and status.error == ""
    assert node.networks["chat"].book.size <= 33


def srv(target, port=80, owner=POINT):
    return record(dns.SRV, struct.pack("!3H", 1, 1, port) + target, owner)


LONG = b"\x01a" * 26_000 + b"\0"


def long_name(asked):
    """A name of 26,000 labels in a record of an unknown type, and 950 records whose owner it is."""
    holder = record(65280, LONG)
    at = len(asked) + len(holder) - len(LONG)
    return reply(asked, [holder] + [record(65280, b"", struct.pack("!H", 0xC000 | at))] * 950)


def chain(asked):
    """Each pointer of thousands leads to the one before, and a thousand names begin at the last."""
    first = len(asked) + 12
    pointers = POINT + b"".join(struct.pack("!H", 0xC000 | (first + 2 * n)) for n in range(4000))
    last = struct.pack("!H", 0xC000 | (first + 8000))
    return reply(asked, [record(65280, pointers)] + [record(dns.A, bytes([11, 0, 0, 1]), last)] * 3000)


def in_circles(asked):
    """Pointers of which each leads to the other."""
    at = len(asked)
    there, back = struct.pack("!H", 0xC000 | (at + 2)), struct.pack("!H", 0xC000 | at)
    return reply(asked, [there + back + bytes(10)])


A, B = name("a.example"), name("b.example")
CIRCLE = [record(dns.CNAME, A), record(dns.CNAME, B, A), record(dns.CNAME, POINT, B)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda q: framed(long_name(q)), "garbage over TCP"),
        (lambda q: framed(chain(q)), "garbage over TCP"),
        (lambda q: framed(in_circles(q)), "garbage over TCP"),
        (lambda q: framed(reply(q, [record(dns.A, bytes(4), struct.pack("!H", 0xC000 | len(q)))])), "garbage over TCP"),
        (lambda q: framed(b"\xff" * 65_535), "garbage over TCP"),
        (lambda q: framed(q), "garbage over TCP"),
        (lambda q: framed(reply(q, flags=0x8380)), "truncated over TCP too"),
        (lambda q: framed(reply(q, many(9)))[:60], "closed before the answer"),
        (lambda q: b"", "closed before the answer"),
        (lambda q: None, "no answer in time"),
        (lambda q: framed(reply(q, [record(dns.A, bytes([11, 0, 0, 1]), name("bank.example"))] * 1000)), "about what"),
        (lambda q: framed(reply(q, [record(65280, b"x" * 60_000, name("bank.example"))])), "about what was asked"),
        (lambda q: framed(reply(q, CIRCLE)), "lead in a circle"),
        (lambda q: framed(reply(q, CIRCLE * 500)), "lead in a circle"),
        (lambda q: framed(reply(q, [record(dns.CNAME, POINT)])), "lead in a circle"),
        (lambda q: framed(reply(q, flags=0x8185)), "code 5"),
    ],
    ids=[
        "a long name and pointers to it", "a chain of pointers", "pointers in a circle", "a pointer to itself", "ones",
        "the question", "truncated", "cut off", "nothing", "silence", "another name's", "another name's, unknown",
        "aliases in a circle", "many of them", "an alias of itself", "refused",
    ],
)  # fmt: skip
def test_what_a_hostile_server_says_over_tcp_is_an_error_in_the_status(cluster, answer, error):  # noqa: F811
    status, _, _ = lookup(cluster, tcp=answer)
    assert status.found == 0 and f"DNS seed {SEED} A: " in status.error and error in status.error


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (lambda q: [], "no answer in time"),
        (lambda q: [in_circles(q), long_name(q)[:4096], b"", b"\0" * 12, q, q[:2]], "no answer in time"),
        (lambda q: [bytes([q[0] ^ 1]) + reply(q, many(1))[1:]], "no answer in time"),
        (lambda q: [reply(q[:12] + name("bank.example") + q[-4:], many(1))], "no answer in time"),
        (lambda q: [random.Random(n).randbytes(512) for n in range(500)], "no answer in time"),
        (lambda q: [reply(q, many(2), flags=0x8380)], "refused"),
    ],
    ids=["silence", "garbage", "wrong id", "another question's", "a flood", "truncated, without TCP"],
)
def test_what_a_hostile_server_says_over_udp_is_an_error_in_the_status(cluster, answers, error):  # noqa: F811
    status, node, _ = lookup(cluster, udp=answers, listens=False)
    assert status.found == 0 and error in status.error
    heard = node.metrics.snapshot()["p2pframe_dns_seed_ignored_total"]
    assert bool(sum(heard.values())) == (error != "refused" and answers(b"\0" * 30) != [])


SERVICE = ', ipv4: false, service: "_p._tcp", timeout: 15'
TEXTS = ", ipv4: false, dnsaddr: tcp, timeout: 15"


def of_type(type, answers, additional=()):
    """An answer to questions of one type; others find nothing."""

    def answer(asked):
        return framed(reply(asked, answers, additional) if parse_type(asked) == type else reply(asked))

    return answer


def parse_type(asked):
    return struct.unpack("!H", asked[-4:-2])[0]


def text(*said):
    return record(dns.TXT, b"".join(bytes([len(part)]) + part for part in said))


def test_services_that_all_point_at_a_name_with_thousands_of_addresses_are_no_product(cluster):  # noqa: F811
    target = name("a")
    added = [record(dns.AAAA, (0x2600 << 112 | n).to_bytes(16, "big"), target) for n in range(1000)]
    ports = [srv(target, port) for port in range(1, 1001)]
    status, node, liar = lookup(cluster, SERVICE, tcp=of_type(dns.SRV, ports, added))
    assert status.found == 32 and len(liar.heard) == 2
    left = node.metrics.snapshot()["p2pframe_dns_seed_left_out_total"]
    assert sum(left.values()) == 999, "a thousand addresses are enough"


@pytest.mark.parametrize(
    ("options", "answer", "error"),
    [
        (SERVICE, of_type(dns.SRV, [srv(name(f"_p._tcp.{SEED}"))]), "SRV: its records lead to nothing of use: no answ"),
        (SERVICE, of_type(dns.SRV, [srv(POINT, port) for port in range(1, 2000)]), "lead to nothing of use: asked bef"),
        (SERVICE, of_type(dns.SRV, [srv(name(f"n{n}"), n) for n in range(1, 1500)]), "use: no answer, too many look-"),
        (TEXTS, of_type(dns.TXT, [text(b"dnsaddr=/dnsaddr/" + SEED.encode())]), "nothing of use: asked before"),
        (TEXTS, of_type(dns.TXT, [text(b"dnsaddr=/dnsaddr/n%d.example" % n) for n in range(999)]), "too many look-ups"),
        (TEXTS, of_type(dns.TXT, [text(b"dnsaddr=/ip4/11.0.0.1", *[b"/" * 255] * 240)]), "of use: unusable"),
        (TEXTS, of_type(dns.TXT, [record(dns.TXT, b"\xffdnsaddr=/ip4/11.0.0.1/tcp/1")] * 1000), ""),
        (TEXTS, of_type(dns.TXT, [text(b"dnsaddr=" + b"\xff" * 200)] * 250), ""),
    ],
    ids=[
        "a service that is itself", "two thousand of them", "services of nowhere", "a text that is itself",
        "texts of texts", "a text of 60 KB", "texts longer than their records", "no text",
    ],
)  # fmt: skip
def test_services_and_texts_that_lead_nowhere_end_and_say_so(cluster, options, answer, error):  # noqa: F811
    def over_tcp(asked):
        # Whatever a service leads to has no address.
        said = answer(asked)
        return said if parse_type(asked) in (dns.SRV, dns.TXT) else framed(reply(asked, flags=0x8183))

    status, _, liar = lookup(cluster, options, tcp=over_tcp)
    assert status.found == 0 and error in status.error and status.error
    assert len(liar.heard) <= 40, "look-ups of one walk are bounded"


def test_names_of_any_form_are_read_or_refused():
    rng = random.Random(5)
    asked = question(SEED)
    for _ in range(3000):
        data = bytearray(reply(asked, [*many(3), *CIRCLE, srv(A), text(b"x")], [record(dns.A, bytes(4), A)]))
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] = rng.choice([0, 0xC0, 0xFF, 12, rng.randrange(256)])
        try:
            parse(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
        except ValueError:
            continue


# --- the other end: our seed server and clients that plague it ---

ZONE = """applications:
  - {plugin: dns-seed-server, network: chat, zone: seed.example, nameserver: ns.example, contact: me@example,
     listen: ["192.0.2.1:53"], public: false, service: _p._tcp}
"""
GOOD = question("seed.example", dns.SOA)


class Plague:
    """A node with a seed server, and hosts that write to it."""

    def __init__(self, cluster):  # noqa: F811 - the fixture
        self.net = cluster.net
        self.node = cluster.start(NODE, extra=ZONE)
        self.opened = []

    def udp(self, *datagrams, source="203.0.113.9"):
        """What comes back for these datagrams."""
        came = []

        class Client(DatagramProtocol):
            def datagramReceived(self, data, addr):
                came.append(data)

        client = Client()
        port = self.net.at(source).reactor.listenUDP(0, client)
        for data in datagrams:
            client.transport.write(data, (NODE, 53))
        self.net.run(0.5)
        port.stopListening()
        return came

    def tcp(self, *parts, source="203.0.113.9"):
        """A connection on which something is said, if anything."""

        class Client(Protocol):
            came, lost = b"", False

            def dataReceived(self, data):
                self.came += data

            def connectionLost(self, reason=None):
                self.lost = True

        connecting = TCP4ClientEndpoint(self.net.at(source).reactor, NODE, 53).connect(Factory.forProtocol(Client))
        client = self.net.wait(connecting)
        for part in parts:
            client.transport.write(part)
        self.net.run(0.5)
        return client

    def count(self, *labels):
        values = self.node.metrics.snapshot()["p2pframe_dns_seed_server_queries_total"]
        return sum(value for key, value in values.items() if key[1:] == labels or key == labels)

    def answers_others(self):
        """Over UDP and TCP, a friend hears what it asks for."""
        (over_udp,) = self.udp(GOOD, source=FRIEND)
        client = self.tcp(framed(GOOD), source=FRIEND)
        client.transport.loseConnection()
        self.net.run(0.5)
        return read(over_udp).answers and read(client.came[2:]).answers


@pytest.fixture
def plague(cluster):  # noqa: F811
    return Plague(cluster)


HEAD = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
NAME = name("seed.example")
JUNK = {
    "nothing": b"",
    "half a header": GOOD[:7],
    "a header": HEAD,
    "a header of answers": struct.pack("!6H", 7, 0x0100, 0, 65_535, 65_535, 65_535),
    "many questions": struct.pack("!6H", 7, 0x0100, 200, 0, 0, 0) + (NAME + b"\0\1\0\1") * 200,
    "it says so": struct.pack("!6H", 7, 0x0100, 65_535, 0, 0, 0) + NAME + b"\0\1\0\1",
    "a pointer to itself": HEAD + POINT + b"\0\1\0\1",
    "a pointer forth": HEAD + b"\xc0\x0e\xc0\x0c\0\0\1\0\1",
    "a long name": HEAD + b"\x01a" * 1900 + b"\0\0\1\0\1",
    "a label too long": HEAD + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "cut off": GOOD[:-3],
    "more behind it": GOOD + b"x" * 3000,
    "an answer": struct.pack("!6H", 7, 0x8180, 1, 0, 0, 0) + NAME + b"\0\1\0\1",
    "EDNS twice": struct.pack("!6H", 7, 0, 1, 0, 0, 2) + NAME + b"\0\1\0\1" + (b"\0\0\x29\xff\xff" + bytes(6)) * 2,
    "ANY": question("seed.example", dns.ALL_RECORDS),
    "ANY of service bits": question("xffffffffffffffff.seed.example", dns.ALL_RECORDS),
    "AXFR": question("seed.example", dns.AXFR),
    "IXFR": question("seed.example", dns.IXFR),
    "CHAOS": question("version.bind", dns.TXT, dns.CH),
    "update": bytes([GOOD[0], GOOD[1], 5 << 3, *GOOD[3:]]),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_is_answered_shortly_or_not_at_all_over_either(plague, junk):
    came = plague.udp(junk)
    assert len(came) <= 1 and all(len(one) <= len(junk) + 100 and one[:2] == junk[:2] for one in came)
    client = plague.tcp(framed(junk))
    assert len(client.came) <= 2 + len(junk) + 100
    assert client.lost or client.came or not junk
    assert plague.answers_others()


def test_random_bytes_bring_no_more_than_they_cost(plague):
    rng = random.Random(3)
    sent = came = 0
    for number in range(40):
        junk = [rng.randbytes(rng.randrange(300)) for _ in range(50)]
        sent += sum(map(len, junk))
        came += sum(map(len, plague.udp(*junk, source=f"203.0.{number}.9")))
    assert came <= sent
    assert plague.answers_others()


def test_frames_of_64_kilobytes_are_hung_up_on_at_once(plague):
    with Costs() as costs:
        for _ in range(20):
            client = plague.tcp(framed(GOOD + bytes(65_535 - len(GOOD))))
            assert client.lost and client.came == b""
    assert plague.count("tcp", "too long") == 20 and costs.memory < 10_000_000
    assert plague.answers_others()


def test_who_connects_and_says_nothing_or_little_holds_a_place_for_ten_seconds(plague):
    little = [b"", b"\0", framed(GOOD)[:-1]]
    for number in range(100):
        plague.opened.append(plague.tcp(little[number % 3], source=f"203.0.113.{number}"))
    assert sum(not one.lost for one in plague.opened) <= 8, "of one network"
    assert plague.answers_others(), "who comes from elsewhere finds a place"
    for one in plague.opened[-8:]:
        one.transport.write(b"\0")
    plague.net.run(11)
    assert all(one.lost for one in plague.opened) and plague.count("tcp", "timeout") >= 8
    assert plague.count("tcp", "refused") > 10
    assert plague.answers_others()


def test_many_networks_that_hold_every_place_leave_udp_alone_and_lose_them(plague):
    reactors = [plague.net.at(f"203.0.{number}.9").reactor for number in range(30)]
    silent = Factory.forProtocol(Protocol)
    for reactor in reactors:
        for _ in range(5):
            TCP4ClientEndpoint(reactor, NODE, 53).connect(silent).addErrback(lambda _: None)
    plague.net.run(1)
    assert plague.count("tcp", "refused") == 150 - 64
    (answer,) = plague.udp(GOOD, source=FRIEND)
    assert read(answer).answers
    plague.net.run(11)
    assert plague.answers_others()


def test_who_asks_without_end_on_one_connection_is_hung_up_on(plague):
    client = plague.tcp(framed(GOOD) * 1000)
    assert client.lost and plague.count("tcp", "answered") == 32 and plague.count("tcp", "too many queries") == 1
    assert plague.answers_others()


def test_names_of_ever_other_service_bits_are_no_way_to_keep_it_busy(monkeypatch):
    drawn = []
    spread = zones.spread
    monkeypatch.setattr(zones, "spread", lambda *what: drawn.append(1) or spread(*what))
    world = World(proven=[entry(f"11.{n % 250}.{n // 250}.1", services=[1, 9, 0x409][n % 3]) for n in range(20_000)])
    for bits in range(5000):
        answer = world.tcp(f"x{bits:x}.seed.example")
        assert bool(answer.answers) == any(bits & has == bits for has in (1, 9, 0x409))
    assert len(drawn) == 8, "each set that there is, once"
