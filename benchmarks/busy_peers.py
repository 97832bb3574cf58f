"""Many busy peers in one process.

`busy_peers.py PORT SESSIONS FLYING`: opens so many sessions, says `open`; then for each line on stdin, a number of
seconds, it keeps `FLYING` pings under way for so long, one session after another, and says how many were answered.
Between these it answers the node's own pings and is silent.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from benchmarks.wire import FRAME, version

WINDOW = 64
"""Sessions in the handshake at once."""
PING, PONG, GETHEADERS = FRAME("ping")[:16], FRAME("pong")[:16], FRAME("getheaders")[:16]
OURS = FRAME("ping", b"busypeer")


def main(port: int, sessions: int, flying: int) -> None:
    """Serve stdin."""
    poll = select.epoll()
    wires: dict[int, socket.socket] = {}
    waiting: dict[int, None] = {}
    order: list[socket.socket] = []
    state = {"next": 0, "answered": 0, "flying": 0}
    running = False
    told = sys.stdin.fileno()

    def dial() -> None:
        wire = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.{1 + len(wires) // 250}.1", 0))
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wires[wire.fileno()] = wire
        waiting[wire.fileno()] = None
        wire.sendall(version() + FRAME("verack"))
        poll.register(wire, select.EPOLLIN)
        order.append(wire)

    def ask() -> None:
        state["next"] = (state["next"] + 1) % len(order)
        order[state["next"]].sendall(OURS)
        state["flying"] += 1

    def read(limit: float) -> None:
        for handle, _ in poll.poll(limit):
            if handle == told:
                continue
            data = wires[handle].recv(65_536)
            if not data:
                raise SystemExit(f"the node hung up on session {handle}")
            at = -1
            while (at := data.find(PING, at + 1)) >= 0:
                wires[handle].sendall(FRAME("pong", data[at + 24 : at + 32]))
                waiting.pop(handle, None)
            if GETHEADERS in data:
                # Who answers nothing is dropped after a minute.
                wires[handle].sendall(FRAME("headers", b"\0"))
            count = data.count(PONG)
            state["answered"] += count
            state["flying"] -= count
            if running:
                for _ in range(count):
                    ask()

    deadline = time.monotonic() + 300
    while len(order) < sessions or waiting:
        while len(waiting) < WINDOW and len(order) < sessions:
            dial()
        read(1.0)
        if time.monotonic() > deadline:
            raise SystemExit(f"only {len(order) - len(waiting)} of {sessions} sessions opened")
    print("open", flush=True)
    stdin = select.poll()
    stdin.register(sys.stdin, select.POLLIN)
    # It ends a wait, too: nothing but load is in the time between a line and the answer.
    poll.register(told, select.EPOLLIN)
    while True:
        while not stdin.poll(0):
            read(0.2)
        line = sys.stdin.readline()
        if not line:
            return
        state["answered"] = 0
        end = time.monotonic() + float(line)
        running = True
        while state["flying"] < flying:
            ask()
        while time.monotonic() < end:
            read(0.1)
        running = False
        while state["flying"]:
            read(1.0)
        print(state["answered"], flush=True)


main(*map(int, sys.argv[1:]))
