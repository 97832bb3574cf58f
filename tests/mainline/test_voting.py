"""By which address we are seen: many netgroups decide, and not easily otherwise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.voting import Voting


def voter(group, host=1):
    return PeerAddress(f"{group}.0.0.{host}", 6881)


def seen(number, port=6881):
    return PeerAddress(f"203.0.113.{number}", port)


def test_a_quorum_of_netgroups_is_needed_and_twice_as_many_to_change_it():
    voting = Voting(quorum=3)
    for host in range(50):
        assert not voting.vote(voter(1, host), seen(1)), "one netgroup has one vote"
    assert not voting.vote(voter(2), seen(1))
    assert voting.vote(voter(3), seen(1))
    assert voting.address == "203.0.113.1"
    for group in range(10, 15):
        assert not voting.vote(voter(group), seen(2))
    assert voting.vote(voter(15), seen(2))
    assert voting.address == "203.0.113.2"
    assert voting.port() == 6881


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3)), max_size=200))
def test_the_outcome_has_had_a_quorum_and_votes_are_bounded(votes):
    voting = Voting(quorum=3, most=16)
    latest = {}
    for group, number, port in votes:
        before = voting.address
        changed = voting.vote(voter(group), seen(number, port))
        latest.pop(group, None)
        latest[group] = number
        assert changed == (voting.address != before)
        assert len(voting._votes) <= 16
        if changed:
            counted = [f"203.0.113.{one}" for one in latest.values()]
            assert counted.count(voting.address) >= 3
