"""Values that come from outside: what is no address is refused, and what is one has one form only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:8333", "192.0.2.1", 8333),
        ("[2001:DB8::1]:8333", "2001:db8::1", 8333),
        ("2001:db8::1", "2001:db8::1", 1),
        ("[2001:db8::1]", "2001:db8::1", 1),
        ("::ffff:192.0.2.1", "192.0.2.1", 1),
        ("Peer.Example.:9", "peer.example", 9),
    ],
)
def test_one_form(text, host, port):
    address = PeerAddress.parse(text, 1)
    assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize("text", ["[::1", "::1]", "[::1]x:1", "a b:1", ":1", "a:b:c", "[[::1]]:1", "x:65536", "x:-1"])
def test_what_is_none(text):
    with pytest.raises(ValueError, match=r"neither an address nor a host name|is not a number|not between"):
        PeerAddress.parse(text, 1)


@given(st.text(max_size=40))
def test_any_text_is_an_address_of_one_form_or_refused(text):
    try:
        address = PeerAddress.parse(text, 7)
    except ValueError:
        return
    assert PeerAddress.of(address.host, address.port) == address
    assert PeerAddress.parse(str(address)) == address
