"""Magnet links to mutable items: the vectors of BEP 46, there and back, and refusals that say what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.mainline.magnets import KeyMagnet, parse

KEY = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e"


def test_the_vectors_of_bep_46():
    plain, salted = parse(f"magnet:?xs=urn:btpk:{KEY}"), parse(f"magnet:?xs=urn:btpk:{KEY}&s=6e")
    assert plain.target.hex() == "cc3f9d90b572172053626f9980ce261a850d050b"
    assert salted.target.hex() == "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f"
    assert salted == KeyMagnet(bytes.fromhex(KEY), b"n")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_there_and_back(key, salt):
    magnet = KeyMagnet(key, salt)
    assert parse(str(magnet)) == magnet


def test_other_fields_other_sources_and_capitals_do_not_matter():
    expected = KeyMagnet(bytes.fromhex(KEY), b"n")
    assert (
        parse(f"MAGNET:?dn=a+name&s=6E&xs=http://example.org/file&xs=urn:BTPK:{KEY.upper()}&x.pe=[::1]:1") == expected
    )


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("", "begins with magnet"),
        (f"http://x/?xs=urn:btpk:{KEY}", "begins with magnet"),
        ("magnet:?xt=urn:btih:" + "0" * 40, "no xs="),
        (f"magnet:?xs={KEY}", "no xs="),
        (f"magnet:?xs=urn:btpk:{KEY[:-2]}", "32 bytes"),
        (f"magnet:?xs=urn:btpk:{KEY}00", "32 bytes"),
        (f"magnet:?xs=urn:btpk:{KEY[:-1]}", "hex"),
        (f"magnet:?xs=urn:btpk:{KEY[:-1]}g", "hex"),
        (f"magnet:?xs=urn:btpk:{KEY[:-2]}+0a", "hex"),
        (f"magnet:?xs=urn:btpk:{KEY}&s=6", "hex"),
        (f"magnet:?xs=urn:btpk:{KEY}&s={'00' * 65}", "64 bytes"),
        (f"magnet:?xs=urn:btpk:{KEY}&xs=urn:btpk:{KEY}", "more than one"),
        (f"magnet:?xs=urn:btpk:{KEY}&s=6e&s=6f", "more than one"),
        (f"magnet:?xs=urn:btpk:{KEY}&dn={'x' * 4096}", "4096"),
        (f"magnet:?xs=urn:btpk:{KEY}" + "&a=b" * 40, "fields"),
    ],
)
def test_a_link_that_names_no_item_is_refused(link, why):
    with pytest.raises(ValueError, match=why):
        parse(link)


@given(st.text(max_size=100) | st.text(max_size=100).map(lambda text: "magnet:?xs=urn:btpk:" + text))
def test_fuzz_any_text_is_a_link_or_a_value_error(text):
    try:
        magnet = parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert len(magnet.key) == 32
