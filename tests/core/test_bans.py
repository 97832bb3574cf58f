"""The ban list: what it covers, how long, what survives a restart, and what an attacker can't do to it."""


import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, fail

from p2pframe.config.settings import NodeSettings
from p2pframe.core.bans import BanList
from p2pframe.errors import StorageError, StorageFull
from p2pframe.model import Action, PeerAddress, PeerId
from p2pframe.testing.context import FakeContext, FakeMetrics
from tests.work import Work


class World:
    def __init__(self, namespace=None, **settings):
        self.now = 1_000_000.0
        self.metrics = FakeMetrics()
        self.context = FakeContext("core.bans")
        self.namespace = namespace if namespace is not None else self.context.storage
        self.settings = NodeSettings(**settings)
        self.bans = self.restart()

    def restart(self):
        self.bans = BanList(self.settings, lambda: self.now, self.metrics)
        done(self.bans.load(self.namespace))
        return self.bans

    def action(self, host, network="net", peer_id=None):
        penalty = self.bans.check(PeerAddress.of(host, 1), peer_id, network)
        return None if penalty is None else penalty.action


def done(waiting):
    results = []
    deferred = waiting if isinstance(waiting, Deferred) else ensureDeferred(waiting)
    deferred.addBoth(results.append)
    assert results, "not done yet"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def test_a_ban_covers_an_address_a_network_a_peer_id_and_a_name():
    world = World()
    for subject in ("192.0.2.7", "10.9.0.0/16", "2001:db8::/32", "id:" + "ab" * 32, "evil.onion"):
        done(world.bans.ban(subject, "node", 60.0, "operator", "asked to"))
    assert world.action("192.0.2.7") is Action.BAN
    assert world.action("192.0.2.8") is None
    assert world.action("10.9.255.1") is Action.BAN
    assert world.action("10.10.0.1") is None
    assert world.action("2001:db8:1::5") is Action.BAN
    assert world.action("192.0.2.8", peer_id=PeerId(b"\xab" * 32)) is Action.BAN
    assert world.action("evil.onion") is Action.BAN
    assert world.action("::ffff:192.0.2.7") is Action.BAN


@given(st.ip_addresses(), st.integers(0, 128), st.ip_addresses())
def test_a_network_covers_just_its_addresses(base, length, other):
    import ipaddress

    network = ipaddress.ip_network((base, min(length, base.max_prefixlen)), strict=False)
    bans = BanList(NodeSettings(), lambda: 0.0, FakeMetrics())
    bans.ban(str(network), "node", 60.0, "operator", "x")
    for candidate in (base, other):
        mapped = getattr(candidate, "ipv4_mapped", None)
        covered = candidate in network or (mapped is not None and mapped in network)
        if candidate.version == 6 and network.version == 6 and (mapped or network.network_address.ipv4_mapped):
            continue
        assert (bans.check(PeerAddress.of(str(candidate), 1), None, "net") is not None) == covered


@pytest.mark.parametrize("subject", ["192.0.2.0/33", "id:", "id:xyz", "id:" + "00" * 65, "", "a b", "10.0.0/24x"])
def test_what_is_no_subject_is_refused(subject):
    with pytest.raises(ValueError, match=r"."):
        World().bans.ban(subject, "node", 60.0, "operator", "x")


def test_scope_an_automatic_ban_holds_in_its_own_network_only():
    world = World()
    done(world.bans.ban("192.0.2.1", "net", None, "scoring.behaviour", "points", automatic=True))
    assert world.action("192.0.2.1", "net") is Action.BAN
    assert world.action("192.0.2.1", "other") is None
    with pytest.raises(ValueError, match="network"):
        world.bans.ban("192.0.2.1", "node", None, "scoring.behaviour", "points", automatic=True)
    done(world.bans.ban("192.0.2.2", "node", 60.0, "operator", "x"))
    assert world.action("192.0.2.2", "net") is world.action("192.0.2.2", "other") is Action.BAN


def test_bans_run_out_also_across_a_restart_and_leave_no_row():
    world = World()
    done(world.bans.ban("192.0.2.1", "node", 60.0, "operator", "short"))
    done(world.bans.ban("192.0.2.2", "node", 600.0, "operator", "long", "evidence"))
    world.now += 61
    assert world.action("192.0.2.1") is None
    assert world.action("192.0.2.2") is Action.BAN
    world.restart()
    assert [p.subject for p in world.bans.penalties()] == ["192.0.2.2"]
    assert world.bans.penalties()[0].evidence == "evidence"
    assert len(done(world.namespace.scan(b"ban/"))) == 1
    world.now += 600
    done(world.bans.sweep())
    assert len(world.bans) == 0
    assert done(world.namespace.scan(b"ban/")) == []


def test_an_expired_narrow_ban_does_not_hide_a_wide_one():
    world = World()
    done(world.bans.ban("192.0.2.1", "node", 10.0, "operator", "x"))
    done(world.bans.ban("192.0.2.0/24", "node", 100.0, "operator", "y"))
    world.now += 20
    assert world.action("192.0.2.1") is Action.BAN
    done(world.bans.sweep())
    assert [key for key, _ in done(world.namespace.scan(b"ban/"))] == [b"ban/node/192.0.2.0/24"]


def test_a_ban_is_acknowledged_only_when_it_is_durable():
    class Slow:
        def __init__(self):
            self.writes = []

        def write(self, puts=(), deletes=(), durable=False):
            self.writes.append((puts, deletes, durable, Deferred()))
            return self.writes[-1][3]

        def scan(self, start=b"", end=None, limit=None):
            from twisted.internet.defer import succeed

            return succeed([])

    slow = Slow()
    world = World(slow)
    acknowledged = []
    world.bans.ban("192.0.2.1", "node", 60.0, "operator", "x").addCallback(acknowledged.append)
    assert world.action("192.0.2.1") is Action.BAN
    assert acknowledged == []
    assert slow.writes[0][2] is True
    slow.writes[0][3].callback(None)
    assert acknowledged[0].subject == "192.0.2.1"


def test_a_ban_that_can_not_be_stored_says_so_and_holds_meanwhile():
    world = World()

    class Broken:
        def write(self, puts=(), deletes=(), durable=False):
            return fail(StorageError("disk"))

    world.bans._namespace = Broken()
    with pytest.raises(StorageError):
        done(world.bans.ban("192.0.2.1", "node", 60.0, "operator", "x"))
    assert world.action("192.0.2.1") is Action.BAN


def test_a_corrupt_row_is_set_aside_and_the_others_hold(_logged_errors):
    world = World()
    done(world.bans.ban("192.0.2.1", "node", 600.0, "operator", "x"))
    good = done(world.namespace.get(b"ban/node/192.0.2.1"))
    bad = {
        b"ban/node/a": b"\xff\x00", b"ban/node/b": b"{}", b"ban/node/c": b"[1]", b"ban/node/d": good,
        b"ban/node/e": b'{"v":2}', b"ban/node/f": good.replace(b"1000600.0", b'"x"'),
        b"ban/node/g": b"[" * 100_000,
    }  # fmt: skip
    done(world.namespace.write(list(bad.items())))
    world.restart()
    assert [p.subject for p in world.bans.penalties()] == ["192.0.2.1"]
    assert dict(done(world.namespace.scan(b"aside/", b"aside0"))) == {
        b"aside/" + key: value for key, value in bad.items()
    }
    assert world.metrics.value("bans_corrupt") == len(bad)


def test_lifting_takes_away_bans_and_discouragements_for_good():
    world = World()
    done(world.bans.ban("192.0.2.0/24", "node", 600.0, "operator", "x"))
    world.bans.discourage(PeerAddress.of("10.0.0.1", 1), "net", "rule", "x")
    assert done(world.bans.lift("192.0.2.0/24")) is True
    assert done(world.bans.lift("192.0.2.0/24")) is False
    assert done(world.bans.lift("10.0.0.1", "other")) is False
    assert done(world.bans.lift("10.0.0.1")) is True
    world.restart()
    assert world.bans.penalties() == []
    assert world.action("10.0.0.1") is None


def test_discouragements_are_bounded_the_oldest_goes_and_not_on_disk():
    world = World(discouraged=100)
    for number in range(150):
        world.bans.discourage(PeerAddress.of(f"10.0.0.{number}", 1), "net", "rule", "x")
    assert world.action("10.0.0.49") is None
    assert world.action("10.0.0.50") is Action.DISCOURAGE
    assert world.action("10.0.0.50", "other") is None
    assert len(world.bans.penalties()) == 100
    assert world.metrics.value("bans_turned_away", "discouragement") == 50
    world.now += 90_000
    done(world.bans.sweep())
    assert world.bans.penalties() == []
    world.restart()
    assert world.action("10.0.0.149") is None


def test_loopback_is_exempt_from_what_the_node_does_by_itself_unless_configured():
    world = World()
    assert world.bans.discourage(PeerAddress.of("127.0.0.9", 1), "net", "rule", "x") is None
    assert done(world.bans.ban("::1", "net", None, "rule", "x", automatic=True)) is None
    assert world.action("127.0.0.9") is None
    assert world.action("::1") is None
    done(world.bans.ban("127.0.0.9", "node", 60.0, "operator", "asked to"))
    assert world.action("127.0.0.9") is Action.BAN
    free = World(discourage_loopback=True)
    free.bans.discourage(PeerAddress.of("127.0.0.9", 1), "net", "rule", "x")
    assert free.action("127.0.0.9") is Action.DISCOURAGE


def test_a_full_list_drops_automatic_bans_and_never_the_operators():
    world = World(bans=10)
    for number in range(4):
        done(world.bans.ban(f"192.0.2.{number}", "node", 60.0, "operator", "x"))
    for number in range(100):
        done(world.bans.ban(f"10.0.0.{number}", "net", 1000.0 + number, "rule", "x", automatic=True))
    assert len(world.bans) == 10
    subjects = [p.subject for p in world.bans.penalties()]
    assert [s for s in subjects if s.startswith("192")] == [f"192.0.2.{n}" for n in (3, 2, 1, 0)], "the latest first"
    assert world.action("10.0.0.99") is Action.BAN
    assert len(done(world.namespace.scan(b"ban/"))) == 10
    assert world.metrics.value("bans_turned_away", "ban") == 94
    for number in range(4, 10):
        done(world.bans.ban(f"192.0.2.{number}", "node", 60.0, "operator", "x"))
    with pytest.raises(StorageFull, match=r"node\.bans"):
        done(world.bans.ban("192.0.2.99", "node", 60.0, "operator", "x"))
    with pytest.raises(StorageFull):
        done(world.bans.ban("10.0.0.1", "net", 60.0, "rule", "x", automatic=True))


def test_an_automatic_ban_never_shortens_what_the_operator_said():
    world = World()
    done(world.bans.ban("192.0.2.1", "net", 600.0, "operator", "x"))
    held = done(world.bans.ban("192.0.2.1", "net", 60.0, "rule", "y", automatic=True))
    assert held.rule == "operator"
    world.now += 100
    assert world.action("192.0.2.1") is Action.BAN


def test_renewing_a_ban_without_end_does_not_grow_the_list():
    world = World()
    for number in range(2000):
        done(world.bans.ban("192.0.2.1", "net", 60.0 + number, "rule", "x", automatic=True))
    assert len(world.bans) == 1
    assert len(world.bans._expiry) < 200
    assert len(world.bans._expiry_automatic) < 200
    world.now += 61
    assert world.action("192.0.2.1") is Action.BAN


def test_a_full_list_answers_in_microseconds():
    bans = BanList(NodeSettings(), lambda: 0.0, FakeMetrics())
    for number in range(20_000):
        bans.ban(f"10.{number >> 8}.{number & 255}.0/{20 + number % 13}", "node", 60.0, "operator", "x")
    address = PeerAddress.of("192.0.2.1", 1)
    with Work(500):
        bans.check(address, None, "net")


def test_some_of_a_long_list_are_had_without_the_others():
    world = World(bans=1000)
    for number in range(300):
        done(world.bans.ban(f"10.0.{number // 256}.{number % 256}", "node", 60.0, "operator", "x"))
    for number in range(300):
        world.bans.discourage(PeerAddress.of(f"10.1.{number // 256}.{number % 256}", 1), "net", "rule", "x")
    everything = world.bans.penalties()
    assert [p.subject for p in everything[:2]] == ["10.0.1.43", "10.0.1.42"], "bans first, the latest first"
    assert everything[300].subject == "10.1.1.43"
    pages = [world.bans.penalties(offset, 250) for offset in (0, 250, 500)]
    assert [one for page in pages for one in page] == everything
    assert world.bans.penalties(1000, 10) == []
