"""NAT: each kind maps and filters as RFC 4787 says, mappings time out, and there are never more than the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pframe.sim.nat import TCP_TIMEOUT, UDP_TIMEOUT, Nat

PUBLIC = "198.51.100.1"
INSIDE = ("10.0.0.2", 5000)
PEER = ("192.0.2.1", 53)
SAME_HOST = ("192.0.2.1", 54)
STRANGER = ("203.0.113.9", 53)
KINDS = ("full-cone", "address-restricted", "port-restricted", "symmetric")


@pytest.mark.parametrize(
    ("kind", "peer", "same_host", "stranger"),
    [
        ("full-cone", True, True, True),
        ("address-restricted", True, True, False),
        ("port-restricted", True, False, False),
        ("symmetric", True, False, False),
    ],
)
def test_who_may_answer(kind, peer, same_host, stranger):
    nat = Nat(kind, PUBLIC)
    public, port = nat.outbound("udp", INSIDE, PEER, 0.0)
    assert public == PUBLIC
    for source, allowed in ((PEER, peer), (SAME_HOST, same_host), (STRANGER, stranger)):
        assert nat.inbound("udp", port, source, 1.0) == (INSIDE if allowed else None)
    assert nat.filtered == [peer, same_host, stranger].count(False)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_gets_in_where_nobody_asked(kind):
    nat = Nat(kind, PUBLIC)
    assert nat.inbound("udp", 5000, PEER, 0.0) is None
    nat.outbound("udp", INSIDE, PEER, 0.0)
    assert nat.inbound("tcp", 5000, PEER, 0.0) is None
    assert nat.filtered == 2


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_mapping_that_is_endpoint_independent_is_one_for_all_targets(kind):
    nat = Nat(kind, PUBLIC)
    assert len({nat.outbound("udp", INSIDE, target, 0.0) for target in (PEER, SAME_HOST, STRANGER)}) == 1
    assert nat.mappings("udp", 0.0) == 1


def test_a_symmetric_nat_has_another_port_for_each_target():
    nat = Nat("symmetric", PUBLIC)
    ports = {target: nat.outbound("udp", INSIDE, target, 0.0)[1] for target in (PEER, SAME_HOST, STRANGER)}
    assert len({*ports.values()}) == 3
    for target, port in ports.items():
        assert [other for other in ports if nat.inbound("udp", port, other, 1.0)] == [target]
        assert nat.outbound("udp", INSIDE, target, 1.0) == (PUBLIC, port)


def test_hole_punching_works_but_for_symmetric_nats():
    """Both send to the port that a third host saw, the way of RFC 5128 section 3.3."""
    meet = ("192.0.2.200", 3478)
    through = {}
    for one in KINDS:
        for two in KINDS:
            a, b = Nat(one, "198.51.100.1"), Nat(two, "198.51.100.2")
            seen_a, seen_b = a.outbound("udp", INSIDE, meet, 0.0), b.outbound("udp", INSIDE, meet, 0.0)
            for _ in range(2):
                from_a, from_b = a.outbound("udp", INSIDE, seen_b, 1.0), b.outbound("udp", INSIDE, seen_a, 1.0)
                got_b = b.inbound("udp", seen_b[1], from_a, 1.1)
                got_a = a.inbound("udp", seen_a[1], from_b, 1.1)
            through[one, two] = got_a is not None or got_b is not None
    failed = {pair for pair, passed in through.items() if not passed}
    assert failed == {
        ("symmetric", "symmetric"), ("symmetric", "port-restricted"), ("port-restricted", "symmetric"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapping_goes_after_its_timeout_and_only_what_is_sent_keeps_it(kind):
    nat = Nat(kind, PUBLIC, timeout=30.0)
    _, port = nat.outbound("udp", INSIDE, PEER, 0.0)
    assert nat.outbound("udp", INSIDE, PEER, 20.0) == (PUBLIC, port)
    assert nat.inbound("udp", port, PEER, 49.9) == INSIDE
    assert nat.inbound("udp", port, PEER, 50.0) is None
    assert nat.mappings("udp", 50.0) == 0


def test_each_answer_has_a_timeout_of_its_own():
    nat = Nat("port-restricted", PUBLIC, timeout=30.0)
    _, port = nat.outbound("udp", INSIDE, PEER, 0.0)
    nat.outbound("udp", INSIDE, STRANGER, 20.0)
    assert nat.inbound("udp", port, PEER, 31.0) is None
    assert nat.inbound("udp", port, STRANGER, 31.0) == INSIDE


def test_tcp_is_kept_longer():
    nat = Nat("port-restricted", PUBLIC)
    _, udp = nat.outbound("udp", INSIDE, PEER, 0.0)
    _, tcp = nat.outbound("tcp", INSIDE, PEER, 0.0)
    assert nat.inbound("udp", udp, PEER, UDP_TIMEOUT) is None
    assert nat.inbound("tcp", tcp, PEER, TCP_TIMEOUT - 1) == INSIDE


def test_a_port_keeps_its_number_where_that_is_free():
    nat = Nat("full-cone", PUBLIC)
    assert nat.outbound("udp", ("10.0.0.2", 5000), PEER, 0.0) == (PUBLIC, 5000)
    other = nat.outbound("udp", ("10.0.0.3", 5000), PEER, 0.0)
    assert other[1] != 5000
    assert nat.inbound("udp", other[1], PEER, 0.0) == ("10.0.0.3", 5000)
    assert nat.holder("udp", 5000, 0.0) == ("10.0.0.2", 5000)
    assert nat.holder("udp", 5001, 0.0) is None


def test_mappings_are_bounded_and_room_comes_with_time():
    nat = Nat("symmetric", PUBLIC, timeout=10.0, limit=3)
    for number in range(3):
        assert nat.outbound("udp", INSIDE, ("192.0.2.1", 1 + number), float(number))
    assert nat.outbound("udp", INSIDE, ("192.0.2.1", 9), 9.9) is None
    assert nat.refused == 1
    assert nat.outbound("udp", INSIDE, ("192.0.2.1", 9), 10.0)
    assert nat.mappings("udp", 10.0) == 3


def test_a_mapping_that_is_kept_does_not_keep_others():
    nat = Nat("full-cone", PUBLIC, timeout=10.0, limit=2)
    for port, now in ((5000, 0.0), (5001, 1.0), (5000, 9.0)):
        nat.outbound("udp", ("10.0.0.2", port), PEER, now)
    assert nat.outbound("udp", ("10.0.0.2", 5002), PEER, 11.5) == (PUBLIC, 5002)
    assert nat.holder("udp", 5000, 11.5) and not nat.holder("udp", 5001, 11.5)


def test_a_full_table_of_the_largest_size_has_a_port_for_everyone():
    nat = Nat("full-cone", PUBLIC, limit=60_000)
    ports = {nat.outbound("udp", (f"10.0.{n // 250}.{n % 250}", 6881), PEER, 0.0) for n in range(60_000)}
    assert len(ports) == 60_000
    assert nat.outbound("udp", ("10.1.0.0", 6881), PEER, 0.0) is None


def test_who_may_answer_is_bounded_to_the_latest():
    nat = Nat("port-restricted", PUBLIC, answers=2)
    for port in (1, 2, 1, 3):
        nat.outbound("udp", INSIDE, ("192.0.2.1", port), 0.0)
    assert [port for port in (1, 2, 3) if nat.inbound("udp", 5000, ("192.0.2.1", port), 0.0)] == [1, 3]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"kind": "none"}, "no NAT is 'none'"),
        ({"limit": 0}, "room for 1 to 60000"),
        ({"limit": 64_000}, "room for 1 to 60000"),
        ({"timeout": 0.0}, "above zero"),
        ({"answers": 0}, "above zero"),
    ],
)
def test_a_nat_that_can_not_be(options, why):
    with pytest.raises(ValueError, match=why):
        Nat(**{"kind": "full-cone", "public": PUBLIC, **options})


hosts = st.sampled_from(["10.0.0.2", "10.0.0.3"])
ports = st.integers(5000, 5002)
peers = st.tuples(st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.integers(1, 3))


class Rfc4787(RuleBasedStateMachine):
    """Against the plainest model there is: everything that was ever sent outwards, and when."""

    kind = "full-cone"
    TIMEOUT, LIMIT = 30.0, 4

    def __init__(self):
        super().__init__()
        self.nat = Nat(self.kind, PUBLIC, timeout=self.TIMEOUT, limit=self.LIMIT)
        self.now = 0.0
        self.sent = []

    def fresh(self):
        return [one for one in self.sent if one[0] + self.TIMEOUT > self.now]

    def key(self, private, target):
        return (private, target) if self.kind == "symmetric" else private

    @rule(seconds=st.sampled_from([0.1, 7.0, 31.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(host=hosts, port=ports, peer=peers)
    def send(self, host, port, peer):
        private = (host, port)
        public = self.nat.outbound("udp", private, peer, self.now)
        known = {self.key(p, t): seen for _, p, t, seen in self.fresh()}
        key = self.key(private, peer)
        if public is None:
            assert key not in known and len(known) == self.LIMIT
            return
        if key in known:
            assert public == known[key]
        else:
            assert public not in known.values()
        self.sent.append((self.now, private, peer, public))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), source=peers)
    def receive(self, data, source):
        public = data.draw(st.sampled_from([one[3] for one in self.sent]))
        allowed = {
            private
            for _, private, target, seen in self.fresh()
            if seen == public
            and (
                self.kind == "full-cone"
                or target == source
                or (self.kind == "address-restricted" and target[0] == source[0])
            )
        }
        got = self.nat.inbound("udp", public[1], source, self.now)
        assert {got} - {None} == allowed

    @invariant()
    def bounded(self):
        assert self.nat.mappings("udp", self.now) <= self.LIMIT


for _kind in KINDS:
    _machine = type(f"Rfc4787_{_kind}", (Rfc4787,), {"kind": _kind})
    globals()[f"Test_{_kind.replace('-', '_')}"] = _machine.TestCase


@given(st.lists(st.tuples(hosts, ports, peers), max_size=30))
def test_no_two_mappings_share_a_public_port(sends):
    nat = Nat("symmetric", PUBLIC)
    seen = {}
    for host, port, target in sends:
        seen.setdefault(nat.outbound("udp", (host, port), target, 0.0), set()).add((host, port, target))
    assert all(len(owners) == 1 for owners in seen.values())
