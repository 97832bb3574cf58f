"""Which address are we seen by? A vote of those whom we asked (BEP 42, `ip`).

A node's word counts once, and a netgroup's once: whoever wants to move our id needs many netgroups. What was found
stays until another address has clearly more votes, so that two addresses of one NAT don't make us change our id to
and fro.
"""

from __future__ import annotations

from collections import Counter

from p2pframe.model import PeerAddress, netgroup


class Voting:
    """The latest votes, at most one for each netgroup and `most` in all.

    `quorum` votes for one address make it ours at first; to take another's place it needs twice as many as that one has
    (and the quorum). Only answers to queries of ours vote, so that nobody votes under a forged name.
    """

    __slots__ = ("_votes", "address", "most", "quorum", "turned_away")

    def __init__(self, quorum: int = 5, most: int = 64) -> None:
        self.quorum = quorum
        self.most = most
        self.address: str | None = None
        """The host that we are seen by; None before the quorum."""
        self._votes: dict[str, PeerAddress] = {}
        self.turned_away = 0

    def vote(self, voter: PeerAddress, seen: PeerAddress) -> bool:
        """A node says as whom it sees us; True where the outcome has changed by it."""
        group = netgroup(voter)
        votes = self._votes
        if votes.get(group) == seen:
            return False
        votes.pop(group, None)
        if len(votes) >= self.most:
            del votes[next(iter(votes))]
            self.turned_away += 1
        votes[group] = seen
        if seen.host == self.address:
            return False
        counts = Counter(vote.host for vote in votes.values())
        host, most = max(counts.items(), key=lambda pair: pair[1])
        if host == self.address or most < self.quorum:
            return False
        if self.address is not None and most < 2 * counts[self.address]:
            return False
        self.address = host
        return True

    def port(self) -> int | None:
        """The port that most of them see us by at our address; None before the quorum."""
        ports = Counter(vote.port for vote in self._votes.values() if vote.host == self.address)
        return max(ports.items(), key=lambda pair: pair[1])[0] if ports else None
