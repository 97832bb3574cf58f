"""A node in a process of its own, started as an operator would start it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIG = """\
version: 1
node: {data_dir: ./data}
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["127.0.0.1:0"]}]
"""


class RunningNode:
    """The process and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output

    def log(self) -> str:
        return self.output.read_text()

    def wait_until_listening(self, limit: float = 30.0) -> None:
        deadline = time.monotonic() + limit
        while "listening" not in self.log().lower():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends it by a signal, and fails where it does not end cleanly.

        twistd stops in good order and then ends by the same signal, so that whoever started it can tell: systemd and
        container engines take that for a clean end.
        """
        self.process.send_signal(by)
        assert self.process.wait(20) in (0, -by), self.log()
        assert "Main loop terminated" in self.log()
        assert "Traceback" not in self.log()


@contextmanager
def running_node(
    command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> Iterator[RunningNode]:
    """Starts `command` and leaves nothing of it running."""
    output = cwd / "node.out"
    with output.open("wb") as out:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield RunningNode(process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
