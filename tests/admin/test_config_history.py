"""Changes of live values through the admin of a whole node: what undoes them, and what has come in between."""

import pytest

from p2pframe.testing.simulation import NodeSimulation
from tests.admin.test_node import CONFIG, NodeWorld
from tests.admin.web import OPERATOR, VIEWER

VISITS, TICK = "networks.chat.limits.visits", "networks.chat.limits.tick"


class ConfigWorld(NodeWorld):
    """Its operator."""

    def post(self, what, status=200, **body):
        answer = self.ask_now("POST", f"/api/v1/config/{what}", body=body, authorization=f"Bearer {OPERATOR}")
        assert answer.status == status, answer
        return answer.json["differences"] if status == 200 else answer.json["detail"]

    def get(self, what):
        return self.ask_now(path=f"/api/v1{what}", authorization=f"Bearer {OPERATOR}").json

    @property
    def changed(self):
        return self.get("/config")["changed"]

    @property
    def undoable(self):
        return {one["number"]: one["undoable"] for one in self.get("/config/history")["versions"]}

    def reload(self):
        self.simulation.wait(self.node_host.node.control.reconfigure(self.node_host.node.spec.path))


@pytest.fixture
def node(tmp_path):
    for name, text in (("token", VIEWER), ("operator", OPERATOR)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    simulation = NodeSimulation(tmp_path, real_folders=True)
    simulation.epoch = 1_700_000_000.0
    text = CONFIG.replace("file: token}", "file: token}, {name: script, role: operator, file: operator}")
    host = simulation.start(text, "192.0.2.1")
    simulation.run(1.0)
    yield ConfigWorld(simulation, host)
    simulation.close()


def test_what_the_file_took_back_is_not_set_again_by_an_undo(node):
    node.post("apply", values={VISITS: 16})
    assert node.undoable == {1: True}
    node.reload()
    assert node.undoable == {1: False}
    assert node.post("apply", values={TICK: "3s"}) == [f"{TICK}: 2.0 -> 3.0"]
    assert node.undoable == {1: False, 2: True}
    assert "the file was read again after it" in node.post("rollback", 409, number=1)
    assert node.changed == {TICK: "3s"}
    assert node.post("rollback", number=2) == [f"{TICK}: 3.0 -> 2.0"]
    assert node.changed == {}
    assert node.undoable == {1: False, 2: True, 3: True}


def test_an_undo_brings_back_what_was_set_and_can_be_undone(node):
    for number in (7, 8, 9):
        node.post("apply", values={VISITS: number})
    assert node.post("rollback", number=2) == [f"{VISITS}: 9 -> 7"]
    assert node.post("rollback", number=4) == [f"{VISITS}: 7 -> 9"]
    assert node.post("rollback", number=1) == [f"{VISITS}: 9 -> 32"]
    assert node.changed == {}
    assert "there is no change 7" in node.post("rollback", 404, number=7)


def test_what_changes_nothing_is_no_change(node):
    assert node.post("apply", values={}) == []
    node.post("apply", values={VISITS: 7})
    audited = node.get("/audit")["events"]
    assert node.post("apply", values={VISITS: 7}) == []
    assert node.undoable == {1: True}
    assert node.get("/audit")["events"] == audited
    # No value in force is another by this, but what is set is: an undo takes it back.
    assert node.post("apply", values={VISITS: 7, TICK: "2s"}) == []
    assert node.undoable == {1: True, 2: True}
    assert node.post("rollback", number=2) == [] and node.changed == {VISITS: 7}


def test_of_two_operators_the_second_is_told_and_replaces_nothing(node):
    seen = node.changed
    node.post("apply", values={VISITS: 7}, based_on=seen)
    for what in ("check", "apply"):
        assert "somebody has set something" in node.post(what, 409, values={TICK: "3s"}, based_on=seen)
    assert "somebody has set something" in node.post("rollback", 409, number=1, based_on=seen)
    assert node.changed == {VISITS: 7}
    assert node.undoable == {1: True}
    node.post("apply", values={VISITS: 7, TICK: "3s"}, based_on=node.changed)
    node.post("rollback", number=1, based_on=node.changed)
    assert node.changed == {}


def test_what_was_read_before_the_file_was_read_again_is_refused(node):
    node.post("apply", values={VISITS: 7})
    seen = node.changed
    node.reload()
    assert "the file was read again" in node.post("apply", 409, values={**seen, TICK: "3s"}, based_on=seen)
    assert node.changed == {}


def test_the_page_says_what_can_not_be_undone(node):
    node.post("apply", values={VISITS: 7})
    shown = node.ask_now(path="/config", authorization=f"Bearer {OPERATOR}").body
    assert b"Undo change 1 and" in shown and b"the file was read again since" not in shown
    node.reload()
    shown = node.ask_now(path="/config", authorization=f"Bearer {OPERATOR}").body
    assert b"Undo change 1 and" not in shown and b"the file was read again since" in shown


def test_a_value_that_equals_the_files_is_taken_back(node):
    def row():
        return next(one for one in node.get("/config")["settings"] if one["path"] == TICK)

    theirs = row()
    node.post("apply", values={VISITS: 7, TICK: "3s"})
    node.post("apply", values={VISITS: 7, TICK: "2s"})
    assert node.post("check", values={VISITS: 7}, based_on=node.changed) == []
    assert node.post("apply", values={VISITS: 7}, based_on=node.changed) == []
    assert node.changed == {VISITS: 7}
    assert row() == theirs
    assert node.undoable[3]


def test_a_value_is_taken_back_after_the_file_has_come_to_say_the_same(node):
    node.post("apply", values={VISITS: 7})
    path = node.node_host.node.spec.path
    before = path.read_text()
    path.write_text(before.replace("  chat:\n", "  chat:\n    limits: {visits: 7}\n"))
    assert path.read_text() != before
    assert node.post("check", values={}, based_on=node.changed) == []
    assert node.post("apply", values={}, based_on=node.changed) == []
    assert node.changed == {}
    node.reload()
    assert node.post("check", values={VISITS: 8}) == [f"{VISITS}: 7 -> 8"]
