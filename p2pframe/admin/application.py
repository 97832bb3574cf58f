"""The `admin` application: the web pages and the API of a node.

    applications:
      - {plugin: admin, listen: "127.0.0.1:8600"}

`p2pframe admin link -c node.yaml` prints the address to open.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from p2pframe.admin import codes
from p2pframe.admin.access import Access, Limits, Rates, Role
from p2pframe.admin.alerts import Alerts
from p2pframe.admin.api import Api
from p2pframe.admin.audit import Audit
from p2pframe.admin.captures import CaptureFiles
from p2pframe.admin.capturing import CaptureBounds, Captures
from p2pframe.admin.config import AdminConfig
from p2pframe.admin.discovery import DiscoverySection
from p2pframe.admin.inspecting import InspectBounds, Inspections
from p2pframe.admin.inspector import Inspector
from p2pframe.admin.limits import Lately, LimitsSection
from p2pframe.admin.logs import Logs
from p2pframe.admin.pages import Pages
from p2pframe.admin.password import Passwords, read_hash
from p2pframe.admin.peers import PeerStories
from p2pframe.admin.propagation import PropagationSection
from p2pframe.admin.rendering import Rendering
from p2pframe.admin.routes import Routes
from p2pframe.admin.section import Maker, Section
from p2pframe.admin.server import AdminSite
from p2pframe.admin.topology import TopologySection
from p2pframe.errors import StartError, StorageError
from p2pframe.interfaces import IApplication, IContext, INodeControl, INodeView, IReconfigurable, IUsage
from p2pframe.plugin import plugin
from p2pframe.private_file import read_private, write_private

KEY_FILE = "key"
URL_FILE = "url"


@plugin("admin", config=AdminConfig)
@implementer(IApplication, IReconfigurable, IUsage)
class Admin:
    """Serves a web page and an API to watch and steer the node."""

    name = "admin"

    def __init__(self, config: AdminConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._view: INodeView = context.service(INodeView)
        self._control: INodeControl = context.service(INodeControl)
        self._port: IListeningPort | None = None
        self._site: AdminSite | None = None
        self._captures: Captures | None = None
        self._inspections: Inspections | None = None
        self._hosts: frozenset[str] = frozenset()
        self._requests = context.metrics.counter(
            "admin_requests_total", "Requests to the admin, and connections turned away.", ["what", "outcome"]
        )
        turned_away = context.metrics.counter(
            "admin_turned_away_total", "What a bound of the admin refused, by the bound.", ["bound"]
        )
        self._turned_away: Callable[[str], None] = lambda bound: turned_away.add(1, bound)
        self._used: Callable[[], Mapping[str, float]] = dict
        self.alerts = Alerts(self._view, context)
        self._lately = Lately(self._view, context)

    @property
    def url(self) -> str:
        """Where it is, once it has started."""
        scheme = "https" if self.config.certificate is not None else "http"
        listen = self.config.listen.ip
        everywhere = listen is not None and listen.is_unspecified
        return f"{scheme}://{self.config.hosts[0] if everywhere else self._place()}"

    def start(self) -> Deferred[None]:
        """See `IApplication.start`. Fails with `StartError` where a file can't be read, or the port not be had."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        context, config = self.context, self.config
        key = self._key()
        limits = Limits(config.sessions, config.idle, config.life, config.tries, config.pause)
        access = Access(codes.Codes(key, context.unix_time()), context.entropy, limits, self._tokens())
        access.rates = lambda: Rates(self.config.requests_per_second, self.config.request_burst)
        cookie = "p2pframe-" + b32encode(sha256(b"cookie" + key).digest()[:5]).decode().lower()
        secure = config.certificate is not None
        self._captures = captures = Captures(
            context, self._view, self._control, context.data_dir / "captures",
            lambda: CaptureBounds(
                self.config.captures, self.config.capture_largest, self.config.capture_quota, self.config.capture_files,
                self.config.capture_parts,
            ), self._turned_away,
        )  # fmt: skip
        self._inspections = inspections = Inspections(
            context, self._view, self._control,
            lambda: InspectBounds(
                self.config.inspections, self.config.inspected_messages, self.config.inspected_bytes,
                self.config.inspection_idle,
            ), self._turned_away,
        )  # fmt: skip
        api = Api(
            context, self._view, self._control, access, Audit(context.data_dir / "audit.jsonl"), self.alerts,
            lambda value: _cookie(cookie, value, config.life, secure), lambda: self.config.streams,
        )  # fmt: skip
        access.turned_away = api.streams.turned_away = self._turned_away
        if config.password_file is not None:
            api.passwords = Passwords(context, read_hash(config.password_file), lambda: self.config.password_checks)
        rendering = Rendering(
            context.reactor, lambda: self.config.refresh_share, lambda how: self._requests.add(1, "refresh", how)
        )
        maker = Maker(
            lambda: {f"/pages/{one.name}": one.title for one in api.plugin_page_names()}, rendering,
            context.entropy.bytes(16).hex(),
        )  # fmt: skip
        sections: list[Section] = [
            api, Pages(api, maker), PeerStories(api, maker), Logs(self._view, api.streams, maker, api.all_alerts),
        ]  # fmt: skip
        sections += [
            PropagationSection(self._view, maker), DiscoverySection(self._view, maker, api.node),
            TopologySection(self._view, maker, context.reactor.seconds),
        ]  # fmt: skip
        bounds = LimitsSection(self._view, self._lately, maker)
        sections.append(bounds)
        api.near = bounds.near
        sections += [Inspector(api, maker, inspections), CaptureFiles(api, maker, captures)]
        api.described = routes = [route for section in sections for route in section.routes()]
        self._site = AdminSite(
            Routes(routes), access, context.reactor, context.unix_time, lambda: self._hosts, cookie, secure=secure,
            largest_body=config.largest_body, request_timeout=config.request_timeout,
            idle_timeout=config.idle_timeout, connections=config.connections,
            counted=lambda what, outcome: self._requests.add(1, what, outcome), page=maker.refused,
            guessed=lambda call, reason: api.audit.note(call, "token refused", reason=reason),
        )  # fmt: skip
        site = self._site
        self._used = lambda: {
            "sessions": access.open_sessions, "streams": len(api.streams.open),
            "connections": site.open_connections, "captures": captures.under_way, "inspections": len(inspections.all()),
        }  # fmt: skip
        self._listen()
        self.alerts.start()
        self._lately.start()
        self._hosts = self._allowed()
        # For `p2pframe admin link`, which does not ask the node: the port may have been the system's choice.
        write_private(context.data_dir / URL_FILE, self.url.encode())
        context.log.info("the admin is at {url}: `p2pframe admin link` prints a link to log in with", url=self.url)

    def stop(self) -> Deferred[None]:
        """See `IApplication.stop`: every connection ends."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        # First: nobody gets a link to what is about to end.
        try:
            (self.context.data_dir / URL_FILE).unlink(missing_ok=True)
        except OSError as error:
            self.context.log.warn("the file {name} of the admin stays: {why}", name=URL_FILE, why=error.strerror)
        self.alerts.stop()
        self._lately.stop()
        if self._inspections is not None:
            self._inspections.stop_all()
        if self._captures is not None:
            await self._captures.stop_all()
        port, self._port = self._port, None
        if port is not None:
            closing = port.stopListening()
            if closing is not None:
                await closing
        if self._site is not None:
            self._site.abort()

    def usage(self) -> Mapping[str, float]:
        """See `IUsage.usage`."""
        return self._used()

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(AdminConfig, config)

    def _listen(self) -> None:
        config, reactor = self.config, cast(Any, self.context.reactor)
        try:
            if config.certificate is not None and config.private_key is not None:
                from p2pframe.admin.tls import context_factory

                factory = context_factory(config.certificate, config.private_key)
                self._port = reactor.listenSSL(config.listen.port, self._site, factory, 50, config.listen.host)
            else:
                self._port = reactor.listenTCP(config.listen.port, self._site, 50, config.listen.host)
        except CannotListenError as error:
            raise StartError(
                f"admin can't listen on {config.listen}: {error.socketError}; is another node's admin there? Then set "
                "`listen`"
            ) from error

    def _place(self) -> str:
        where: Any = self._port.getHost() if self._port is not None else self.config.listen
        host = f"[{where.host}]" if ":" in where.host else where.host
        return f"{host}:{where.port}"

    def _allowed(self) -> frozenset[str]:
        """What a Host header may say: where it listens, the loopback's names there, and `hosts`."""
        place = self._place()
        port = place.rpartition(":")[2]
        names = {place, *self.config.hosts}
        if self.config.listen.host in ("127.0.0.1", "::1"):
            names |= {f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"}
        # A browser leaves out the port that goes without saying.
        usual = ":443" if self.config.certificate is not None else ":80"
        return frozenset(names | {name.removesuffix(usual) for name in names})

    def _key(self) -> bytes:
        path = self.context.data_dir / KEY_FILE
        try:
            key = read_private(path)
        except FileNotFoundError:
            key = self.context.entropy.bytes(codes.KEY_BYTES)
            write_private(path, key)
        except StorageError as error:
            raise StartError(f"admin: {error}") from error
        if len(key) != codes.KEY_BYTES:
            raise StartError(f"admin: {path} is no key of {codes.KEY_BYTES} bytes: remove it, and a new one is made")
        return key

    def _tokens(self) -> dict[str, tuple[Role, str]]:
        tokens = {}
        for one in self.config.tokens:
            try:
                text = read_private(one.file, 1000).decode("ascii").strip()
            except FileNotFoundError:
                raise StartError(f"admin: the token {one.name} should be in {one.file}, which is not there") from None
            except (StorageError, UnicodeDecodeError) as error:
                raise StartError(f"admin: the token {one.name}: {error}") from error
            if not 20 <= len(text) <= 500:
                raise StartError(f"admin: {one.file} has no token of 20 to 500 characters")
            tokens[one.name] = Role[one.role.upper()], text
        return tokens


def _cookie(name: str, value: str, life: float, secure: bool) -> str:
    age = int(life) if value else 0
    return f"{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
