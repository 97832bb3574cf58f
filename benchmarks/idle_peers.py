"""Many idle peers in one process.

`idle_peers.py PORT`, then on stdin a number a line: as many sessions are opened, in all.

Says `open N` on stdout once they are. They speak from several loopback addresses, as one has only so many ports.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from benchmarks.wire import FRAME, version

WINDOW = 64
"""Sessions in the handshake at once."""
EACH = 2000
"""Sessions from one address."""
PING = FRAME("ping")[4:16]
VERACK = FRAME("verack")


def main(port: int) -> None:
    """Serve stdin."""
    poll = select.epoll()
    wires: dict[int, socket.socket] = {}
    waiting: dict[int, None] = {}
    opened = 0

    def dial() -> None:
        number = len(wires)
        wire = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.{1 + number // EACH}.1", 0))
        wires[wire.fileno()] = wire
        waiting[wire.fileno()] = None
        wire.sendall(version() + VERACK)
        wire.setblocking(False)
        poll.register(wire, select.EPOLLIN)

    def read(limit: float) -> None:
        nonlocal opened
        for handle, _ in poll.poll(limit):
            data = wires[handle].recv(65_536)
            if not data:
                raise SystemExit(f"the node hung up on session {handle} after {opened} were open")
            at = -1
            while (at := data.find(PING, at + 1)) >= 0:
                wires[handle].sendall(FRAME("pong", data[at + 20 : at + 28]))
                if handle in waiting:
                    # Its first ping comes when the session is open on its side too.
                    del waiting[handle]
                    opened += 1

    stdin = select.poll()
    stdin.register(sys.stdin, select.POLLIN)
    while True:
        while not stdin.poll(0):
            read(0.2)
        line = sys.stdin.readline()
        if not line:
            return
        wanted = int(line)
        deadline = time.monotonic() + 300
        while opened < wanted:
            while len(waiting) < WINDOW and len(wires) < wanted:
                dial()
            read(1.0)
            if time.monotonic() > deadline:
                raise SystemExit(f"only {opened} of {wanted} sessions opened")
        print(f"open {opened}", flush=True)


main(int(sys.argv[1]))
