"""The discovery `http`: a list that is signed, of today and not older than the last; over the simulator's network."""

import json
from base64 import b64encode

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from p2pframe.cli import main
from p2pframe.discovery.http import HttpConfig, HttpDiscovery, ListError, read_list
from p2pframe.errors import PluginError
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.context import FakeContext

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = SECRET.public_key().public_bytes_raw()
PEERS = ["192.0.2.1:8333", "[2001:db8::1]:5"]
GOOD = {"serial": 7, "expires": "2100-01-01T00:00:00Z", "network": "net", "peers": PEERS}
MOVED = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"


def signed(said=GOOD, secret=SECRET, **changes):
    body = said if isinstance(said, bytes) else json.dumps({**said, **changes}).encode()
    return b64encode(secret.sign(body)) + b"\n" + body


class Served(Protocol):
    """A server of one answer: bytes, or a function that is called with the transport."""

    answer = b""

    def dataReceived(self, data):
        self.factory.asked.append(data)
        answer = self.factory.answer
        if callable(answer):
            answer(self.transport)
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


class World:
    """A host with the plugin and one that serves."""

    def __init__(self, answer, **options):
        self.simulation = Simulation(seed=1)
        server = self.simulation.host("203.0.113.5", name="server").boot()
        ours = self.simulation.host("203.0.113.9", name="ours").boot()
        self.factory = Factory.forProtocol(Served)
        self.factory.asked = []
        self.factory.answer = answer
        server.reactor.listenTCP(80, self.factory)
        self.context = FakeContext("discovery.http", reactor=ours.reactor)
        self.context.network = "net"
        self.plugin = HttpDiscovery(HttpConfig(url="http://203.0.113.5/list", key=KEY.hex(), **options), self.context)

    def found(self, limit=100, seconds=60):
        finding = self.plugin.find(limit)
        assert isinstance(finding, Deferred)
        return sorted(str(one.address) for one in self.simulation.wait(finding, seconds))

    def refused(self):
        with pytest.raises(ListError) as caught:
            self.found()
        return str(caught.value)


def test_a_good_list_is_taken():
    world = World(signed())
    assert world.found() == ["192.0.2.1:8333", "[2001:db8::1]:5"]
    assert world.factory.asked[0].startswith(b"GET /list HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "no signature"),
        (b"\n{}", "no signature"),
        (signed(secret=Ed25519PrivateKey.generate()), "not by the key"),
        (signed()[:-1], "not by the key"),
        (signed(b"[" * 100_000), "no JSON"),
        (signed(b"[]"), "no JSON object"),
        (signed(serial=-1), "`serial`"),
        (signed(serial=True), "`serial`"),
        (signed(serial=10**40), "`serial`"),
        (signed(expires="tomorrow"), "`expires`"),
        (signed(expires="2100-01-01T00:00:00"), "`expires`"),
        (signed(expires="1970-01-02T00:00:00Z"), "holds newer ones back"),
        (signed(network="another"), "for the network 'another'"),
        (signed(peers="192.0.2.1:8333"), "`peers`"),
        (signed(peers=[1]), "`peers`"),
        (b"x" * 1_000_001, "larger than 1000000 bytes"),
        (lambda to: to.write(MOVED), "says 302"),
        (lambda to: to.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx") or to.loseConnection(), "in the middle"),
        (lambda to: to.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), "did not come within 20 s"),
        (lambda to: None, "did not come within 20 s"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_list_is_said(answer, why):
    world = World(answer)
    said = world.refused()
    assert why in said
    assert said.startswith("http://203.0.113.5/list: ")
    assert world.context.metrics.value("http_lists_total", "refused") == 1


def test_a_list_that_never_ends_is_cut_off_by_its_size():
    def flood(transport):
        transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(40):
            transport.write(b"x" * 50_000)

    assert "larger than 1000000 bytes" in World(flood).refused()


def test_the_serial_never_goes_back():
    world = World(signed(serial=8))
    assert world.found()
    world.factory.answer = signed(serial=7)
    assert "its serial is 7, and 8 has been seen" in world.refused()
    world.factory.answer = signed(serial=8)
    assert world.found()


def test_bad_addresses_and_too_many_are_left_out_and_counted():
    world = World(signed(peers=["a b:1", "192.0.2.1:99999"] + [f"192.0.2.{n}:1" for n in range(200)]))
    assert len(world.found(50)) == 50
    assert world.context.metrics.value("http_left_total", "no addresses") == 2
    assert world.context.metrics.value("http_left_total", "too many") == 150


@given(st.binary(max_size=300))
def test_fuzz_any_bytes_are_a_list_or_a_list_error(data):
    with pytest.raises(ListError):
        read_list(data, KEY)


PLAIN = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_fuzz_signed_nonsense_is_a_list_error_too(said):
    with pytest.raises(ListError):
        read_list(signed(json.dumps(said).encode()), KEY)


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "https://user@host/", "peers.txt", "http://h\u00f6st/"])
def test_a_url_is_one_of_http_or_https(url):
    with pytest.raises(ValueError, match="write http://host/path"):
        HttpConfig(url=url, key=KEY.hex())


def test_a_wrong_ca_is_an_error_of_the_config(tmp_path):
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(PluginError, match="has no certificate"):
        HttpDiscovery(HttpConfig(url="https://h/", key=KEY.hex(), ca=tmp_path / "ca"), FakeContext("discovery.http"))


def test_what_the_command_signs_is_taken(tmp_path):
    peers, key = tmp_path / "peers.txt", tmp_path / "key"
    peers.write_text("192.0.2.1:8333 # one\n\nseed.example:5\n")
    command = ["sign-list", str(peers), "--key", str(key), "--network", "net", "--serial", "3"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    public = bytes.fromhex(done.stderr.split("public key: ")[1].strip())
    assert key.stat().st_mode & 0o777 == 0o600
    listed = read_list(done.stdout.encode(), public)
    assert (listed.serial, listed.network, listed.peers) == (3, "net", ["192.0.2.1:8333", "seed.example:5"])
    again = CliRunner().invoke(main, command)
    assert again.stderr == done.stderr, "the key stays"
    peers.write_text("nonsense\n")
    assert "line 1: 'nonsense' has no port" in CliRunner().invoke(main, command).stderr
