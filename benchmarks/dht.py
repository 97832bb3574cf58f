"""The DHT: lookups of absent keys beside libtorrent and PyPI's kademlia, answers beside a bare loop, memory of
peers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.dht_peers import CONFIG, host
from benchmarks.figures import Row, absent, at_least, at_most, figure
from benchmarks.processes import HERE, Missing, cpu_of

NODES = 50
SEARCHES = {"ours": 200, "libtorrent": 200, "kademlia": 10}
AFTER = {"ours": 20, "libtorrent": 3, "kademlia": 2}
"""Lookups after a fifth was killed: those of the others take up to fifteen seconds each."""
KILLED = 10
SOURCES = 1_000
SECONDS = 6.0
PEERS = 1_000_000


class Peers:
    """A process of DHT nodes."""

    def __init__(self, kind: str, role: str, first: int, count: int) -> None:
        if kind != "ours" and importlib.util.find_spec(kind) is None:
            raise Missing(f"{kind} is not installed (pip install {kind})")
        arguments = [kind, role, str(first), str(count), host(1)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "dht_peers.py"), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=HERE.parent,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def answer(self, limit: float = 120.0) -> Any:
        """The next line that it prints."""
        try:
            return json.loads(self._lines.get(timeout=limit))
        except queue.Empty:
            raise RuntimeError(f"{self.process.args} says nothing") from None

    def search(self, count: int) -> tuple[list[float], float]:
        """The seconds of so many lookups, and the CPU seconds of all of them."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        taken, cpu = self.answer(400.0)
        return taken, cpu

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)


def lookups(kind: str) -> tuple[list[float], float, list[float]]:
    """Seconds of lookups in a network that is whole, CPU seconds of one, and seconds after a fifth was killed."""
    # The crowd is in two processes, so that a fifth of it can be killed at once.
    with Peers(kind, "crowd", 1, NODES - 1 - KILLED) as crowd:
        crowd.answer()
        with Peers(kind, "crowd", NODES - KILLED, KILLED) as doomed:
            doomed.answer()
            with Peers(kind, "searcher", NODES, 1) as searcher:
                searcher.answer()
                searcher.search(10)
                taken, cpu = searcher.search(SEARCHES[kind])
                doomed.process.kill()
                doomed.process.wait()
                after, _ = searcher.search(AFTER[kind])
    return taken, cpu / SEARCHES[kind], after


def bare(port: int) -> None:
    """A loop that reads queries and answers them, and nothing more: run in a process of its own."""
    from p2pframe.protocols.mainline import krpc

    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((host(200), port))
    nodes, own = bytes(208), bytes(20)
    print("ready", flush=True)
    while True:
        data, source = one.recvfrom(2048)
        query = krpc.parse(data)
        ip = socket.inet_aton(source[0]) + source[1].to_bytes(2, "big")
        assert isinstance(query, krpc.Query)
        values: dict[bytes, Any] = {b"id": own, b"nodes": nodes, b"token": b"12345678"}
        one.sendto(krpc.response(query.transaction, values, ip, b"p2\0\1"), source)


class Sources:
    """A thousand addresses that each have one query under way, and answer what they are asked."""

    def __init__(self, server: tuple[str, int]) -> None:
        from p2pframe.protocols.mainline import krpc

        self.krpc = krpc
        rng = random.Random(1)
        self.sockets: dict[int, tuple[socket.socket, bytes]] = {}
        self.poll = select.epoll()
        for number in range(SOURCES):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((f"127.50.{number // 200}.{number % 200 + 1}", 6881))
            one.connect(server)
            own = rng.randbytes(20)
            query = krpc.query(b"aa", b"get_peers", own, {b"info_hash": rng.randbytes(20)})
            self.sockets[one.fileno()] = one, query
            self.poll.register(one.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> int:
        """Answers that came within so many seconds."""
        count, end = 0, time.monotonic() + seconds
        for one, query in self.sockets.values():
            one.send(query)
        while time.monotonic() < end:
            for number, _ in self.poll.poll(0.5):
                one, query = self.sockets[number]
                data = one.recv(2048)
                if data.endswith(b"1:y1:re"):
                    count += 1
                    one.send(query)
                else:
                    asked = self.krpc.parse(data)
                    if isinstance(asked, self.krpc.Query):
                        one.send(self.krpc.response(asked.transaction, {b"id": query[12:32]}, b""))
        return count

    def close(self) -> None:
        """End it."""
        self.poll.close()
        for one, _ in self.sockets.values():
            one.close()


def served(pid: int, server: tuple[str, int]) -> float:
    """Answers per CPU second of a server."""
    sources = Sources(server)
    try:
        sources.run(2.0)
        before = cpu_of(pid)
        count = sources.run(SECONDS)
        return count / (cpu_of(pid) - before)
    finally:
        sources.close()


def serving() -> tuple[float, float]:
    """Answers per CPU second, ours and the bare loop's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "node.yaml")
        path.write_text(CONFIG.format(folder=f"{folder}/data", host=host(201), router=host(202)))
        twistd = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "p2pnode", "-c", str(path)]
        node = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        loop = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.dht import bare; bare(6881)"], cwd=HERE.parent,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert loop.stdout is not None
            loop.stdout.readline()
            probe = Path(folder, "data")
            deadline = time.monotonic() + 20
            while not probe.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(1.0)
            found = [
                (served(node.pid, (host(201), 6881)), served(loop.pid, (host(200), 6881))) for _ in range(3)
            ]  # fmt: skip
        finally:
            for process in (node, loop):
                process.kill()
                process.wait()
            if loop.stdout is not None:
                loop.stdout.close()
    return median(one for one, _ in found), median(one for _, one in found)


def stored(peers_each: int) -> float:
    """Megabytes that a million stored peers take, so many to an infohash: in a process of its own."""
    program = f"""
import random
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.peer_store import PeerStore
from benchmarks.processes import memory_of
import os
class Nobody:
    def add(self, *_): pass
config, rng = MainlineConfig(infohashes=2 * {PEERS}, peers=2 * {PEERS}), random.Random(1)
store = PeerStore(lambda: config, lambda: rng, Nobody())
before = memory_of(os.getpid())
for _ in range({PEERS} // {peers_each}):
    info_hash = rng.randbytes(20)
    for _ in range({peers_each}):
        store.add(info_hash, rng.randbytes(4), 6881, False, 0.0)
assert store.size > 0.99 * {PEERS}
print(memory_of(os.getpid()) - before)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE.parent, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def run() -> list[Row]:
    """Measure it."""
    rows: list[Row] = []
    taken, cpu, after = lookups("ours")
    mine = median(taken)
    rows.append(figure("lookup of an absent key among 50 nodes", mine * 1e3, "ms"))
    rows.append(figure("its CPU", cpu * 1e3, "ms"))
    rows.append(at_most("slowest lookup after a fifth was killed", max(after), "s", 1.0, f"first {after[0]:.2f} s"))
    try:
        others, _, late = lookups("kademlia")
        note = f"{median(others) * 1e3:.1f} ms"
        rows.append(at_least("kademlia's lookup / ours", median(others) / mine, "", 10.0, note))
        rows.append(figure("kademlia's slowest after a fifth was killed", max(late), "s"))
    except Missing as why:
        rows.append(absent("kademlia's lookup / ours", why))
    try:
        others, theirs, late = lookups("libtorrent")
        rows.append(at_most("CPU of our lookup / libtorrent's", cpu / theirs, "", 2.0, f"{theirs * 1e3:.2f} ms"))
        rows.append(figure("libtorrent's lookup / ours", median(others) / mine, ""))
        rows.append(figure("libtorrent's slowest after a fifth was killed", max(late), "s"))
    except Missing as why:
        rows.append(absent("CPU of our lookup / libtorrent's", why))
    ours, loop = serving()
    rows.append(figure("get_peers answered to 1,000 sources", ours, "/CPU-s"))
    rows.append(at_least("the same / a bare loop's", ours / loop, "", 0.5, f"{loop:,.0f} /CPU-s"))
    for each in (1, 10):
        rows.append(at_most(f"1,000,000 stored peers, {each} to an infohash", stored(each), "MB", 200.0))
    return rows
