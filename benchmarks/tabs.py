"""Open tabs of the admin, as far as the node can tell: the requests of the pages' own script, without a browser.

`tabs.py HOST:PORT TOKEN-FILE PATH...`: for `open` on stdin each path is opened, with its stream of events, and asks for
itself again as soon as it may, as if something happened all the time; for `close` they are closed. Each says `done`.
"""

from __future__ import annotations

import http.client
import sys
import threading
from pathlib import Path

Headers = dict[str, str]


class Tab:
    """One of them."""

    def __init__(self, host: str, headers: Headers, path: str) -> None:
        self._host = host
        self._headers = headers
        self._path = path
        self._closed = threading.Event()
        self.opened = threading.Event()
        self.threads = [threading.Thread(target=one, daemon=True) for one in (self._refresh, self._listen)]
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        """No more requests."""
        self._closed.set()
        self._stream.close()
        self.threads[0].join()

    def _refresh(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        tag, rest = "", 1.0
        headers = dict(self._headers)
        while True:
            try:
                connection.request("GET", self._path, headers=headers)
                answer = connection.getresponse()
            except http.client.RemoteDisconnected:
                continue  # idle for too long: a browser, too, asks again on another connection
            answer.read()
            if answer.status not in (200, 304):
                raise SystemExit(f"{self._path}: {answer.status}")
            tag = answer.getheader("etag", tag)
            rest = max(1.0, float(answer.getheader("x-refresh-after", "0")))
            headers = {**self._headers, "x-refresh": "1", "if-none-match": tag}
            self.opened.set()
            if self._closed.wait(rest):
                connection.close()
                return

    def _listen(self) -> None:
        self._stream = http.client.HTTPConnection(self._host, timeout=60)
        self._stream.request("GET", "/api/v1/events/stream", headers=self._headers)
        answer = self._stream.getresponse()
        try:
            while not self._closed.is_set() and answer.read1(65_536):
                pass
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            if not self._closed.is_set():
                raise


def main(host: str, token: str, *paths: str) -> None:
    """Serve stdin."""
    headers = {"authorization": f"Bearer {Path(token).read_text().strip()}", "accept": "text/html"}
    tabs: list[Tab] = []
    for line in sys.stdin:
        if line.strip() == "open":
            tabs = [Tab(host, headers, path) for path in paths]
            for tab in tabs:
                if not tab.opened.wait(60):
                    raise SystemExit("a page did not come within a minute")
        else:
            for tab in tabs:
                tab.close()
            tabs = []
        print("done", flush=True)


main(*sys.argv[1:])
