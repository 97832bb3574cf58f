"""What is to be thought of a peer, in a sentence: out of the facts about it, its mistakes and its scores."""

from __future__ import annotations

from p2pframe.admin.words import duration, milliseconds
from p2pframe.interfaces.story import HeardFact, SessionStory

NEW = 600.0
"""Seconds in which a peer has had no time to be of use."""
POOR = 0.25
"""A score below it is poor."""
LAPSES = 10
"""Timeouts from which on they are told of, where they are more than what the peer brought."""


def verdict(story: SessionStory) -> tuple[str, str]:
    """A tone (`good`, `warn`, `bad` or none) and the sentence."""
    if story.ended is not None:
        return _ended(story)
    peer, age = story.session, story.now - story.session.started
    if peer.state != "open":
        return "warn", f"Not open: {peer.state} since {duration(story.now - story.states[-1][1])}."
    against = [_against(one) for one in story.facts if one.effect != "noted"]
    if peer.errors:
        against.append(f"it made {_count(peer.errors, 'error')} (items refused, rules broken)")
    if peer.timeouts >= LAPSES and peer.timeouts > peer.accepted_items:
        against.append(f"it did not answer {_count(peer.timeouts, 'request')} in time")
    if against:
        more = f", and {len(against) - 3} more" if len(against) > 3 else ""
        return "bad", f"Suspicious because {'; '.join(against[:3])}{more}."
    last = max(peer.last_item, peer.last_block)
    if not last and age < NEW:
        return "", f"New: too early to say, after {duration(age)}."
    if peer.score is not None and peer.score < POOR:
        weak = sorted(
            ((part.value, part.name) for score, counts in story.scores if counts for part in score.parts if part.weight)
        )
        parts = ", ".join(f"{name} {value:.0%}" for value, name in weak[:2])
        return "warn", f"Poor: its score is {peer.score:.2f}{f', for {parts}' if parts else ''}."
    for_it = [f"its score is {peer.score:.2f}"] if peer.score is not None else []
    for_it.append(
        f"it brought {_count(peer.useful, 'item')} first, the last {duration(story.now - last)} ago" if last
        else "it brought nothing new yet"
    )  # fmt: skip
    if peer.ping is not None:
        for_it.append(f"it answers in {milliseconds(peer.ping)}")
    if last:
        return "good", f"Good: {', '.join(for_it)}."
    return "", f"Of no use so far, with nothing against it: {', '.join(for_it)}."


def _ended(story: SessionStory) -> tuple[str, str]:
    assert story.ended is not None
    ago = duration(story.now - story.ended)
    by = next((one for one in reversed(story.facts) if one.effect in ("acted-on", "spared")), None)
    rule = f", decided by {by.rule}" if by is not None and by.rule else ""
    why = story.reason + (f" ({story.evidence})" if story.evidence else "")
    return ("bad" if by is not None else ""), f"This peer is connected no longer. It went {ago} ago: {why}{rule}."


def _against(one: HeardFact) -> str:
    times = f" {one.times} times" if one.times > 1 else ""
    if one.effect in ("dry-run", "unproven"):
        why = "a dry run" if one.effect == "dry-run" else "which is not proven"
        return f"of {one.fact.kind}{times}, for which {one.rule} would {one.action} it ({why})"
    return f"of {one.fact.kind}{times} ({one.rule})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
