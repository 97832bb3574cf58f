"""The office-hours authenticator."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import IAuthenticator, IReconfigurable
from p2pframe.model import Action, HandshakeInfo, PeerAddress, Slot
from p2pframe.testing.context import FakeContext
from plugins.office_hours import OfficeHours, OfficeHoursConfig

PEER = HandshakeInfo(PeerAddress("192.0.2.1", 40000), inbound=True)
WEEK = ["mon", "tue", "wed", "thu", "fri"]


def at(text, **options):
    """The rule, on a day of the week that began on Monday 2024-01-01."""
    context = FakeContext("authentication.office-hours")
    day, clock = text.split()
    number = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].index(day) + 1
    hour, minute = map(int, clock.split(":"))
    context.unix_epoch = datetime(2024, 1, number, hour, minute, tzinfo=UTC).timestamp()
    return OfficeHours(OfficeHoursConfig(**options), context)


def test_it_is_an_authenticator():
    verifyClass(IAuthenticator, OfficeHours)
    verifyObject(IAuthenticator, at("mon 12:00"))
    verifyObject(IReconfigurable, at("mon 12:00"))


@pytest.mark.parametrize(
    ("when", "options", "open_"),
    [
        ("mon 07:59", {}, False),
        ("mon 08:00", {}, True),
        ("mon 17:59", {}, True),
        ("mon 18:00", {}, False),
        ("sat 12:00", {"days": WEEK}, False),
        ("mon 07:00", {"utc_offset": 1}, True),
        ("sun 23:30", {"hours": ["00:00-01:00"], "utc_offset": 1, "days": ["mon"]}, True),
        ("fri 23:00", {"hours": ["22:00-06:00"], "days": WEEK}, True),
        ("sat 05:59", {"hours": ["22:00-06:00"], "days": WEEK}, True),
        ("sat 06:00", {"hours": ["22:00-06:00"], "days": WEEK}, False),
        ("mon 05:00", {"hours": ["22:00-06:00"], "days": WEEK}, False),
        ("tue 05:00", {"hours": ["22:00-06:00"], "days": WEEK}, True),
        ("mon 13:00", {"hours": ["08:00-12:00", "13:00-17:00"]}, True),
        ("mon 12:30", {"hours": ["08:00-12:00", "13:00-17:00"]}, False),
    ],
)
def test_strangers_come_at_its_hours_only(when, options, open_):
    rule = at(when, **options)
    verdict = rule.admit(PEER, Slot.INBOUND)
    assert bool(verdict) is open_
    if not open_:
        assert (verdict.action, verdict.rule, verdict.reason) == (
            Action.DISCONNECT, "authentication.office-hours", "closed",
        )  # fmt: skip
        assert rule.admit(PEER, Slot.OUTBOUND)


def test_options_are_live():
    rule = at("mon 20:00")
    assert rule.admit(PEER, Slot.INBOUND).evidence.startswith("it is mon 20:00; open 08:00-18:00 on mon")
    rule.reconfigure(OfficeHoursConfig(hours=["19:00-21:00"]))
    assert rule.admit(PEER, Slot.INBOUND)


@pytest.mark.parametrize(
    "options", [{"hours": []}, {"hours": ["8-18"]}, {"hours": ["08:00-24:00"]}, {"days": ["monday"]}]
)
def test_mistakes_in_the_config_are_told(options):
    with pytest.raises(ValidationError):
        OfficeHoursConfig(**options)
