"""An authenticator in one file: strangers are let in at certain hours only. A worked example of `IAuthenticator`.

    networks:
      bitcoin:
        authentication: [{plugin: office-hours, hours: ["08:00-18:00"], days: [mon, tue, wed, thu, fri]}]

Core calls `admit` once for each session, when the handshake has said who the peer is; every authenticator of the chain
has to allow. An answer is a `Verdict` with a rule, a reason (a stable word, for counters) and evidence (for people):
whoever wonders afterwards why a peer was refused finds it in the node's events.

The time comes from the context, so that the rule holds by virtual time in the simulator. The plugin keeps nothing: with
its options live, a change holds from the next peer on; sessions that are open stay.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, cast

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from p2pframe.interfaces import IAuthenticator, IContext, IReconfigurable
from p2pframe.model import ALLOW, Action, HandshakeInfo, Slot, Verdict
from p2pframe.plugin import PluginConfig, live, plugin

_RULE = "authentication.office-hours"
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z", re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _check_hours(text: str) -> str:
    if not _HOURS.match(text) or text[:5] == text[6:]:
        raise PydanticCustomError(
            "hours", "not two different times of a day such as 08:00-18:00 (22:00-06:00 goes over midnight)"
        )
    return text


def _check_day(text: str) -> str:
    if text not in _DAYS:
        raise PydanticCustomError("day", "not a day: {days}", {"days": ", ".join(_DAYS)})
    return text


class OfficeHoursConfig(PluginConfig):
    """Options of the `office-hours` authenticator."""

    hours: tuple[Annotated[str, AfterValidator(_check_hours)], ...] = live(
        ("08:00-18:00",),
        min_length=1,
        max_length=100,
        description="When peers may come, by the clock of the zone below.",
    )
    days: tuple[Annotated[str, AfterValidator(_check_day)], ...] = live(
        _DAYS,
        min_length=1,
        max_length=7,
        description="On which days; a span over midnight belongs to the day it begins on.",
    )
    utc_offset: float = live(0.0, ge=-14, le=14, description="Hours by which that clock is ahead of UTC.")


@plugin("office-hours", config=OfficeHoursConfig)
@implementer(IAuthenticator, IReconfigurable)
class OfficeHours:
    """Lets peers dial us at certain hours only; those that we dial are welcome at any time."""

    name = "office-hours"

    def __init__(self, config: OfficeHoursConfig, context: IContext) -> None:
        self.config = config
        self.context = context

    def admit(self, info: HandshakeInfo, slot: Slot) -> Verdict:
        """`closed` outside of the hours."""
        if slot.dialled:
            return ALLOW
        now = datetime.fromtimestamp(self.context.unix_time(), UTC) + timedelta(hours=self.config.utc_offset)
        clock, today = f"{now:%H:%M}", now.weekday()
        for span in self.config.hours:
            begin, end = span[:5], span[6:]
            if begin < end:
                open_on = today if begin <= clock < end else None
            else:
                # Over midnight: before it the span is today's, after it yesterday's.
                open_on = today if clock >= begin else (today - 1) % 7 if clock < end else None
            if open_on is not None and _DAYS[open_on] in self.config.days:
                return ALLOW
        opens = f"{', '.join(self.config.hours)} on {', '.join(self.config.days)}"
        return Verdict(Action.DISCONNECT, _RULE, "closed", f"it is {_DAYS[today]} {clock}; open {opens[:200]}")

    def reconfigure(self, config: object) -> None:
        """Called with new live options."""
        self.config = cast(OfficeHoursConfig, config)
