"""How a session went, in words on the terminal: what `p2pframe peer ID` shows."""

from __future__ import annotations

from p2pframe.admin.values_story import Story, StoryFact
from p2pframe.admin.words import amount, duration
from p2pframe.cli.remote import show


def told(one: Story) -> None:
    """What to think of it, then how it got there, then all there is to say of it."""
    console = show.console()

    def say(text: str = "") -> None:
        # No markup: what a peer says of itself is no style.
        console.print(show.printable(text), markup=False)

    peer = one.peer
    say(f"{peer.network} {peer.id}, {peer.address}")
    say(one.says)
    if one.samples:
        values = [sample.score for sample in one.samples]
        say(
            f"score: {values[-1]:.2f}; {values[0]:.2f} at first, at least {min(values):.2f}, at most {max(values):.2f}"
        )
    for score in one.scores:
        parts = ", ".join(f"{part.name} {part.value:.2f}" for part in score.parts if part.weight)
        say(f"  {score.scorer}{'' if score.counts else ' (dry run)'} {score.value:.2f}: {parts}")
    if peer.rate_in or peer.rate_out:
        say(f"now: {amount(peer.rate_in)}/s in, {amount(peer.rate_out)}/s out")
    for state in one.states:
        for_ = "" if state.lasted is None else f", for {duration(state.lasted) if state.lasted >= 1 else 'a moment'}"
        say(f"{show.moment(state.time)}  {state.state}{for_}")
    for fact in one.facts:
        say(f"{show.moment(fact.time)}  {_came_of(fact)}")
    if one.forgotten:
        say(f"{one.forgotten} earlier facts had to make room (limits.story_facts)")
    for topic in one.inventory:
        if topic.announced or topic.brought:
            say(
                f"{topic.topic}: {topic.announced} told of and still wanted, {topic.asked} asked for, "
                f"{len(topic.brought)} of the latest brought first"
            )
    say()
    show.peer(peer)


def _came_of(fact: StoryFact) -> str:
    times = f" {fact.times} times" if fact.times > 1 else ""
    proven = "" if fact.proven else ", not proven"
    said = f"{fact.kind}{times}{proven}" + (f": {fact.evidence}" if fact.evidence else "")
    if fact.effect == "noted":
        return f"{said} (noted)"
    done = {"acted-on": "", "dry-run": "not done, a dry run", "unproven": "not done, as it is not proven",
            "spared": "ended and not remembered, as it is protected"}  # fmt: skip
    why = done.get(fact.effect, fact.effect)
    return f"{said} ({fact.rule}: {fact.action}{', ' + why if why else ''})"
