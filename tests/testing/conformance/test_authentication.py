"""The suite of authenticators: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

import pytest

from p2pframe.authentication.version import VersionAuthenticator
from p2pframe.model import ALLOW, Action, Verdict
from p2pframe.plugin import plugin
from p2pframe.testing.conformance import NonConformance, check


def test_version(conforms):
    options = {"minimum": 70016, "services": ["NETWORK"], "inbound_services": ["WITNESS"]}
    conforms("authentication", "version", options, hash_seeds=True)


def test_allow_list(conforms):
    options = {"addresses": ["peer.example", "::1"], "networks": ["192.0.2.0/24"], "peer_ids": ["00" * 32]}
    conforms("authentication", "allow-list", options)


def test_certificate_by_its_names(conforms):
    options = {"names": ["*.example.org"], "subject": {"CN": "peer"}, "issuer": {"C": "XX"}}
    conforms("authentication", "certificate", options)


def test_certificate_by_its_key(conforms):
    conforms("authentication", "certificate", {"pins": ["00" * 32], "dialled": False})


def test_agent(conforms):
    options = {"refuse": ["*crawler*", "/snoop:*"], "only": ["/Satoshi*", "*p2pframe*"], "dialled": True}
    conforms("authentication", "agent", options)


def test_office_hours(conforms):
    conforms("authentication", "office-hours", {"hours": ["22:00-22:01"], "days": ["mon"]})


def wrong(**members):
    """An authenticator that differs from a good one in these members."""
    members = {"__doc__": "Does one thing wrong.", "__module__": __name__, "name": "wrong", **members}
    return plugin("wrong", config=VersionAuthenticator.__p2pframe_plugin__.config)(
        type("Wrong", (VersionAuthenticator,), members)
    )


def refuse(reason="no", rule="authentication.wrong", evidence=""):
    return lambda self, info, slot: Verdict(Action.DISCONNECT, rule, reason, evidence)


def counts(self, info, slot):
    self.asked = getattr(self, "asked", 0) + 1
    return ALLOW if self.asked % 2 else Verdict(Action.DISCONNECT, "authentication.wrong", "odd")


def only_once_a_host(self, info, slot):
    seen = self.__dict__.setdefault("seen", {})
    if seen.setdefault(info.address.host, info) is info:
        return ALLOW
    return Verdict(Action.DISCONNECT, "authentication.wrong", "again")


def looks_it_up_later(self, info, slot):
    self.context.reactor.callLater(5.0, lambda: None)
    return ALLOW


def takes_a_claim(self, info, slot):
    info.claims.pop("relay", None)
    return ALLOW


def takes_a_version_for_granted(self, info, slot):
    return ALLOW if info.version > 5 else Verdict(Action.DISCONNECT, "authentication.wrong", "old")


def takes_an_agent_for_text(self, info, slot):
    return Verdict(Action.DISCONNECT, "authentication.wrong", "no", info.agent[:20].encode().hex())


def shows_all_services(self, info, slot):
    return Verdict(Action.DISCONNECT, "authentication.wrong", "no", ", ".join(sorted(info.services)))


def shows_services_in_the_order_of_a_set(self, info, slot):
    return Verdict(Action.DISCONNECT, "authentication.wrong", "no", ", ".join(info.services)[:200])


WRONG = [
    (wrong(name="version"), "IAuthenticator.name", "The plugin's name"),
    (wrong(admit=lambda self, info, slot: True), "IAuthenticator.admit", "it answers True"),
    (wrong(admit=lambda self, info, slot: None), "IAuthenticator.admit", "it answers None"),
    (wrong(admit=takes_a_version_for_granted), "IAuthenticator.admit", "TypeError"),
    (wrong(admit=takes_an_agent_for_text), "IAuthenticator.admit", "UnicodeEncodeError"),
    (wrong(admit=refuse(reason="")), "IAuthenticator.admit", "always with a reason"),
    (wrong(admit=refuse(rule="")), "IAuthenticator.admit", "who decided"),
    (wrong(admit=shows_all_services), "IAuthenticator.admit", "within a bound"),
    (wrong(admit=counts), "IAuthenticator.admit", "when asked once more"),
    (wrong(admit=only_once_a_host), "IAuthenticator.admit", "no side effect"),
    (wrong(admit=looks_it_up_later), "IAuthenticator.admit", "it timed, stored or opened something"),
    (wrong(admit=takes_a_claim), "IAuthenticator.admit", "it changed the claims"),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)


@plugin("set-order", config=VersionAuthenticator.__p2pframe_plugin__.config)
class SetOrder(VersionAuthenticator):
    """Tells what a peer offers in the order of a set."""

    name = "set-order"
    admit = shows_services_in_the_order_of_a_set


def test_the_order_of_a_set_is_seen_under_two_hash_seeds():
    check(SetOrder)
    with pytest.raises(NonConformance, match="is a set iterated"):
        check(SetOrder, hash_seeds=True)
