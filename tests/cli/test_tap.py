"""`twistd p2pnode` and twist as an operator sees them: what is said where, and the exit status; each a real process."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TWISTD = "from twisted.scripts.twistd import run; run()"
TWIST = "import sys; from twisted.application.twist._twist import Twist; Twist.main(sys.argv)"
CONFIG = """\
version: 1
node: {{plugin_path: [plugins], data_dir: data{node}}}
storage: {{plugin: quiet-storage, start: {start}}}
networks:
  main:
    protocol: {{plugin: quiet}}
    transports: [{{plugin: quiet-tcp, listen: ["127.0.0.1:{port}"]}}]
applications: [{{plugin: chatty{chatty}}}]
"""
DEADLINE = 8.0


def free_port() -> int:
    """A port outside of the range that the system hands out to whoever dials."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Place:
    """A folder to run a node in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "plugins").mkdir(mode=0o755)
        shutil.copy(Path(__file__).parent / "quiet_node.py", path / "plugins" / "quiet_node.py")
        (path / "plugins" / "quiet_node.py").chmod(0o644)
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        self.env.pop("NOTIFY_SOCKET", None)
        self.port = free_port()

    def write(self, start="well", node="", chatty="", port=None):
        text = CONFIG.format(start=start, node=node, chatty=chatty, port=port or self.port)
        (self.path / "node.yaml").write_text(text)

    def command(self, *options, program=TWISTD, config="node.yaml"):
        return [sys.executable, "-c", program, *options, "p2pnode", "-c", config]

    def run(self, *options, **kwargs):
        """Run to the end; no traceback, whatever happens."""
        result = subprocess.run(
            self.command(*options, **kwargs),
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert "Traceback" not in result.stdout + result.stderr
        return result

    @contextmanager
    def running(self, *options, program=TWISTD, ready="node started"):
        """A process that has said `ready` on stdout."""
        process = subprocess.Popen(
            self.command(*options, program=program), cwd=self.path, env=self.env, text=True, bufsize=1,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            self.lines = []
            self.wait(process, ready)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def wait(self, process, text):
        assert process.stdout is not None
        # A line that never comes must not hold up the run: the process is ended, and the reading with it.
        deadline = threading.Timer(60, process.kill)
        deadline.start()
        try:
            for line in process.stdout:
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return
        finally:
            deadline.cancel()
        pytest.fail(f"{text!r} was not said:\n" + "\n".join(self.lines))

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def daemon_pid(self):
        return int((self.path / "data" / "lock").read_text())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def daemons(place):
    """Ends the daemon of the test, if there is one."""
    yield
    lock = place.path / "data" / "lock"
    if lock.exists() and lock.read_text().strip().isdigit():
        pid = int(lock.read_text())
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return
        if str(place.path).encode() in command or b"p2pnode" in command:
            os.kill(pid, signal.SIGKILL)


def end(pid):
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}/stat").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text())


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


FOREGROUND = ["--nodaemon"]
WAYS = pytest.mark.parametrize(
    ("options", "program"), [(FOREGROUND, TWISTD), ([], TWISTD), ([], TWIST)], ids=["foreground", "daemon", "twist"]
)


@WAYS
def test_config_errors_end_the_start(place, options, program):
    place.write(start="sideways", chatty=", line: 5")
    result = place.run(*options, program=program)
    assert result.returncode == 1
    assert (
        "node.yaml:3:41: storage.start: must be 'well', 'late', 'failing', 'failing-late' or 'never'" in result.stderr
    )
    assert "node.yaml:8:33: applications.0.line: unknown key 'line' (did you mean 'lines'?)" in result.stderr
    assert "2 mistakes: the node does not start" in result.stderr
    assert not (place.path / "data").exists()


@WAYS
def test_a_missing_config_ends_the_start(place, options, program):
    result = place.run(*options, program=program, config="none.yaml")
    assert result.returncode == 1
    assert "none.yaml:1:1: can't read none.yaml: No such file or directory" in result.stderr


@WAYS
@pytest.mark.usefixtures("daemons")
def test_a_busy_port_ends_the_start(place, options, program):
    place.write()
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        result = place.run(*options, program=program)
    assert result.returncode == 1
    assert str(place.port) in result.stderr
    assert re.search("in use", result.stderr)


@WAYS
@pytest.mark.usefixtures("daemons")
def test_an_unusable_data_directory_ends_the_start(place, options, program):
    place.write()
    (place.path / "data").write_text("a file")
    result = place.run(*options, program=program)
    assert result.returncode == 1
    assert "data" in result.stderr


@WAYS
@pytest.mark.usefixtures("daemons")
@pytest.mark.parametrize(("start", "said"), [("failing", "newer schema"), ("failing-late", "restore a backup")])
def test_a_failure_of_the_start_itself_ends_it(place, options, program, start, said):
    place.write(start=start)
    result = place.run(*options, program=program)
    assert result.returncode == 1
    assert said in result.stderr
    assert not place.listens()


@pytest.mark.usefixtures("daemons")
def test_a_second_node_on_the_data_directory_is_refused(place):
    place.write()
    with place.running("--nodaemon"):
        place.write(port=1)
        result = place.run("--nodaemon")
        assert result.returncode == 1
        assert "data" in result.stderr


@pytest.mark.usefixtures("daemons")
@pytest.mark.parametrize("start", ["well", "late"])
def test_a_daemon_has_started_when_the_command_returns(place, start):
    place.write(start=start, chatty=", lines: 3")
    result = place.run()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert place.listens()
    pid = place.daemon_pid()
    assert pid != os.getpid()
    # No pidfile, no twistd.log: what it leaves is in its data directory.
    assert sorted(p.name for p in place.path.iterdir() if not p.name.startswith(".")) == [
        "data",
        "node.yaml",
        "plugins",
    ]
    log = (place.path / "data" / "node.log").read_text()
    assert "starting up" in log and "line 2" in log and "node started" in log
    end(pid)
    assert "node stopped" in (place.path / "data" / "node.log").read_text()
    assert not place.listens()


@pytest.mark.usefixtures("daemons")
def test_a_daemon_stopped_before_it_has_started_is_a_failed_start(place):
    place.write(start="never", node=", stop_timeout: 100ms")
    process = subprocess.Popen(
        place.command(), cwd=place.path, env=place.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until(lambda: (place.path / "data" / "lock").exists() and (place.path / "data" / "lock").read_text().strip())
        until(place.listens)
        end(place.daemon_pid())
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "stopped before it had started" in err
    assert "Traceback" not in out + err


@WAYS
def test_a_log_file_that_cannot_be_written_is_named(place, options, program):
    (place.path / "not-a-folder").write_text("")
    place.write(node=", log_file: not-a-folder/my.log")
    result = place.run(*options, program=program)
    assert result.returncode == 1
    assert f"the log file {place.path}/not-a-folder/my.log can't be written: " in result.stderr
    assert "node.log_file" in result.stderr
    assert not place.listens()


@pytest.mark.usefixtures("daemons")
def test_a_pidfile_is_written_where_one_is_asked_for(place):
    place.write()
    assert place.run("--pidfile=my.pid").returncode == 0
    pid = int((place.path / "my.pid").read_text())
    assert pid == place.daemon_pid()
    end(pid)
    assert not (place.path / "my.pid").exists()


@pytest.mark.usefixtures("daemons")
def test_a_stale_pidfile_blocks_nothing(place):
    place.write()
    (place.path / "twistd.pid").write_text(str(os.getpid()))
    result = place.run()
    assert (result.returncode, result.stderr) == (0, "")
    end(place.daemon_pid())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("options", "program"), [(FOREGROUND, TWISTD), ([], TWIST)], ids=["twistd", "twist"])
def test_signals_stop_it_cleanly(place, number, options, program):
    place.write()
    with place.running(*options, program=program) as process:
        process.send_signal(number)
        place.wait(process, "node stopped")
        process.wait(DEADLINE)
    assert any("chatty says goodbye" in line for line in place.lines)
    # Twisted ends the process by the signal that asked for it.
    assert process.returncode in (0, -number)


def test_the_service_manager_is_told(place):
    place.write(start="late")
    name = f"p2pframe-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name)
        channel.settimeout(DEADLINE)
        place.env["NOTIFY_SOCKET"] = "@" + name
        with place.running("--nodaemon") as process:
            assert channel.recv(4096).decode() == f"READY=1\nMAINPID={process.pid}"
            assert place.listens()
            process.send_signal(signal.SIGHUP)
            assert channel.recv(4096).decode().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert channel.recv(4096) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert channel.recv(4096) == b"STOPPING=1"


def test_sighup_reads_the_config_again(place):
    place.write()
    with place.running("--nodaemon") as process:
        place.write(chatty=", every: 5s")
        process.send_signal(signal.SIGHUP)
        place.wait(process, "chatty is told 5.0")
        place.write(node=", log_level: warn", chatty=", every: 5 s s")
        process.send_signal(signal.SIGHUP)
        place.wait(process, "configuration not taken")
        assert "node.yaml:8:40" in place.lines[-1]
        place.write(node=", log_level: warn", chatty=", every: 5s")
        process.send_signal(signal.SIGHUP)
        place.wait(process, "configuration read again")
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
        assert not any("node stopped" in line for line in process.stdout)


def test_it_stops_when_its_terminal_goes(place):
    place.write(node=", log_file: my.log")
    log = place.path / "my.log"
    terminal, inner = pty.openpty()
    # The first terminal that the leader of a new session opens is the session's.
    program = f"import os; os.open({os.ttyname(inner)!r}, os.O_RDWR); {TWISTD}"
    process = subprocess.Popen(
        place.command("--nodaemon", program=program), cwd=place.path, env=place.env, start_new_session=True,
        stdin=inner, stdout=inner, stderr=inner,
    )  # fmt: skip
    os.close(inner)
    try:
        until(lambda: log.exists() and "node started" in log.read_text())
        process.send_signal(signal.SIGHUP)
        until(lambda: "configuration read again: nothing differs" in log.read_text())
        os.close(terminal)
        process.wait(DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert "node stopped" in log.read_text()
    assert "the terminal is gone: stopping" in log.read_text()


def test_a_log_file_rotates_within_bounds_and_like_lines_are_counted(place):
    place.write(node=", log_file: my.log, log_size: 10kB, log_files: 2, log_rate: 400", chatty=", lines: 1000")
    process = subprocess.Popen(
        place.command("--nodaemon"), cwd=place.path, env=place.env, stdout=subprocess.PIPE, text=True
    )
    try:
        until(lambda: (place.path / "my.log").exists() and "more suppressed" in (place.path / "my.log").read_text())
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    files = sorted(place.path.glob("my.log*"))
    assert [f.name for f in files] == ["my.log", "my.log.1", "my.log.2"]
    assert all(f.stat().st_size < 11_000 for f in files)
    assert "600 more suppressed like: line {number}" in files[0].read_text()
    assert out == ""


@pytest.mark.usefixtures("daemons")
def test_twistds_logfile_rotates_by_our_bounds(place):
    place.write(node=", log_size: 10kB, log_files: 1, log_rate: 900", chatty=", lines: 900")
    assert place.run("--logfile=given.log").returncode == 0
    assert sorted(f.name for f in place.path.glob("given.log*")) == ["given.log", "given.log.1"]
    assert not (place.path / "data" / "node.log").exists()
    end(place.daemon_pid())


def test_json_lines(place):
    place.write(node=", log_json: true", chatty=", lines: 1")
    with place.running("--nodaemon") as process:
        process.send_signal(signal.SIGTERM)
        place.wait(process, "Server Shut Down")
    lines = [json.loads(line) for line in place.lines]
    [line] = [line for line in lines if line["text"] == "line 0"]
    assert line["level"] == "info" and line["number"] == 0 and line["from"] == "application.chatty"
    assert line["time"].endswith("Z")


def test_help_and_a_forgotten_config(place):
    result = subprocess.run(
        [sys.executable, "-c", TWISTD, "p2pnode"],
        cwd=place.path,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert result.returncode == 1
    assert "which configuration? -c FILE" in result.stdout
