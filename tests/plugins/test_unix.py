"""The unix transport: whole nodes over real sockets, and who may be at the other end."""

from __future__ import annotations

import os
import socket
import stat
import sys

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from zope.interface.verify import verifyObject

from p2pframe.config import load
from p2pframe.core.node import Node
from p2pframe.errors import HandshakeFailed, StartError
from p2pframe.interfaces import ITransport
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext
from tests.plugins.conftest import ROOT

CONFIG = """
version: 1
node: {{data_dir: {name}-data, plugin_path: ["{plugins}"]}}
storage: {{plugin: memory}}
networks:
  chat:
    protocol: {{plugin: lines}}
    transports: [{{plugin: unix, folder: ./sockets, listen: [{name}]}}]
    discovery: {discovery}
"""


@pytest.fixture
def context():
    return FakeContext("transport.unix")


def node_of(folder, name, peers=()):
    path = folder / f"{name}.yaml"
    listed = ", ".join(f'"{peer}.unix:1"' for peer in peers)
    discovery = f"[{{plugin: static, peers: [{listed}]}}]" if peers else "[]"
    path.write_text(CONFIG.format(name=name, plugins=ROOT / "plugins", discovery=discovery))
    node = Node(load(path), reactor)
    node.prepare()
    return node


async def until(condition, seconds=10.0):
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError(f"nothing came of it in {seconds} s")


@pytest_twisted.ensureDeferred
async def test_two_nodes_exchange_lines_over_a_real_socket_and_leave_nothing_behind(tmp_path):
    alice, bob = node_of(tmp_path, "alice"), node_of(tmp_path, "bob", ["alice"])
    try:
        await alice.start()
        await bob.start()
        assert stat.S_IMODE((tmp_path / "sockets").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "sockets" / "alice.sock").stat().st_mode) == 0o600
        await until(lambda: [s for s in alice.view.sessions() + bob.view.sessions() if s.state == "open"][1:])
        assert {s.encryption for s in alice.view.sessions()} == {f"local, user {os.getuid()}"}
        await bob.networks["chat"].protocol.say("over a socket file")
        await until(lambda: alice.networks["chat"].protocol.lines() == ["over a socket file"])
    finally:
        await bob.stop()
        await alice.stop()
    assert list((tmp_path / "sockets").iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_taken_stops_the_start_and_one_left_by_a_crash_does_not(tmp_path):
    alice = node_of(tmp_path, "alice")
    try:
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "sockets").symlink_to(tmp_path / "sockets")
        with pytest.raises(StartError, match=r"can't listen on .*alice\.sock"):
            node_of(tmp_path / "again", "alice")
    finally:
        await alice.stop()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "sockets" / "alice.sock"))
    left.close()
    os.symlink(str(2**22 + 1), tmp_path / "sockets" / "alice.sock.lock")
    await node_of(tmp_path, "alice").stop()


def test_only_names_of_its_own_are_dialled_and_none_leads_out_of_the_folder(made, context, tmp_path):
    transport = made("transport", "unix", context, folder=tmp_path)
    verifyObject(ITransport, transport)
    for good in ("bob.unix:1", "bob-2.unix:7777"):
        assert transport.can_dial(PeerAddress.parse(good)), good
    for bad in (
        "bob.example:1",
        "192.0.2.1:1",
        "unix:1",
        ".unix:1",
        "../bob.unix:1",
        "a/b.unix:1",
        "a.b.unix:1",
        "x.onion:1",
    ):
        assert not transport.can_dial(PeerAddress.parse(bad)), bad


class Wire:
    def __init__(self, end):
        self.end = end

    def getHandle(self):
        return self.end


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who is at the other end")
def test_users_who_may_not_are_refused_before_a_byte(made, context, tmp_path, monkeypatch):
    transport = made("transport", "unix", context, folder=tmp_path)
    one, other = socket.socketpair(socket.AF_UNIX)
    assert transport.prove(Wire(one)).encryption == f"local, user {os.getuid()}"
    module = sys.modules[type(transport).__module__]
    monkeypatch.setattr(module, "user_of", lambda wire: os.getuid() + 1)
    with pytest.raises(HandshakeFailed, match=f"user {os.getuid() + 1} may not"):
        transport.prove(Wire(one))
    assert context.metrics.value("unix_refused_total") == 1
    allowed = made("transport", "unix", context, folder=tmp_path, users=[os.getuid() + 1])
    assert allowed.prove(Wire(one)).peer_id is None
    one.close()
    other.close()


def test_a_wire_that_is_no_socket_proves_nothing(made, context, tmp_path):
    assert made("transport", "unix", context, folder=tmp_path).prove(object()).encryption == ""


def test_what_can_not_be_is_said_at_the_start(made, context, tmp_path):
    with pytest.raises(StartError, match=r"has \d+ bytes, 107 are possible"):
        made("transport", "unix", context, folder=tmp_path / ("x" * 100), listen=["alice"])
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="can't make the folder"):
        made("transport", "unix", context, folder=tmp_path / "file")
    with pytest.raises(ValidationError):
        made("transport", "unix", context, folder=tmp_path, listen=["../alice"])
    with pytest.raises(StartError, match="no Unix sockets here"):
        made("transport", "unix", FakeContext(reactor=Clock()), folder=tmp_path)
