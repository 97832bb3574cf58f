"""The address book by netgroup and by age, for people."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.internet.task import Clock

from p2pframe.config.settings import Limits
from p2pframe.core.address_book import AddressBook
from p2pframe.core.address_groups import GOOD_FOR, GROUPS, LARGEST, SLICE, AddressSurvey
from p2pframe.interfaces import AddressGroups
from p2pframe.model import FoundAddress, PeerAddress, netgroup
from p2pframe.testing.context import FakeEntropy, FakeMetrics

HOUR, DAY = 3600.0, 86_400.0


class Book:
    """A book on a clock, with its ages."""

    def __init__(self, **limits) -> None:
        self.clock = Clock()
        self.clock.advance(100 * DAY)
        self.book = AddressBook(Limits(**limits), Random(1), FakeEntropy(1), self.clock.seconds, FakeMetrics())
        self.survey = AddressSurvey(self.clock, self.clock.seconds, self.book.entries)

    def told(self, addresses, ago=0.0, source="test"):
        self.book.add([FoundAddress(one, 0, self.clock.seconds() - ago) for one in addresses], source)

    @property
    def groups(self):
        self.clock.advance(GOOD_FOR)
        return self.survey.latest()


def some(group, count):
    return [PeerAddress(f"{group}.{n // 250}.{1 + n % 250}", 8333) for n in range(count)]


def test_addresses_are_counted_by_netgroup():
    held = Book(book_new_buckets=4, book_tried_buckets=1)
    rng = Random(2)
    for _ in range(30):
        held.told(some(f"{rng.randrange(1, 9)}.1", rng.randrange(1, 60)))
        known = held.book.addresses(1000)
        for one in rng.sample(known, min(10, len(known))):
            held.clock.advance(rng.choice([1.0, 90.0, 5 * HOUR]))
            held.book.attempt(one)
            held.book.good(one)
        held.book.draw(rng, held.clock.seconds(), only_new=True)
        held.book.exclude(rng.choice(held.book.addresses(1000)))
    entries = held.book.entries()
    assert sum(entry.tried for entry in entries) > 5
    expected = Counter(netgroup(entry.address) for entry in entries)
    tried = Counter(netgroup(entry.address) for entry in entries if entry.tried)
    found = held.groups
    assert {one.netgroup: one.held for one in found.largest} == expected and found.groups == len(expected)
    assert {one.netgroup: one.tried for one in found.largest if one.tried} == tried
    assert [one.held for one in found.largest] == sorted(expected.values(), reverse=True)
    assert found.addresses == held.book.size


def test_no_more_than_fifty_netgroups_are_told_of():
    held = Book()
    for number in range(1, 80):
        held.told(some(f"{number}.1", 2))
    assert (len(held.groups.largest), held.groups.groups) == (50, 79)


def test_addresses_are_counted_by_age():
    held = Book()
    held.told(some("1.1", 3), ago=10 * DAY)
    held.clock.advance(2 * HOUR)
    held.told(some("2.1", 2))
    held.book.good(some("2.1", 1)[0])
    found = held.groups
    assert (found.counted, found.addresses) == (held.clock.seconds(), 5)
    assert [(one.held, one.tried) for one in found.known] == [(2, 1), (3, 0), (0, 0), (0, 0), (0, 0)]
    # What others tell is taken for two hours older.
    assert [(one.held, one.tried) for one in found.heard] == [(0, 0), (2, 1), (0, 0), (3, 0), (0, 0)]
    assert [one.below for one in found.known] == [HOUR, DAY, 7 * DAY, 30 * DAY, float("inf")]


class Line:
    """As much of an entry as is looked at."""

    def __init__(self, address=None):
        self.address = address or PeerAddress("192.0.2.1", 1)
        self.first_seen = self.last_seen = 0.0
        self.tried = False


def turn(clock):
    """What is to be done in the next turn of the reactor, and no further."""
    [call] = clock.getDelayedCalls()
    clock.calls.clear()
    call.called = 1
    call.func(*call.args, **call.kw)


def test_many_addresses_are_counted_in_slices_once_for_all_who_ask_and_not_all_the_time():
    clock = Clock()
    entries = [Line() for _ in range(2 * SLICE + 1)]
    looks = []
    survey = AddressSurvey(clock, lambda: 1e9 + clock.seconds(), lambda: looks.append(1) or entries)
    assert survey.latest().counted == 0.0 and survey.latest() == AddressGroups()
    assert len(looks) == 1 and len(clock.getDelayedCalls()) == 1
    turn(clock)
    assert survey.latest().counted == 0.0
    turn(clock)
    found = survey.latest()
    assert (found.counted, found.addresses, len(looks)) == (1e9, len(entries), 3)
    assert found.known[-1].held == found.heard[-1].held == found.largest[0].held == len(entries)
    clock.advance(GOOD_FOR / 2)
    assert survey.latest() is found and len(looks) == 3
    clock.advance(GOOD_FOR / 2)
    # What there is is told while it is counted anew.
    assert survey.latest() is found and len(looks) == 4
    survey.stop()
    assert clock.getDelayedCalls() == []


def test_the_largest_of_many_netgroups_are_looked_for_in_slices_too():
    clock = Clock()
    spots = [PeerAddress(f"{n // 250 + 1}.{n % 250}.0.1", 1) for n in range(2 * GROUPS + 5)]
    # Of one netgroup in each slice of them, and of one in the last: they are the largest.
    large = {netgroup(spots[at]): 5 - number for number, at in enumerate((3, GROUPS + 3, 2 * GROUPS + 3))}
    entries = [Line(spot) for spot in spots for _ in range(large.get(netgroup(spot), 1))]
    survey = AddressSurvey(clock, clock.seconds, lambda: entries)
    survey.latest()
    turns = 1
    while clock.getDelayedCalls():
        turn(clock)
        turns += 1
    found = survey.latest()
    assert turns == -(-len(entries) // SLICE) + 2
    assert {one.netgroup: one.held for one in found.largest[:3]} == large
    assert (len(found.largest), found.groups) == (LARGEST, len(spots))
