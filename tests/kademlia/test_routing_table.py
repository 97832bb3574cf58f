"""The routing table against brute force, and its rules under any sequence of events."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pframe.kademlia.routing_table import RoutingTable

BITS = 16
IDS = st.integers(0, 2**BITS - 1)


def filled(own, ids, k=4, **options):
    table = RoutingTable(own, bits=BITS, k=k, **options)
    for number, identity in enumerate(ids):
        table.replied(identity, f"a{identity}", float(number))
    return table


@given(IDS, st.lists(IDS, max_size=300, unique=True), IDS, st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=300)
def test_closest_is_what_brute_force_finds(own, ids, target, count, k):
    table = filled(own, ids, k)
    held = [one.id for one in table.contacts()]
    assert [one.id for one in table.closest(target, count)] == sorted(held, key=lambda one: one ^ target)[:count]
    assert table.size == len(held) == len(set(held))


@given(IDS, st.lists(IDS, min_size=30, max_size=200, unique=True), IDS, IDS)
def test_closest_is_exact_after_losses_and_another_id_of_ours(own, ids, target, new):
    table = filled(own, ids)
    for identity in ids[::3]:
        for _ in range(4):
            table.failed(identity, f"a{identity}", 1000.0)
    table.rehome(new)
    held = [one.id for one in table.contacts() if one.failures < 2]
    assert new not in held
    assert [one.id for one in table.closest(target, 20)] == sorted(held, key=lambda one: one ^ target)[:20]


def test_the_nearest_of_all_are_held_whatever_else_there_is():
    rng = Random(5)
    own = rng.getrandbits(160)
    ids = [rng.getrandbits(160) for _ in range(5000)]
    table = RoutingTable(own)
    for identity in ids:
        table.replied(identity, identity, 0.0)
    assert [one.id for one in table.closest(own)] == sorted(ids, key=lambda one: one ^ own)[:8]
    assert table.size < 200


class Table(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(own=IDS, k=st.integers(1, 4), replacements=st.integers(0, 3))
    def start(self, own, k, replacements):
        self.now = 0.0
        self.turned_away = []
        self.table = RoutingTable(
            own, bits=BITS, k=k, replacements=replacements, host=lambda a: a[0], group=lambda a: a[0] % 50,
            turned_away=self.turned_away.append,
        )  # fmt: skip

    @rule(identity=IDS, host=st.integers(0, 200), port=st.integers(1, 2))
    def replied(self, identity, host, port):
        self.now += 1
        known = self.table.get(identity)
        before = None if known is None else (known.address, known.failures)
        held = self.table.replied(identity, (host, port), self.now)
        now = self.table.get(identity)
        assert held == (now is not None and now.address == (host, port))
        if before is not None and before[0] != (host, port) and before[1] < 2:
            assert now is not None
            assert now.address == before[0], "nobody takes the id of a contact that answers"

    @rule(identity=IDS, host=st.integers(0, 200))
    def heard(self, identity, host):
        size = self.table.size
        self.table.heard(identity, (host, 1), self.now)
        assert self.table.size == size

    @rule(data=st.data())
    def failed(self, data):
        held = list(self.table.contacts())
        if held:
            one = data.draw(st.sampled_from(held))
            self.table.failed(one.id, one.address, self.now)

    @rule(own=IDS)
    def rehome(self, own):
        self.table.rehome(own)

    @invariant()
    def its_rules_hold(self):
        if not hasattr(self, "table"):
            return
        table = self.table
        contacts = list(table.contacts())
        assert table.size == len(contacts)
        assert table.own not in [one.id for one in contacts]
        pools = [held for bucket in table._buckets for held in (bucket.contacts, bucket.waiting)]
        hosts = [one.address[0] for held in pools for one in held.values()]
        assert len(hosts) == len(set(hosts)) == len(table._hosts)
        end = 0
        for bucket in table._buckets:
            assert bucket.low == end
            end = bucket.high
            assert len(bucket.contacts) <= table.k
            assert len(bucket.waiting) <= table.replacements
            assert all(bucket.low <= one < bucket.high for one in (*bucket.contacts, *bucket.waiting))
            groups = [one.address[0] % 50 for held in (bucket.contacts, bucket.waiting) for one in held.values()]
            assert len(groups) == len(set(groups))
        assert end == 2**BITS


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=60)


def test_who_is_known_longest_stays_and_who_waits_takes_the_place_of_the_dead():
    table = RoutingTable(0, bits=BITS, k=2, replacements=1)
    far = [0x8000, 0x9000, 0xA000, 0xB000]
    assert [table.replied(one, one, 0.0) for one in far] == [True, True, False, False]
    assert far[0] in table
    assert far[3] not in table
    table.failed(far[0], far[0], 1.0)
    assert far[0] in table
    table.failed(far[0], far[0], 2.0)
    assert far[0] not in table
    assert far[3] in table, "the latest to have answered of those who wait"


def test_a_query_alone_neither_adds_nor_keeps_for_ever():
    table = RoutingTable(0, bits=BITS, k=2)
    assert table.heard(7, "a", 0.0), "worth a ping"
    assert 7 not in table
    table.replied(7, "a", 0.0)
    assert table.questionable(899.0, 9) == []
    assert [one.id for one in table.questionable(900.0, 9)] == [7]
    table.heard(7, "forged", 899.0)
    assert [one.id for one in table.questionable(900.0, 9)] == [7]
    table.heard(7, "a", 899.0)
    assert table.questionable(900.0, 9) == []
    table.heard(7, "a", 10_000.0)
    assert [one.id for one in table.questionable(10_000.0, 9)] == [7], "it has not answered for too long"


def test_buckets_want_a_refresh_after_fifteen_minutes():
    table = filled(0, range(1, 2**BITS, 999), k=2)
    for at in table.to_refresh(10_000.0):
        target = table.random_in(at, Random(at))
        table.touched(target, 10_000.0)
    assert table.to_refresh(10_899.0) == []
    assert len(table.to_refresh(10_900.0)) == len(table.shape()) > 3


def test_an_id_that_fits_takes_a_place_where_the_bucket_is_full():
    table = RoutingTable(0, bits=BITS, k=2, replacements=0, prefer=lambda identity, _: identity % 2 == 0)
    assert [table.replied(one, one, 0.0) for one in (0x8001, 0x8003, 0x8002, 0x8004, 0x8006)] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert sorted(one.id for one in table.contacts()) == [0x8002, 0x8004]


def test_a_host_that_comes_back_under_another_id_is_asked_from_its_own_address_only():
    """Its id follows its address (BEP 42), or it has lost its state: an answer from there makes the old one go."""
    table = RoutingTable(0, bits=BITS, host=lambda address: address.partition(":")[0])
    table.replied(100, "host:1", 0.0)
    assert not table.heard(200, "host:2", 1.0), "another program there, or nobody"
    assert table.heard(200, "host:1", 1.0)
    assert not table.replied(200, "host:2", 2.0)
    assert [one.id for one in table.contacts()] == [100]
    assert table.replied(200, "host:1", 2.0)
    assert [one.id for one in table.contacts()] == [200]


@given(IDS, st.lists(IDS, min_size=4, max_size=80, unique=True), st.data())
def test_a_note_of_a_full_bucket_names_the_nearest_until_somebody_comes_goes_or_fails(own, ids, data):
    table = RoutingTable(own, bits=BITS, k=4, replacements=2)
    for now in range(120):
        identity = data.draw(st.sampled_from(ids))
        if data.draw(st.booleans()):
            table.replied(identity, f"a{identity}", float(now))
        else:
            table.failed(identity, f"a{identity}", float(now))
        target = data.draw(IDS)
        bucket = table.bucket(target)
        nearest = sorted(one.id for one in table.closest(target))
        if bucket.note:
            assert bucket.note == repr(nearest).encode()
        elif table.alone(bucket):
            bucket.note = repr(nearest).encode()
