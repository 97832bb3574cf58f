"""`p2pframe ban` of a network so wide that it may be a slip: asked about, unless that was answered beforehand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from p2pframe.cli.remote.wide import refuses
from p2pframe.core.bans import _place
from tests.cli.remote import good, said

BAN = "/api/v1/bans"


@pytest.mark.parametrize(
    ("subject", "much"),
    [
        ("0.0.0.0/0", "every IPv4 address"),
        ("192.0.2.1/0", "every IPv4 address"),
        ("0.0.0.0/0.0.0.0", "every IPv4 address"),
        ("::ffff:0:0/96", "every IPv4 address"),
        ("::/0", "every IPv6 address"),
        ("128.0.0.0/1", "one in 2 of all IPv4 addresses (128.0.0.0/1)"),
        ("10.0.0.0/7", "one in 128 of all IPv4 addresses (10.0.0.0/7)"),
        ("2001::/15", "one in 32,768 of all IPv6 addresses (2000::/15)"),
        ("10.0.0.0/8", ""),
        ("2001::/16", ""),
        ("::ffff:10.0.0.0/104", ""),
        ("192.0.2.7", ""),
        ("::", ""),
        ("id:00", ""),
        ("node.example", ""),
        ("a/0", ""),
    ],
)
def test_a_network_is_wide_over_a_slash_8_or_a_slash_16(subject, much):
    assert refuses(subject) == much
    if much:
        # The node bans what was asked about.
        assert _place(subject)[1][0] == int(much.partition("IPv")[2][0])


def answered(answer, *words):
    done = subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", "ban", *map(str, words)],
        input=answer, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_it_is_asked_first(wrong):
    words = wrong(said(b"{}"))
    for no in ("n\n", ""):
        status, out, err = answered(no, "0.0.0.0/0", *words)
        assert (status, out.rstrip("\n")) == (1, "This refuses every IPv4 address. Ban? [y/N]: ")
        assert err.strip() == "Aborted!"
    status, out, err = answered("", "::/0", "--scope", "bitcoin", *words)
    assert (status, out.rstrip("\n")) == (1, "This refuses every IPv6 address in bitcoin. Ban? [y/N]: ")
    assert wrong.seen == []
    status, out, err = answered("y\n", "0.0.0.0/0", *words)
    assert (status, err) == (0, "") and out.endswith("0.0.0.0/0 is kept out for 24h\n")
    assert [path for path, _ in wrong.seen] == [BAN]


def test_who_said_yes_or_wants_json_or_bans_little_is_not_asked(wrong):
    words = wrong(said(b"{}"))
    for more in (["0.0.0.0/0", "--yes"], ["0.0.0.0/0", "-y"], ["10.0.0.0/8"]):
        assert good("ban", *more, *words) == f"{more[0]} is kept out for 24h\n"
    assert good("ban", "0.0.0.0/0", "--json", *words) == "{}\n"
    assert [path for path, _ in wrong.seen] == [BAN] * 4
