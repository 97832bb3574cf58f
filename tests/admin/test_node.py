"""The admin of a whole node, made of a file with a secret in it, in the simulator: the secret comes out nowhere."""

from pathlib import Path

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.logger import eventAsText, globalLogPublisher

from p2pframe.admin.codes import make_code
from p2pframe.model import SessionCounters
from p2pframe.testing.context import FakeEntropy
from p2pframe.testing.simulation import NodeSimulation
from tests.admin.web import VIEWER, Raw, World, answers, example

SECRET = "c4" * 32
CONFIG = f"""
version: 1
node: {{data_dir: data, plugin_path: ["{Path(__file__).parents[2] / "plugins"}"], watchdog: 0}}
storage: {{plugin: memory}}
applications:
  - {{plugin: admin, listen: "127.0.0.1:8600", tokens: [{{name: scraper, role: viewer, file: token}}]}}
networks:
  chat:
    protocol: {{plugin: lines}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:7777"]}}]
    upgrades: [{{plugin: psk, key: "{SECRET}"}}]
"""


class NodeWorld(World):
    """What asks the admin of a node in the simulator."""

    def __init__(self, simulation, host):
        self.simulation, self.node_host = simulation, host
        self.host = "127.0.0.1:8600"

    def send_now(self, data):
        """The answers to some bytes."""
        reactor = self.node_host.incarnation.reactor
        raw = self.simulation.wait(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 8600), Raw()))
        raw.transport.write(data)
        return answers(self.simulation.wait(raw.closed()))

    def ask_now(self, *args, **options):
        return self.send_now(self.request(*args, **options))[0]


@pytest.fixture
def node(tmp_path):
    (tmp_path / "token").write_text(VIEWER)
    (tmp_path / "token").chmod(0o600)
    simulation = NodeSimulation(tmp_path, real_folders=True)
    simulation.epoch = 1_700_000_000.0
    host = simulation.start(CONFIG, "192.0.2.1")
    simulation.run(1.0)
    yield NodeWorld(simulation, host)
    simulation.close()


def test_a_secret_of_the_configuration_comes_out_nowhere(node, tmp_path):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        application = node.node_host.node.applications[0]
        key = next(tmp_path.rglob("application.admin/key")).read_bytes()
        code = make_code(key, application.context.unix_time(), FakeEntropy(1))
        logged_in = node.ask_now("POST", "/api/v1/login", body={"code": code})
        assert logged_in.status == 200, logged_in
        cookie, csrf = logged_in.get("set-cookie").partition(";")[0], logged_in.json["csrf"]
        shown, hidden = [], 0
        for route in sorted(application._site.routes.all, key=lambda one: one.path.endswith("/logout")):
            if "stream" in route.path:
                continue
            path, body = example(route)
            answer = node.ask_now(route.method, path, body=body, cookie=cookie, x_csrf_token=csrf)
            assert answer.status != 500, path
            shown.append(repr(answer).encode())
            hidden += b"***" in answer.body
        assert hidden >= 2, "the page and the API show that there is one"
        files = [file.read_bytes() for file in tmp_path.rglob("data/**/*") if file.is_file() and file.name != "key"]
        logged = [(eventAsText(event) + repr(event)).encode() for event in events]
        for text in (*shown, *files, *logged):
            for secret in (SECRET, bytes.fromhex(SECRET).hex().upper(), VIEWER, code, cookie.partition("=")[2]):
                assert secret.encode() not in text
    finally:
        globalLogPublisher.removeObserver(events.append)


def test_of_a_reactor_that_nobody_watches_it_does_not_say_that_it_is_in_time(node):
    answer = node.ask_now(path="/api/v1/node", authorization=f"Bearer {VIEWER}")
    assert (answer.status, answer.json["lag"]) == (200, None)
    assert b"reactor_lag" not in node.ask_now(path="/metrics", authorization=f"Bearer {VIEWER}").body


def test_metrics_tell_messages_by_type_and_bytes_of_each_network(node):
    gone = SessionCounters(0.0)
    gone.messages_in, gone.message_bytes_in, gone.messages_out = {"line": 3, "*": 1}, {"line": 60, "*": 9}, {"get": 2}
    gone.bytes_in, gone.bytes_out = 80, 25
    node.node_host.node.networks["chat"]._traffic.ended(gone)
    shown = node.ask_now(path="/metrics", authorization=f"Bearer {VIEWER}").body.decode().splitlines()
    for line in (
        'messages_received_total{network="chat",type="line"} 3.0',
        'messages_received_total{network="chat",type="other"} 1.0',
        'message_bytes_received_total{network="chat",type="line"} 60.0',
        'messages_sent_total{network="chat",type="get"} 2.0',
        'network_bytes_received_total{network="chat"} 80.0',
        'network_bytes_sent_total{network="chat"} 25.0',
    ):
        assert f"p2pframe_{line}" in shown
