"""An authenticator in one file: lets peers in, or keeps them out, by what they call themselves.

An example of `IAuthenticator`.

    networks:
      bitcoin:
        authentication:
          - {plugin: version, minimum: 70016}
          - {plugin: agent, refuse: ["*crawler*", "/snoop:*"]}

Authenticators are a chain in config order: each one must allow, and the first that does not gives the reason. They are
asked once a session, when the handshake has said who the peer is and before it has a slot, and they have no side
effects: counting and remembering refusals is core's.

A peer chooses its agent freely. So this keeps out those who are honest about what they are (which most crawlers are),
and proves nothing: use `certificate` or `allow-list` with peer ids for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, cast

from pydantic import StringConstraints
from zope.interface import implementer

from p2pframe.interfaces import IAuthenticator, IContext, IReconfigurable
from p2pframe.model import ALLOW, Action, HandshakeInfo, Slot, Verdict
from p2pframe.plugin import PluginConfig, live, plugin

LONGEST = 256
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class AgentConfig(PluginConfig):
    """Options of the `agent` authenticator. Patterns are as of file names (`*`, `?`, `[abc]`); case does not count."""

    refuse: tuple[Pattern, ...] = live((), max_length=1000, description="Who matches one of these stays out.")
    only: tuple[Pattern, ...] = live(
        (), max_length=1000, description="Who matches none of these stays out; none given: anyone."
    )
    dialled: bool = live(False, description="Ask it of peers that we dialled too, not only of those that dialled us.")


@plugin("agent", config=AgentConfig)
@implementer(IAuthenticator, IReconfigurable)
class AgentAuthenticator:
    """Lets peers in or keeps them out by the name of their software."""

    name = "agent"

    def __init__(self, config: AgentConfig, context: IContext) -> None:
        self.config = config

    def admit(self, info: HandshakeInfo, slot: Slot) -> Verdict:
        """`unwanted-agent`, with the pattern that says so, or allowed.

        Manual peers are the operator's own and always are.
        """
        if slot is Slot.MANUAL or (slot.dialled and not self.config.dialled):
            return ALLOW
        # Whoever sends a long one is not to choose how long we look at it.
        agent = info.agent[:LONGEST].lower()
        pattern = _match(agent, self.config.refuse)
        if pattern is not None:
            return self._refuse(f"{agent!r} matches {pattern!r}")
        if self.config.only and _match(agent, self.config.only) is None:
            return self._refuse(f"{agent!r} matches none of those that may come in")
        return ALLOW

    def reconfigure(self, config: object) -> None:
        """Takes new patterns: they hold for whoever comes next."""
        self.config = cast(AgentConfig, config)

    def _refuse(self, evidence: str) -> Verdict:
        return Verdict(Action.DISCONNECT, "authentication.agent", "unwanted-agent", evidence)


def _match(agent: str, patterns: Sequence[str]) -> str | None:
    """The first pattern that it matches."""
    return next((pattern for pattern in patterns if fnmatchcase(agent, pattern.lower())), None)
