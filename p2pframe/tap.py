"""`twistd p2pnode -c FILE`, and the same under twist: a node as a service of a process.

What is wrong is said on stderr, without a traceback, with exit status 1; as a daemon too: twistd's first process waits
on a pipe for word from the daemon, and we send it once the node has started or failed, not when the reactor begins.
"""

from __future__ import annotations

# real world: everything: it makes a service of a process
import atexit
import os
import signal
import sys
import time
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from p2pframe.config import NodeSettings, NodeSpec, load
from p2pframe.errors import ConfigError, P2PFrameError, RestartNeeded, StartError
from p2pframe.garbage import Pace
from p2pframe.logs import NodeLog, Output
from p2pframe.notify import notify

if TYPE_CHECKING:
    from p2pframe.core.node import Node
    from p2pframe.interfaces import IHostReactor


class Options(usage.Options):
    """What comes after `twistd p2pnode`."""

    synopsis = "[options]"
    longdesc = (
        "Runs the node that a YAML file describes. SIGHUP reads the file again; SIGTERM and SIGINT stop the node."
    )
    optParameters = [["config", "c", None, "The configuration file."]]
    optFlags = [["log-json", None, "Log one JSON object a line (also: node.log_json)."]]

    def postOptions(self) -> None:
        """Check what was given."""
        if not self["config"]:
            raise usage.UsageError("which configuration? -c FILE (`p2pframe init` writes one)")
        parent = self.parent
        # A pidfile that a crash left behind blocks the next start where pids are reused, as in a container; the data
        # directory's lock does its work. The default is told from a name that was given by identity: nothing else
        # differs.
        if parent is not None and any(
            parent.get("pidfile") is row[2] for row in _parameters(parent) if row[0] == "pidfile"
        ):
            parent["pidfile"] = ""


def makeService(options: Options) -> NodeService:
    """Read and check the configuration; ends the process with status 1 where it has mistakes."""
    path = Path(options["config"]).absolute()
    try:
        spec = load(Path(options["config"]))
    except ConfigError as error:
        count = len(error.problems)
        raise SystemExit(f"{error}\n{count} mistake{'' if count == 1 else 's'}: the node does not start") from None
    parent = options.parent if options.parent is not None else {}
    return NodeService(spec, path, parent, bool(options["log-json"]))


class NodeService(Service):
    """A node under twistd or twist; `parent` are the options of either."""

    def __init__(self, spec: NodeSpec, path: Path, parent: MutableMapping[str, Any], as_json: bool) -> None:
        self.name = "p2pnode"
        self.spec = spec
        self.path = path
        self.parent_options = parent
        self.node: Node | None = None
        self.log = Logger(namespace="p2pframe.tap")
        self.daemon = "nodaemon" in parent and not parent["nodaemon"] and not parent.get("debug")
        self.failed = ""
        self.starting: Deferred[None] | None = None
        self._sweep: LoopingCall | None = None
        self._pace = Pace()
        self._reloading = False
        self._stderr: int | None = os.dup(2) if self.daemon else None
        self._log_file: Path | None = None
        self.node_log = NodeLog(self._output(), as_json or spec.node.log_json, spec.node.log_level, spec.node.log_rate)
        if "fileLogObserverFactory" in parent:
            parent["fileLogObserverFactory"] = lambda _: self.node_log
        atexit.register(self._exit)

    def _output(self) -> Output:
        """A stream, or nothing yet where it will be a file: files are opened as the user who runs."""
        given = self.parent_options.get("logfile")
        stream = self.parent_options.get("logFile")
        if self.parent_options.get("syslog"):
            return Output(sys.stdout)  # not used: the observer is twistd's
        if given and given != "-":
            self._log_file = Path(given)
        elif stream is not None and stream is not sys.stdout:
            return Output(cast(TextIO, stream))
        elif given != "-" and self.spec.node.log_file is not None:
            self._log_file = self.spec.node.log_file
        elif self.daemon:
            self._log_file = self.spec.node.data_dir / "node.log"
        return Output() if self._log_file is not None else Output(sys.stdout)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Give the application our observer: twistd looks for one there. With --syslog it is twistd's own."""
        if isinstance(parent, Componentized) and not self.parent_options.get("syslog"):
            parent.setComponent(ILogObserver, self.node_log)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    # --- up ---

    def startService(self) -> None:
        """Prepare and start the node. Ends the process with status 1 where it can't."""
        from twisted.internet import reactor

        from p2pframe.core.node import Node

        super().startService()  # type: ignore[no-untyped-call]
        # twistd would tell its waiting parent that all is well as soon as this returns; we do when it is so.
        self._status_pipe: int | None = self.parent_options.pop("statusPipe", None)
        # Until the reactor runs and has a handler of its own, which replaces this one. The waiting parent holds the
        # pipe's other end open itself, so a daemon that died without a word would leave it waiting for good.
        signal.signal(signal.SIGTERM, self._interrupted)
        node = Node(self.spec, cast("IHostReactor", reactor))
        node.settings_changed.append(self._settings_changed)
        try:
            if self._log_file is not None and self._log_file.parent != self.spec.node.data_dir:
                self._open_log()
            node.prepare()
            if self._log_file is not None and not self.node_log.output.is_file:
                self._open_log()
        except P2PFrameError as error:
            self._refuse(str(error))
        except OSError as error:
            self._refuse(f"{error.filename or 'the node'}: {error.strerror or error}")
        self.node = node
        # Not before the reactor runs: whoever is told that we have started may send a signal at once, and only then is
        # there a handler for it.
        reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        from twisted.internet import reactor

        self._had_terminal = _has_terminal()
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(self._hang_up))  # type: ignore[attr-defined]
        self._sweep = LoopingCall(lambda: self.node_log.flush(time.time()))
        self._sweep.clock = reactor
        self._sweep.start(1.0, now=False)
        assert self.node is not None
        self.starting = self.node.start()
        self.starting.addCallbacks(self._started, self._not_started)

    def _interrupted(self, number: int, _: object) -> None:
        self.failed = "stopped before it had started"
        self._tell_parent()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _open_log(self) -> None:
        assert self._log_file is not None
        settings = self.spec.node
        path = Path(os.path.abspath(self._log_file))
        try:
            self.node_log.output.open(path, settings.log_size, settings.log_files)
        except OSError as error:
            raise StartError(
                f"the log file {path} can't be written: {error.strerror or error};"
                " give this user the right to, or choose another (node.log_file, or --logfile of twistd)"
            ) from None

    def _refuse(self, text: str) -> NoReturn:
        """End before the reactor has begun."""
        self.failed = text
        self.node_log.close(time.time())
        self._tell_parent()
        raise SystemExit(1)

    def _started(self, _: None) -> None:
        self._pace.begin()
        self._tell_parent()
        notify(f"READY=1\nMAINPID={os.getpid()}")

    def _not_started(self, failure: Failure) -> None:
        if failure.check(P2PFrameError):
            self.failed = failure.getErrorMessage()
        else:
            self.failed = f"the node could not start: {type(failure.value).__name__}: {failure.getErrorMessage()}"
            self.log.failure("the node could not start", failure)
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        from twisted.internet import reactor

        with suppress(ReactorNotRunning):  # asked to stop already
            reactor.stop()

    # --- while running ---

    def _hang_up(self) -> None:
        """SIGHUP: the operator's, for the configuration to be read again, or the system's as our terminal is gone."""
        if self._had_terminal and not _has_terminal():
            self.log.info("the terminal is gone: stopping")
            self._stop_reactor()
        else:
            self.reload()

    def reload(self) -> Deferred[None]:
        """Read the configuration again and apply what differs; a bad one changes nothing."""
        self.node_log.output.reopen()
        if self.node is None or not self.running:
            return succeed(None)
        self._reloading = True
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        changing = self.node.control.reconfigure(self.path)
        return changing.addCallbacks(self._reloaded, self._not_reloaded).addCallback(self._reload_over)

    def _reloaded(self, done: Sequence[str]) -> None:
        for words in done or ("nothing differs",):
            self.log.info("configuration read again: {words}", words=words)

    def _settings_changed(self, settings: NodeSettings) -> None:
        """Called while a change is applied, whoever asked for it; one of ours says what it did first."""
        if not self._reloading:
            self.node_log.level, self.node_log.rate = settings.log_level, settings.log_rate

    def _reload_over(self, _: None) -> None:
        self._reloading = False
        if self.node is not None:
            self._settings_changed(self.node.spec.node)
        notify("READY=1")

    def _not_reloaded(self, failure: Failure) -> None:
        if failure.check(ConfigError, RestartNeeded):
            for line in failure.getErrorMessage().splitlines():
                self.log.error("configuration not taken: {line}", line=line)
        elif failure.check(P2PFrameError):
            for line in failure.getErrorMessage().splitlines():
                self.log.error("configuration read again: {line}", line=line)
        else:
            self.log.failure("the configuration could not be applied", failure)

    # --- down ---

    def stopService(self) -> Deferred[None]:
        """Stop the node; fires when everything is written and closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        notify("STOPPING=1")
        stopping = self.node.stop() if self.node is not None else succeed(None)
        return stopping.addBoth(self._stopped)

    def _stopped(self, result: object) -> None:
        if isinstance(result, Failure):
            self.log.failure("the node did not stop cleanly", result)
        self._pace.end()
        if self._sweep is not None and self._sweep.running:
            self._sweep.stop()
        self.node_log.close(time.time())
        if self._status_pipe is not None and not self.failed:
            self.failed = "stopped before it had started"
        self._tell_parent()

    def _tell_parent(self) -> None:
        """Say whether we run: to the operator on stderr where not, and to twistd's waiting process."""
        pipe, self._status_pipe = self._status_pipe, None
        stderr, self._stderr = self._stderr, None
        if self.failed:
            if self._log_file is not None or self.parent_options.get("syslog"):
                self.log.critical("{text}", text=self.failed)
            os.write(2 if stderr is None else stderr, (self.failed + "\n").encode("utf-8", "replace"))
        if stderr is not None:
            os.close(stderr)
        if pipe is not None:
            os.write(pipe, b"1 see above" if self.failed else b"0")
            os.close(pipe)

    def _exit(self) -> None:
        """Runs last in the process: twistd has no way to say that the exit status is not 0."""
        if self.failed:
            sys.stdout.flush()
            os._exit(1)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _parameters(parent: usage.Options) -> list[Sequence[Any]]:
    """Every option with a value that a class of options declares, its bases' included."""
    return [row for cls in type(parent).__mro__ for row in vars(cls).get("optParameters", ())]


__all__ = ["NodeService", "Options", "makeService"]
