"""One peer: how it is and how it got there, in the API and on a page; also of sessions that have ended."""

from __future__ import annotations

from collections.abc import Sequence

from p2pframe.admin import rows
from p2pframe.admin import values_story as v
from p2pframe.admin.access import Role
from p2pframe.admin.api import V1, Api, no_session
from p2pframe.admin.curve import HEIGHT, WIDTH, curve
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Route
from p2pframe.admin.section import Maker
from p2pframe.admin.verdict import verdict
from p2pframe.interfaces.story import HeardFact, SessionStory, TopicInventory
from p2pframe.model import SessionId

EVENTS = 100
"""Events of a peer that its page shows."""


class PeerStories:
    """The story of each session."""

    def __init__(self, api: Api, maker: Maker) -> None:
        self._api = api
        self._maker = maker

    def routes(self) -> Sequence[Route]:
        """See `Section.routes`."""
        return [
            self._maker.page("/peers/{network}/{id}", "One peer.", self.page),
            Route("GET", V1 + "/peers/{network}/{id}/story", answer=v.Story, refusals=(404,), role=Role.VIEWER,
                  summary="How a session went, live or ended: states, scores, facts and what came of them.",
                  handler=self.story),
        ]  # fmt: skip

    def story(self, call: Call) -> v.Story:
        """As far as the node keeps it."""
        network, id = self._api.session_of(call)
        found = self._api.view.story(network, id)
        if found is None:
            raise no_session(network, id)
        return story(found, call.now)

    def page(self, call: Call) -> Made:
        """Of one that has ended too: why it went is what people come for."""
        found = self.story(call)
        peer = found.peer
        events = [rows.event(one) for one in self._api.view.latest(EVENTS, peer.network, SessionId(peer.id))]
        return self._maker.made(
            "peer.html", call, "/peers", title=peer.address, peer=peer, story=found, events=events,
            curve=curve(found, call.now), size=(WIDTH, HEIGHT),
        )  # fmt: skip


def story(one: SessionStory, now: float) -> v.Story:
    """A story as the API tells it; `now` is unix time."""
    past = now - one.now
    tone, says = verdict(one)
    ends = [time for _, time in one.states[1:]]
    return v.Story(
        peer=rows.peer(one.session, one.now if one.ended is None else one.ended), tone=tone, says=says,
        states=[
            v.StoryState(state=state, time=time + past, lasted=ends[at] - time if at < len(ends) else None)
            for at, (state, time) in enumerate(one.states)
        ],
        samples=[v.StorySample(time=time + past, score=score) for time, score in one.samples],
        scores=[
            v.StoryScore(
                scorer=score.scorer, value=score.value, counts=counts,
                parts=[
                    v.StoryPart(name=part.name, value=part.value, weight=part.weight, raw=part.raw)
                    for part in score.parts
                ],
            )
            for score, counts in one.scores
        ],
        facts=[_fact(fact, past) for fact in one.facts], forgotten=one.forgotten,
        inventory=[_topic(topic) for topic in one.inventory], claims=dict(one.claims),
        ended=one.ended + past if one.ended is not None else None, reason=one.reason, evidence=one.evidence,
    )  # fmt: skip


def _fact(one: HeardFact, past: float) -> v.StoryFact:
    fact = one.fact
    return v.StoryFact(
        first=one.first + past, time=one.time + past, times=one.times, kind=fact.kind,
        floor=fact.floor.name.lower().replace("_", " "), evidence=fact.evidence, proven=fact.proven,
        weight=fact.weight, rule=one.rule, action=one.action, effect=one.effect,
    )  # fmt: skip


def _topic(one: TopicInventory) -> v.StoryTopic:
    return v.StoryTopic(
        topic=one.topic, announced=one.announced, asked=one.asked, waiting=one.waiting,
        latest=[v.StoryItem(id=id.hex(), state=state) for id, state in one.latest],
        brought=[id.hex() for id in one.brought],
    )  # fmt: skip
