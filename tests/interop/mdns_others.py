"""The other host of mdns_namespace: python-zeroconf, then avahi, and what they see, a line of JSON each.

Commands come on standard input, one a line: `zeroconf`, `avahi`, `publish NAME`, `end`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, Zeroconf

KIND = "_p2pframe._tcp"
AVAHI = """[server]
use-ipv4=yes
use-ipv6=yes
allow-interfaces=b0,b1
host-name=avahi-host
ratelimit-interval-usec=0
[publish]
publish-workstation=no
"""
TELLING = threading.Lock()


def tell(**what: object) -> None:
    with TELLING:
        print(json.dumps(what), flush=True)


class Listener:
    """Tells of what zeroconf sees."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self.zeroconf = zeroconf

    def add_service(self, zeroconf: Zeroconf, kind: str, name: str) -> None:
        threading.Thread(target=self.resolve, args=(kind, name)).start()

    def update_service(self, zeroconf: Zeroconf, kind: str, name: str) -> None:
        threading.Thread(target=self.resolve, args=(kind, name)).start()

    def resolve(self, kind: str, name: str) -> None:
        info = self.zeroconf.get_service_info(kind, name)
        if info is not None:
            addresses = sorted(info.parsed_addresses(IPVersion.All))
            tell(by="zeroconf", name=name.split(".")[0], port=info.port, addresses=addresses)

    def remove_service(self, zeroconf: Zeroconf, kind: str, name: str) -> None:
        tell(by="zeroconf", gone=name.split(".")[0])


def zeroconf() -> Zeroconf:
    made = Zeroconf(ip_version=IPVersion.All)
    ServiceBrowser(made, f"{KIND}.local.", Listener(made))
    addresses = [
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        for host in ("10.1.0.2", "10.2.0.2", "fd01::2", "fd02::2", "203.0.113.9")
    ]
    made.register_service(
        ServiceInfo(
            f"{KIND}.local.", f"of-zeroconf.{KIND}.local.", addresses=addresses, port=7777, server="of-zeroconf.local."
        )
    )
    tell(by="zeroconf", ready=True)
    return made


class Avahi:
    """A daemon with a bus of its own, and its tools."""

    def __init__(self, folder: Path) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        bus = f"unix:path={folder}/bus"
        self.environ = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus}
        policy = '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow own="*"/>'
        policy += '<allow user="*"/><allow receive_sender="*"/>'
        (folder / "bus.conf").write_text(
            '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
            '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">'
            f"<busconfig><listen>{bus}</listen>{policy}</policy></busconfig>"
        )
        (folder / "avahi.conf").write_text(AVAHI)
        bus_daemon = self.start("dbus-daemon", "--nofork", "--print-address", f"--config-file={folder}/bus.conf")
        assert bus_daemon.stdout is not None
        bus_daemon.stdout.readline()
        self.daemon = self.start(
            "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", str(folder / "avahi.conf"),
            read=subprocess.STDOUT,
        )  # fmt: skip
        said = []
        for line in self.daemon.stdout or ():
            said.append(line)
            if "Server startup complete" in line:
                break
        else:
            raise RuntimeError("avahi-daemon did not start:\n" + "".join(said))
        self.read(self.daemon, lambda line: None)
        # Line by line, resolved, in a form for programs.
        browsing = self.start("stdbuf", "-oL", "avahi-browse", "-rp", KIND)
        self.read(browsing, self.seen)

    def start(self, *command: str, read: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=read, text=True)
        self.processes.append(process)
        return process

    def read(self, process: subprocess.Popen[str], then: object) -> None:
        def lines() -> None:
            for line in process.stdout or ():
                then(line.rstrip("\n"))  # type: ignore[operator]

        threading.Thread(target=lines, daemon=True).start()

    def seen(self, line: str) -> None:
        words = line.split(";")
        if words[0] == "=":
            name = words[3].replace("\\032", " ").replace("\\040", "(").replace("\\041", ")")
            tell(by="avahi", name=name, interface=words[1], port=int(words[8]), addresses=[words[7]])
        elif words[0] == "-":
            tell(by="avahi", gone=words[3])

    def publish(self, name: str) -> None:
        process = self.start("avahi-publish", "-s", name, KIND, "6666", read=subprocess.STDOUT)
        self.read(process, lambda line: tell(by="avahi", published=line))

    def end(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(10)


def main(folder: Path) -> None:
    ended: list[object] = []
    avahi: Avahi | None = None
    tell(pid=os.getpid())
    try:
        for line in sys.stdin:
            command, _, rest = line.strip().partition(" ")
            if command == "ip":
                subprocess.run(["ip", *rest.split()], check=True)
                tell(done=rest)
            elif command == "zeroconf":
                made = zeroconf()
                ended.append(made)
            elif command == "end":
                for one in ended:
                    one.close()  # type: ignore[attr-defined]
                ended.clear()
                tell(ended=True)
            elif command == "avahi":
                avahi = Avahi(folder)
                tell(by="avahi", ready=True)
            elif command == "publish" and avahi is not None:
                avahi.publish(rest)
    finally:
        if avahi is not None:
            avahi.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
