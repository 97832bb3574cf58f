"""Secrets of every kind in one node with a live peer that is inspected and captured: they come out nowhere."""

import json
from pathlib import Path

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.logger import eventAsText, globalLogPublisher

from p2pframe.admin.codes import make_code
from p2pframe.admin.password import make_hash
from p2pframe.testing.context import FakeEntropy
from p2pframe.testing.simulation import NodeSimulation
from tests.admin.web import OPERATOR, VIEWER, Raw, World, answers, example

KEY, WRONG = "c4" * 32, "d5" * 32
PASSWORD, GUESS = "canary-of-a-password-9", "canary-of-a-guess-77"
PLUGINS = Path(__file__).parents[2] / "plugins"
NETWORK = """
networks:
  net:
    protocol: {plugin: lines}
    transports: [{plugin: tcp, listen: ["0.0.0.0:7777"]}]
    upgrades: [{plugin: psk, key: "KEY"}]
    discovery: [DISCOVERY]
"""
NODE = f"""
version: 1
node: {{data_dir: NAME, plugin_path: ["{PLUGINS}"], watchdog: 0}}
storage: {{plugin: memory}}
"""
ADMIN = """
applications:
  - plugin: admin
    listen: "127.0.0.1:8600"
    password_file: hash
    tokens: [{name: scraper, role: viewer, file: viewer}, {name: script, role: operator, file: operator}]
"""


def node(name, key, discovery="", more=""):
    return NODE.replace("NAME", name) + more + NETWORK.replace("KEY", key).replace("DISCOVERY", discovery)


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    monkeypatch.setenv("P2PFRAME_CANARY", KEY)
    hash = make_hash(PASSWORD)
    for name, text in (("viewer", VIEWER), ("operator", OPERATOR), ("hash", hash)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    simulation = NodeSimulation(tmp_path, real_folders=True)
    simulation.epoch = 1_700_000_000.0
    host = simulation.start(node("data", "${P2PFRAME_CANARY}", more=ADMIN), "192.0.2.1")
    dial = '{plugin: static, peers: ["192.0.2.1:7777"]}'
    for number, key in enumerate((KEY, WRONG)):
        simulation.start(node(f"peer{number}", key, dial), f"198.51.{100 + number}.1")
    simulation.run(20.0)
    yield simulation, host, hash
    simulation.close()


def test_secrets_of_every_kind_come_out_nowhere(simulated, tmp_path):
    simulation, host, hash = simulated
    web = World.__new__(World)
    web.host = "127.0.0.1:8600"

    def ask(*args, **options):
        reactor = host.incarnation.reactor
        raw = simulation.wait(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 8600), Raw()))
        raw.transport.write(web.request(*args, **options))
        return answers(simulation.wait(raw.closed()))[0]

    logged = []
    globalLogPublisher.addObserver(logged.append)
    try:
        application = host.node.applications[0]
        operator = {"authorization": f"Bearer {OPERATOR}"}
        [peer] = [one for one in ask(path="/api/v1/peers", **operator).json["peers"] if one["state"] == "open"]
        at = f"/api/v1/peers/net/{peer['id']}"
        assert ask("POST", f"{at}/inspect", **operator).status == 200
        name = ask("POST", f"{at}/capture", body={"seconds": 60}, **operator).json["name"]
        simulation.run(30.0)
        code = make_code(
            next(tmp_path.rglob("application.admin/key")).read_bytes(), application.context.unix_time(), FakeEntropy(1)
        )
        tried = ({"code": code}, {"code": code}, {"password": GUESS})
        sessions = [ask("POST", "/api/v1/login", body=body) for body in tried]
        assert [one.status for one in sessions] == [200, 403, 403]
        cookie = sessions[0].get("set-cookie").partition(";")[0]
        held = {"cookie": cookie, "x_csrf_token": sessions[0].json["csrf"]}
        shown = [repr(one).encode() for one in sessions[1:]]
        for values in ({"networks.net.upgrades.0.key": WRONG}, {"networks.net.upgrades.0": {"key": WRONG}},
                       {"applications.0.password_file": GUESS}, {"node.events": WRONG}, {WRONG: 1}):  # fmt: skip
            for what in ("check", "apply"):
                answer = ask("POST", f"/api/v1/config/{what}", body={"values": values}, **operator)
                assert answer.status in (409, 422), (values, answer)
                # A key that the asker has made up is quoted; a value never is.
                shown += [repr(answer).encode()] if WRONG not in values else []
        change = {"values": {"networks.net.limits.messages_per_second": 400}}
        assert ask("POST", "/api/v1/config/apply", body=change, **operator).status == 200
        assert ask("POST", "/api/v1/config/rollback", body={"number": 1}, **operator).status == 200
        hidden = 0
        for headers in (operator, {"authorization": f"Bearer {VIEWER}"}, held):
            routes = sorted(application._site.routes.all, key=lambda one: one.path.endswith(("/stop", "/logout")))
            for route in routes:
                if "stream" in route.path or "delete" in route.path or "disconnect" in route.path:
                    continue
                path, body = example(route)
                path = path.replace("/net/1", f"/net/{peer['id']}").replace("admin.css", name)
                answer = ask(route.method, path, body=body, **headers)
                assert answer.status != 500, path
                shown.append(repr(answer).encode())
                hidden += b"***" in answer.body
        assert hidden >= 6, "the page and the API show that there is one"
        simulation.run(2.0)
        files = [one.read_bytes() for one in tmp_path.rglob("data/**/*") if one.is_file() and one.name != "key"]
        assert any(b"p2pcap" in one or json.dumps(name).encode() in one for one in (*files, *shown))
        said = [(eventAsText(event) + repr(event)).encode() for event in logged]
        secrets = [
            KEY, KEY.upper(), WRONG, VIEWER, OPERATOR, PASSWORD, GUESS, hash, hash.rpartition("$")[2], code,
            cookie.partition("=")[2], next(tmp_path.rglob("application.admin/key")).read_bytes().hex(),
        ]  # fmt: skip
        for text in (*shown, *files, *said):
            for secret in (*(one.encode() for one in secrets), bytes.fromhex(KEY), repr(bytes.fromhex(KEY)).encode()):
                place = text.find(secret)
                assert place < 0, text[max(0, place - 300) : place + 100]
    finally:
        globalLogPublisher.removeObserver(logged.append)
