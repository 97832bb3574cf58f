"""What a node stores for others, against a model that looks at everything each time, and the rules one by one."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pframe.kademlia.records import Record, Records, Rules, between, last_write

BITS = 8
IDS = st.integers(0, 2**BITS - 1)

PAPER = Rules(bits=160, k=20, ttl=86_400, publish=86_400, replicate=3600, halve_every=1)
PROVIDERS = Rules(bits=256, k=20, ttl=48 * 3600, publish=22 * 3600)


class Thing(Record):
    """A record that says a number."""

    __slots__ = ("bytes", "sequence")

    def __init__(self, stored, source="a", size=1, sequence=0):
        super().__init__(stored, source)
        self.bytes = size
        self.sequence = sequence

    @property
    def size(self):
        return self.bytes


def higher(new, held):
    return new.sequence >= held.sequence


def store(own=0, rng=None, wins=last_write, makes_room="oldest", sets=False, **rules):
    """A store of names that are keys (or, with `sets`, begin with one), and what it turned away."""
    made, away = Rules(bits=BITS, **rules), []
    records = Records(
        own, lambda: made, key=(lambda name: name[0]) if sets else (lambda name: name), wins=wins,
        makes_room=makes_room, sets=sets, turned_away=lambda reason, count: away.extend([reason] * count), rng=rng,
    )  # fmt: skip
    return records, away


def names(records):
    return sorted(name for name, _ in records.items())


# --- the rules ---


@given(st.integers(0, 2**160 - 1), st.integers(0, 2**160 - 1), st.lists(st.integers(0, 2**160 - 1), unique=True))
def test_who_is_between_is_what_sorting_finds(own, key, known):
    known = [one for one in known if one != own]
    assert between(own, key, known) == sorted([own, *known], key=lambda one: one ^ key).index(own)


def test_the_k_closest_hold_it_in_full_and_who_is_farther_exponentially_shorter():
    lifetimes = [PAPER.lifetime(PAPER.halvings(nearer)) for nearer in (0, 19, 20, 21, 22)]
    assert lifetimes == [86_400, 86_400, 43_200, 21_600, 10_800]
    assert PAPER.halvings(20 + 9) == 10, "84 seconds"
    assert PAPER.halvings(20 + 10) is None, "less than `shortest`"
    assert [PROVIDERS.halvings(nearer) for nearer in (0, 19, 20)] == [0, 0, None]
    slower = Rules(k=4, ttl=800, halve_every=3, shortest=100)
    assert [slower.halvings(nearer) for nearer in range(16)] == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 3 + [None] * 3


@given(st.integers(0, 10**6), st.integers(1, 64), st.integers(0, 8), st.floats(1, 10**9), st.floats(0, 1000))
def test_a_lifetime_is_never_longer_farther_away_and_never_shorter_than_the_shortest(
    nearer, k, halve_every, ttl, shortest
):
    rules = Rules(k=k, ttl=ttl, halve_every=halve_every, shortest=shortest)
    here, beyond = rules.halvings(nearer), rules.halvings(nearer + 1)
    if here is None:
        assert beyond is None
    elif beyond is not None:
        assert rules.lifetime(beyond) <= rules.lifetime(here) <= ttl
        assert not beyond or rules.lifetime(beyond) >= shortest


@given(st.floats(0, 0.99), st.floats(1, 10**6), st.integers())
def test_a_publisher_puts_again_within_its_interval_and_not_much_sooner(jitter, publish, seed):
    wait = Rules(publish=publish, jitter=jitter).publish_in(Random(seed))
    assert publish * (1 - jitter) * 0.999 <= wait <= publish * 1.001


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"bits": 0}, {"ttl": 0}, {"publish": 0}, {"jitter": 1}, {"jitter": -0.1}, {"replicate": 0},
     {"halve_every": -1}, {"shortest": -1}, {"most": 0}],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="more"):
        Rules(**wrong)


# --- one by one ---


def test_a_record_runs_out_and_is_forgotten_and_a_put_keeps_it():
    records, _ = store(ttl=100)
    records.put(1, Thing(0.0))
    records.put(2, Thing(50.0))
    assert records.get(1, 99.9) is not None
    assert records.get(1, 100.0) is None, "it may still be there"
    assert records.expire(100.0) == 1 and names(records) == [2]
    records.put(2, Thing(149.0))
    assert records.expire(150.0) == 0 and records.get(2, 248.0) is not None


def test_one_farther_away_runs_out_sooner():
    records, away = store(ttl=100, k=2, halve_every=1, shortest=20)
    assert records.put(1, Thing(0.0), nearer=1)
    assert records.put(2, Thing(0.0), nearer=2)
    assert records.put(3, Thing(0.0), nearer=3)
    assert not records.put(4, Thing(0.0), nearer=4) and away == ["distance"]
    assert [records.get(name, 30.0) is not None for name in (1, 2, 3)] == [True, True, False]
    assert records.expire(60.0) == 2 and names(records) == [1]


def test_it_is_held_longer_where_those_nearer_have_gone():
    records, _ = store(ttl=100, k=2, halve_every=1, shortest=20)
    records.put(1, Thing(0.0), nearer=3)
    records.put(1, Thing(10.0), nearer=0)
    assert records.size == 1 and records.get(1, 100.0) is not None


def test_the_rule_of_the_protocol_decides_which_of_two_stays():
    records, away = store(wins=higher)
    assert records.put(1, Thing(0.0, sequence=5))
    assert not records.put(1, Thing(1.0, sequence=4)) and away == ["loses"]
    assert records.put(1, Thing(2.0, sequence=5)) and records.get(1, 2.0).stored == 2.0
    records, away = store()
    assert records.put(1, Thing(5.0)) and not records.put(1, Thing(4.0)) and away == ["loses"]


def test_what_has_run_out_loses_to_anything():
    records, _ = store(ttl=100, wins=higher)
    records.put(1, Thing(0.0, sequence=5))
    assert records.put(1, Thing(100.0, sequence=1))


def test_when_it_is_full_the_oldest_makes_room():
    records, away = store(most=3)
    for number in range(5):
        records.put(number, Thing(float(number)))
    records.put(2, Thing(9.0))
    records.put(7, Thing(10.0))
    assert names(records) == [2, 4, 7] and away == ["records"] * 3


def test_what_has_run_out_makes_room_first_and_nobody_is_turned_away():
    records, away = store(most=2, ttl=100, k=1, halve_every=1, shortest=1)
    records.put(1, Thing(0.0))
    records.put(2, Thing(1.0), nearer=2)
    assert records.put(3, Thing(50.0)) and names(records) == [1, 3] and not away


def test_when_it_is_full_the_farthest_makes_room_and_one_farther_still_is_not_taken():
    records, away = store(own=0b1000, makes_room="farthest", most=3)
    for key in (0b1001, 0b1100, 0b0000):
        records.put(key, Thing(0.0))
    assert not records.put(0b11111, Thing(1.0)) and away == ["farthest"]
    assert records.put(0b1010, Thing(1.0)) and names(records) == [0b1001, 0b1010, 0b1100]
    assert away == ["farthest", "records"]
    records.rehome(0b11111)
    assert records.put(0b11110, Thing(2.0)), "by the distance from where we are now"
    assert names(records) == [0b1010, 0b1100, 0b11110]


def test_bytes_are_bounded_and_as_many_make_room_as_it_takes():
    records, away = store(most_bytes=100)
    for number in range(5):
        records.put(number, Thing(float(number), size=20))
    assert records.bytes == 100
    assert records.put(9, Thing(9.0, size=50)) and names(records) == [3, 4, 9] and away == ["bytes"] * 3
    assert not records.put(10, Thing(9.0, size=101)) and away[-1] == "bytes" and records.bytes == 90
    assert records.put(4, Thing(9.5, size=50)), "one that grows makes the others leave, not itself"
    assert names(records) == [4, 9] and records.bytes == 100


def test_a_near_one_that_needs_more_than_all_that_is_farther_leaves_everything_as_it_was():
    records, away = store(own=0, makes_room="farthest", most_bytes=100)
    for key in (1, 2, 8):
        records.put(key, Thing(0.0, size=30))
    assert not records.put(4, Thing(1.0, size=60)) and away == ["farthest"]
    assert names(records) == [1, 2, 8]


def test_one_source_has_its_share_and_is_not_charged_for_keeping_anothers():
    records, away = store(per_source=2)
    for number in range(3):
        records.put(number, Thing(0.0, source="mallory"))
    assert names(records) == [0, 1] and away == ["records of a source"]
    assert records.put(5, Thing(0.0, source="alice"))
    assert records.put(5, Thing(1.0, source="mallory")), "alice's stays alice's"
    assert records.get(5, 1.0).source == "alice" and records.held_of("mallory") == 2
    records.remove(0)
    assert records.put(3, Thing(2.0, source="mallory"))


def test_a_share_of_bytes():
    records, away = store(bytes_per_source=100)
    assert records.put(1, Thing(0.0, size=60))
    assert not records.put(2, Thing(0.0, size=60)) and away == ["bytes of a source"]
    assert records.put(2, Thing(0.0, size=40))
    assert not records.put(2, Thing(1.0, size=41)) and records.get(2, 1.0).size == 40
    assert records.put(2, Thing(1.0, size=30)) and records.put(3, Thing(0.0, source="b", size=100))


def test_a_key_has_so_many_records_those_that_have_run_out_not_counted():
    records, away = store(sets=True, per_key=2, ttl=100)
    for number, provider in enumerate("abc"):
        records.put((1, provider), Thing(float(number * 60)))
    assert [name for name, _ in records.of(1, 120.0)] == [(1, "b"), (1, "c")]
    assert not records.put((1, "d"), Thing(130.0)) and away == ["records of a key"]
    assert records.put((2, "d"), Thing(130.0)) and records.put((1, "b"), Thing(131.0))
    assert records.of(3, 0.0) == []


def test_a_holder_puts_again_unless_it_was_put_with_it_meanwhile():
    records, _ = store(replicate=60.0, ttl=1000.0)
    records.put(1, Thing(0.0))
    records.put(2, Thing(0.0))
    records.put(2, Thing(30.0))
    assert records.due(59.0) == []
    assert records.due(61.0) == [1]
    assert records.due(91.0) == [2]
    assert records.due(122.0) == [1], "and again"
    records.remove(1)
    assert records.due(600.0) == [2]
    assert records.due(1100.0) == [], "it has run out"


def test_holders_do_not_put_again_in_step():
    records, _ = store(replicate=100.0, rng=Random(1), jitter=0.5)
    for number in range(200):
        records.put(number, Thing(0.0))
    early = len(records.due(75.0, most=500))
    assert 60 < early < 140 and len(records.due(100.0, most=500)) >= 200 - early
    assert records.due(49.9) == []


def test_who_puts_the_same_again_and_again_makes_no_queue():
    records, _ = store(replicate=100.0)
    for number in range(10_000):
        records.put(number % 3, Thing(float(number) / 1000))
    assert len(records._queue) < 100


def test_expiring_is_bounded():
    records, _ = store(ttl=10)
    for number in range(50):
        records.put(number, Thing(0.0))
    assert [records.expire(20.0, most=20) for _ in range(4)] == [20, 20, 10, 0]


def test_records_of_different_times_are_put_in_order_at_a_start():
    records, _ = store(ttl=100, most=4, wins=higher)
    for number, stored in enumerate((30.0, 0.0, 50.0, 10.0)):
        records.put(number, Thing(stored))
    records.sort()
    assert records.expire(105.0) == 1 and names(records) == [0, 2, 3]
    records.put(7, Thing(106.0))
    records.put(8, Thing(107.0))
    assert names(records) == [0, 2, 7, 8] and records.get(7, 108.0) is not None


def test_items_may_change_while_they_are_gone_through():
    records, _ = store()
    for number in range(4):
        records.put(number, Thing(0.0))
    seen = []
    for name, _ in records.items():
        seen.append(name)
        records.remove(name + 1)
        records.put(name + 100, Thing(1.0))
    assert seen == [0, 2]


# --- any sequence of events, against a model ---

TTL = 1009.0


class AgainstAModel(RuleBasedStateMachine):
    """The model is a dictionary in which everything is looked for each time."""

    @initialize(
        own=IDS, far=st.booleans(), most=st.integers(1, 12), most_bytes=st.none() | st.integers(10, 60),
        per_source=st.none() | st.integers(1, 6), bytes_per_source=st.none() | st.integers(8, 40),
        per_key=st.none() | st.integers(1, 3), halve_every=st.integers(0, 2),
    )  # fmt: skip
    def begin(self, own, far, **rules):
        self.own, self.far, self.now = own, far, 0.0
        self.rules = Rules(bits=BITS, k=2, ttl=TTL, shortest=100.0, **rules)
        self.records, self.away = store(
            own, sets=True, makes_room="farthest" if far else "oldest", wins=higher, k=2, ttl=TTL, shortest=100.0,
            **rules
        )  # fmt: skip
        self.model = {}

    def fresh(self, record):
        return self.now - record.stored < self.rules.lifetime(record.halvings)

    def leaves_at(self, name):
        record = self.model[name]
        return record.stored + self.rules.lifetime(record.halvings)

    @rule(seconds=st.integers(1, 700))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        key=st.integers(0, 9), provider=st.sampled_from("xyz"), source=st.sampled_from("abc"), size=st.integers(0, 12),
        sequence=st.integers(0, 4), nearer=st.integers(0, 5),
    )  # fmt: skip
    def put(self, key, provider, source, size, sequence, nearer):
        self.now += 1
        name = (key * 23, provider)
        taken = self.records.put(name, Thing(self.now, source, size, sequence), nearer)
        assert taken == self.put_in_model(name, Thing(self.now, source, size, sequence), nearer)

    def put_in_model(self, name, record, nearer):
        rules, model = self.rules, self.model
        record.halvings = rules.halvings(nearer)
        if record.halvings is None:
            return False
        before = model.get(name)
        if before is not None and not self.fresh(before):
            del model[name]
            before = None
        if before is not None:
            if record.sequence < before.sequence:
                return False
            record.source = before.source
        others = [one for other, one in model.items() if other != name]
        mine = [one for one in others if one.source == record.source]
        if before is None and rules.per_source is not None and len(mine) >= rules.per_source:
            return False
        of_key = {other: one for other, one in model.items() if other[0] == name[0] and other != name}
        if before is None and rules.per_key is not None and len(of_key) >= rules.per_key:
            for other in [other for other, one in of_key.items() if not self.fresh(one)]:
                del model[other], of_key[other]
            if len(of_key) >= rules.per_key:
                return False
        if rules.most_bytes is not None and record.size > rules.most_bytes:
            return False
        grows = before is None or record.size > before.size
        mine = [one for other, one in model.items() if other != name and one.source == record.source]
        share = rules.bytes_per_source
        if share is not None and grows and record.size and sum(one.size for one in mine) + record.size > share:
            return False
        return self.place_in_model(name, record)

    def place_in_model(self, name, record):
        def over(held):
            size = sum(one.size for other, one in held.items() if other != name) + record.size
            count = len(held.keys() | {name})
            return count > self.rules.most or (self.rules.most_bytes is not None and size > self.rules.most_bytes)

        if over(self.model):
            self.model = {one: held for one, held in self.model.items() if self.fresh(held)}
        left = dict(self.model)
        while over(left):
            others = [one for one in left if one != name]
            if self.far:
                at = name[0] ^ self.own
                others = [one for one in others if one[0] ^ self.own > at]
                if not others:
                    return False
                farthest = max(one[0] ^ self.own for one in others)
                others = [one for one in others if one[0] ^ self.own == farthest][:1]
            else:
                others.sort(key=self.leaves_at)
            del left[others[0]]
        left.pop(name, None)
        left[name] = record
        self.model = left
        return True

    @rule(key=st.integers(0, 9), provider=st.sampled_from("xyz"))
    def remove(self, key, provider):
        name = (key * 23, provider)
        assert self.records.remove(name) == (self.model.pop(name, None) is not None)

    @rule()
    def expire(self):
        left = {name: one for name, one in self.model.items() if self.fresh(one)}
        assert self.records.expire(self.now) == len(self.model) - len(left)
        self.model = left

    @rule(own=IDS)
    def rehome(self, own):
        self.own = own
        self.records.rehome(own)

    @invariant()
    def the_same(self):
        if not hasattr(self, "model"):
            return
        held, rules = dict(self.records.items()), self.rules
        assert {name: (one.stored, one.source, one.halvings) for name, one in held.items()} == {
            name: (one.stored, one.source, one.halvings) for name, one in self.model.items()
        }
        assert self.records.size == len(held) <= rules.most
        for name, one in held.items():
            assert self.records.get(name, self.now) is (one if self.fresh(one) else None)
        for key in {name[0] for name in held}:
            found = dict(self.records.of(key, self.now))
            assert found == {name: one for name, one in held.items() if name[0] == key and self.fresh(one)}
            assert rules.per_key is None or len(found) <= rules.per_key
        for source in "abc":
            charged = [one for one in held.values() if one.source == source]
            assert self.records.held_of(source) == len(charged)
            assert rules.per_source is None or len(charged) <= rules.per_source
            total = sum(one.size for one in charged)
            assert rules.bytes_per_source is None or total <= rules.bytes_per_source
        if rules.most_bytes is not None or rules.bytes_per_source is not None:
            assert self.records.bytes == sum(one.size for one in held.values())
        assert rules.most_bytes is None or self.records.bytes <= rules.most_bytes


AgainstAModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase
