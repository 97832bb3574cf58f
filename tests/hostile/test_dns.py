"""DNS from both ends: a server that lies to our `dns-seed` discovery, and a client that plagues our `dns-seed-server`.

All in the simulator, with whole nodes: a bound on time is one of virtual time, and one of the processor's.
"""

from __future__ import annotations

import ipaddress
import random
import struct
import time
import tracemalloc

import pytest
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.names import dns

from p2pframe.discovery.dns_seed.message import parse
from tests.applications.dns_seed_server.test_wire_and_zone import question
from tests.core.conftest import cluster  # noqa: F401 - a fixture

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
    """What a block costs the processor (in seconds) and in memory (bytes at the peak above what there was)."""

    def __enter__(self):
        tracemalloc.start()
        self.started = time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds = time.process_time() - self.started
        self.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def lookup(cluster, options=", ipv6: false", **how):  # noqa: F811 - the fixture
    """A node that asks the liar: how its discovery did, the node, and the liar. It must live on, and cheaply."""
    liar = Liar(cluster.net, **how)
    with Costs() as costs:
        node = cluster.start(NODE, extra=f"    discovery: [{{plugin: {ASKING}{options}}}]")
        cluster.net.run(25)
    assert costs.seconds < 6 and costs.memory < 30_000_000, "the limits of one answer hold"
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
