"""The tls transport: real TLS over real sockets on loopback, and what must not get through."""

from __future__ import annotations

import hashlib
import socket
import stat
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.errors import HandshakeFailed, StartError
from p2pframe.interfaces import IReconfigurable, ITransport
from p2pframe.model import PeerAddress
from p2pframe.testing.context import FakeContext
from p2pframe.transports.tls import TlsConfig, TlsTransport

PEM = serialization.Encoding.PEM
OTHER = "11" * 32


class Authority:
    """A CA that a test makes certificates with."""

    def __init__(self, folder, name="authority"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._builder(self.subject, self.key.public_key(), None, None, ca=True).sign(
            self.key, hashes.SHA256()
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(PEM))

    def _builder(self, subject, public_key, not_before, not_after, ca=False):
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - timedelta(days=1))
            .not_valid_after(not_after or now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    def issue(self, name, not_before=None, not_after=None, key=None):
        """Files of a certificate made out to `name`, as options of the transport."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(subject, key.public_key(), not_before, not_after)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        number = len(list(self.folder.iterdir()))
        certificate_path = self.folder / f"{number}.crt"
        key_path = self.folder / f"{number}.key"
        certificate_path.write_bytes(certificate.public_bytes(PEM))
        key_path.touch(0o600)
        key_path.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return {"certificate": certificate_path, "private_key": key_path}


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "ca"
    folder.mkdir()
    return Authority(folder)


def hexid(transport):
    return transport.identity.peer_id.hex()


class Pair:
    """A listener and a dialer, each a transport of its own."""

    def __init__(self, loopback, end_factory):
        self.loopback = loopback
        self.end_factory = end_factory
        self.made = 0

    def transport(self, context=None, **options):
        self.made += 1
        context = context or self.loopback.context(seed=self.made, name="transport.tls")
        return TlsTransport(TlsConfig(**options), context)

    async def meet(self, server, dial, greeting=b"", server_greeting=b""):
        """Both ends once each has its answer: (client, server), answers as `outcome` gives them."""
        served, address = await self.loopback.listen(server)
        served.greeting = server_greeting
        accepted = served.next()
        client, peer_id = dial(address)
        factory = self.end_factory(client, greeting)
        client_end = await client.dial(address, peer_id).connect(factory)
        return client_end, await accepted


async def outcome(end):
    """What the transport said: a TransportInfo, or the text of the refusal."""
    try:
        return await end.proof
    except HandshakeFailed as error:
        return str(error)


async def finish(loopback, *ends):
    for end in ends:
        if end.transport is not None and not end.closed.called:
            end.transport.abortConnection()
    for end in ends:
        await end.closed
        end.proof.addErrback(lambda failure: failure.trap(HandshakeFailed) and None)
    await loopback.close()


@pytest.fixture
def pair(loopback, end_factory):
    return Pair(loopback, end_factory)


def test_it_is_a_transport_with_live_options(pair):
    verifyClass(ITransport, TlsTransport)
    verifyObject(ITransport, pair.transport())
    verifyObject(IReconfigurable, pair.transport())


@pytest_twisted.ensureDeferred
async def test_both_ends_learn_each_others_key_and_then_talk(pair, loopback):
    server, client = pair.transport(listen=["127.0.0.1:0"]), pair.transport()
    client_end, server_end = await pair.meet(server, lambda _: (client, server.identity.peer_id), b"ping", b"pong")
    seen = await outcome(client_end)
    assert seen.peer_id == server.identity.peer_id
    assert seen.encryption.startswith("TLSv1.3 ")
    assert x509.load_der_x509_certificate(seen.certificate) == server.identity.chain[0]
    assert (await outcome(server_end)).peer_id == client.identity.peer_id
    assert await server_end.read(4) == b"ping"
    assert await client_end.read(4) == b"pong"
    big = bytes(range(256)) * 4000
    client_end.transport.write(big)
    assert (await server_end.read(4 + len(big)))[4:] == big
    client_end.transport.loseConnection()
    await client_end.closed
    await server_end.closed
    assert server.context.metrics.value("tls_handshakes_total", "done") == 1
    await loopback.close()


def test_the_peer_id_is_the_hash_of_the_public_key_as_openssl_prints_it(pair):
    identity = pair.transport().identity
    der = identity.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert identity.peer_id == hashlib.sha256(der).digest()


@pytest.mark.parametrize(
    ("pins", "name", "asked", "said"),
    [
        (["own"], None, None, None),
        ([OTHER, "own"], None, None, None),  # while the peer changes keys
        ([OTHER], None, None, "wrong-pin"),
        ([], None, "own", None),
        ([], None, OTHER, "wrong-pin"),
        (["own"], None, OTHER, "wrong-pin"),
        ([OTHER], None, "own", "wrong-pin"),
        (["own"], "node.example", None, None),
        (["own"], "other.example", None, "wrong-name"),  # the pin is right: the name is looked at all the same
        ([OTHER], "node.example", None, "wrong-pin"),  # and the other way round
        (["own"], "127.0.0.1", None, None),
        (["own"], "127.0.0.9", None, "wrong-name"),
        ([], "node.example", "own", None),
        ([], "node.example", None, "unproven-name"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_name_and_pins_are_each_checked(pair, loopback, pins, name, asked, said):
    server = pair.transport(listen=["127.0.0.1:0"], names=["node.example", "127.0.0.1"])
    own = hexid(server)

    def dial(address):
        options = {"pins": [own if pin == "own" else pin for pin in pins]}
        if name:
            options["name"] = name
        peers = {str(address): options} if pins or name else {}
        return pair.transport(peers=peers), bytes.fromhex(own if asked == "own" else asked) if asked else None

    client_end, server_end = await pair.meet(server, dial, b"secret", b"greeting")
    got = await outcome(client_end)
    if said is None:
        assert got.peer_id == server.identity.peer_id
        assert await server_end.read(6) == b"secret"
    else:
        assert got.startswith(said + ": ")
        await client_end.closed
        await server_end.closed
        assert "tls-failed" in await outcome(
            server_end
        )  # an alert tells the other end, before it is shown our certificate
        assert server_end.received == b"" == client_end.received
        assert client_end.plugin.context.metrics.value("tls_handshakes_total", said) == 1
    await finish(loopback, client_end, server_end)


@pytest_twisted.ensureDeferred
async def test_a_pin_by_host_holds_for_any_port(pair, loopback):
    server = pair.transport(listen=["127.0.0.1:0"])
    client = pair.transport(peers={"127.0.0.1": {"pins": [OTHER]}})
    client_end, server_end = await pair.meet(server, lambda _: (client, None))
    assert (await outcome(client_end)).startswith("wrong-pin: ")
    await outcome(server_end)
    await finish(loopback, client_end, server_end)


@pytest_twisted.ensureDeferred
async def test_who_is_not_allowed_gets_no_byte_through(pair, loopback):
    """TLS 1.3 lets a dialer send as soon as it has sent its Finished: before the listener could look at it."""
    server = pair.transport(listen=["127.0.0.1:0"], allowed=[OTHER])
    client = pair.transport()
    client_end, server_end = await pair.meet(server, lambda _: (client, None), b"early", b"greeting")
    assert (await outcome(client_end)).peer_id == server.identity.peer_id
    assert (await outcome(server_end)).startswith("wrong-pin: ")
    await client_end.closed
    await server_end.closed
    assert server_end.received == b"" == client_end.received
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_who_may_come_is_live(pair, loopback):
    server = pair.transport(listen=["127.0.0.1:0"], allowed=[OTHER])
    client = pair.transport()
    server.reconfigure(server.config.model_copy(update={"allowed": (client.identity.peer_id,)}))
    client_end, server_end = await pair.meet(server, lambda _: (client, None), b"hi")
    assert (await outcome(server_end)).peer_id == client.identity.peer_id
    await finish(loopback, client_end, server_end)


@pytest_twisted.ensureDeferred
async def test_data_that_comes_before_the_question_waits_for_the_answer(pair, loopback, end_factory):
    server, client = pair.transport(listen=["127.0.0.1:0"]), pair.transport()
    served, address = await loopback.listen(server, end_factory(server, ask=False))
    accepted = served.next()
    client_end = await client.dial(address, None).connect(end_factory(client, b"first"))
    server_end = await accepted
    await outcome(client_end)
    for _ in range(20):
        await deferLater(reactor, 0.005)
    assert server_end.received == b""
    server_end.prove()
    assert server_end.received == b""
    assert await server_end.read(5) == b"first"
    client_end.transport.write(b" second")
    assert await server_end.read(12) == b"first second"
    assert server_end.before_proof == b""
    await finish(loopback, client_end, server_end)


@pytest_twisted.ensureDeferred
async def test_nothing_can_be_sent_before_the_proof(pair, loopback, end_factory):
    server, client = pair.transport(listen=["127.0.0.1:0"]), pair.transport()
    served, address = await loopback.listen(server)
    factory = end_factory(client, ask=False)
    accepted = served.next()
    client_end = await client.dial(address, None).connect(factory)
    with pytest.raises(RuntimeError, match="nothing may be sent"):
        client_end.transport.write(b"too early")
    await finish(loopback, client_end, await accepted)


@pytest_twisted.ensureDeferred
async def test_authorities_certify_both_ends(pair, loopback, authority):
    server = pair.transport(listen=["127.0.0.1:0"], authorities=authority.path, **authority.issue("node.example"))

    def dial(address):
        peers = {str(address): {"name": "node.example"}}
        return pair.transport(authorities=authority.path, peers=peers, **authority.issue("dialer.example")), None

    client_end, server_end = await pair.meet(server, dial, b"hi")
    assert (await outcome(client_end)).peer_id == server.identity.peer_id
    assert await server_end.read(2) == b"hi"
    await finish(loopback, client_end, server_end)


@pytest.mark.parametrize("stranger", ["server", "client"])
@pytest_twisted.ensureDeferred
async def test_a_certificate_of_another_authority_is_refused(pair, loopback, authority, tmp_path, stranger):
    folder = tmp_path / "other"
    folder.mkdir()
    other = Authority(folder, "other")
    makers = {"server": authority, "client": authority, stranger: other}
    server = pair.transport(
        listen=["127.0.0.1:0"], authorities=authority.path, **makers["server"].issue("node.example")
    )
    client = pair.transport(authorities=authority.path, **makers["client"].issue("dialer.example"))
    client_end, server_end = await pair.meet(server, lambda _: (client, None), b"hi", b"there")
    refuser, refused = (server_end, client_end) if stranger == "client" else (client_end, server_end)
    assert (await outcome(refuser)).startswith("unknown-authority: ")
    await outcome(refused)
    await server_end.closed
    await client_end.closed
    assert refuser.received == b""
    assert refused.received == b""
    await loopback.close()


@pytest.mark.parametrize(("certified", "said"), [("localhost", None), ("other.example", "wrong-name")])
@pytest_twisted.ensureDeferred
async def test_a_dialled_name_must_be_certified(pair, loopback, authority, end_factory, certified, said):
    server = pair.transport(listen=["127.0.0.1:0"], **authority.issue(certified))
    client = pair.transport(authorities=authority.path, bind="127.0.0.1")
    served, address = await loopback.listen(server)
    accepted = served.next()
    client_end = await client.dial(PeerAddress.of("localhost", address.port), None).connect(end_factory(client))
    got = await outcome(client_end)
    assert got.startswith(said) if said else got.peer_id == server.identity.peer_id
    server_end = await accepted
    await outcome(server_end)
    await finish(loopback, client_end, server_end)


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(-20, -10, "expired"), (10, 20, "not-yet-valid")]
)
@pytest_twisted.ensureDeferred
async def test_dates_hold_by_the_contexts_clock(pair, loopback, authority, begins, ends, said):
    now = datetime.now(UTC)
    files = authority.issue("node.example", now + timedelta(days=begins), now + timedelta(days=ends))
    server, client = pair.transport(listen=["127.0.0.1:0"], **files), pair.transport()
    client_end, server_end = await pair.meet(server, lambda _: (client, None), b"hi")
    assert (await outcome(client_end)).startswith(said + ": ")
    await outcome(server_end)
    await finish(loopback, client_end, server_end)

    # To a peer whose clock stands within its dates the same certificate is good.
    late = pair.transport()
    late.context.unix_epoch = (begins + ends) / 2 * 86_400.0
    client_end, server_end = await pair.meet(server, lambda _: (late, None), b"hi")
    assert (await outcome(client_end)).peer_id == server.identity.peer_id
    await outcome(server_end)
    await finish(loopback, client_end, server_end)


def stranger_context(transport=None, *, maximum=None, certificate=True):
    """The settings of a peer that is not ours."""
    context = SSL.Context(SSL.TLS_METHOD)
    if maximum:
        context.set_max_proto_version(maximum)
    if certificate:
        identity = transport.identity
        context.use_certificate(identity.chain[0])
        context.use_privatekey(identity.key)
    return context


def speak(address, context, session=None, say=b"hello", wait=True):
    """A blocking TLS client, for a thread: (session that it could resume, reused, bytes read, error)."""
    raw = socket.create_connection((address.host, address.port), timeout=10)
    raw.settimeout(None)
    connection = SSL.Connection(context, raw)
    if session is not None:
        connection.set_session(session)
    connection.set_connect_state()
    read, error = b"", None
    try:
        connection.do_handshake()
        connection.send(say)
        read = connection.recv(100)
    except SSL.Error as problem:
        error = problem
    finally:
        raw.close()
    return (
        connection.get_session(),
        connection.session_reused() if hasattr(connection, "session_reused") else None,
        read,
        error,
    )


@pytest.mark.parametrize("kind", ["tls1.2", "no certificate", "plaintext"])
@pytest_twisted.ensureDeferred
async def test_who_does_not_speak_our_tls_is_refused(pair, loopback, kind):
    server = pair.transport(listen=["127.0.0.1:0"])
    served, address = await loopback.listen(server)
    accepted = served.next()
    if kind == "plaintext":
        raw = socket.create_connection((address.host, address.port))
        raw.sendall(b"\xf9\xbe\xb4\xd9version\x00\x00\x00\x00\x00" + b"\x00" * 200)
    else:
        context = (
            stranger_context(pair.transport(), maximum=SSL.TLS1_2_VERSION)
            if kind == "tls1.2"
            else stranger_context(certificate=False)
        )
        *_, error = await deferToThread(speak, address, context)
        assert isinstance(error, SSL.Error)
    end = await accepted
    said = await outcome(end)
    assert said.startswith("tls-failed: ")
    await end.closed
    assert end.received == b""
    if kind == "plaintext":
        raw.close()
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_a_resumed_session_is_no_way_round_the_check(pair, loopback, end_factory):
    """A peer keeps the session of a good handshake, falls out of favour, and comes back with the ticket."""
    friend = pair.transport()
    server = pair.transport(listen=["127.0.0.1:0"], allowed=[hexid(friend)])
    served, address = await loopback.listen(server, end_factory(server, b"welcome"))
    context = stranger_context(friend)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    session, _, read, error = await deferToThread(speak, address, context)
    assert (read, error) == (b"welcome", None)
    assert session is not None
    server.reconfigure(server.config.model_copy(update={"allowed": (bytes.fromhex(OTHER),)}))
    accepted = served.next()
    _, _, read, _ = await deferToThread(speak, address, context, session)
    assert read == b""
    end = await accepted
    assert (await outcome(end)).startswith(("wrong-pin: ", "tls-failed: "))
    await end.closed
    assert end.received == b""
    await served.built[0].closed
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_sessions_are_not_resumed_at_all(pair, loopback, end_factory):
    """Python's own ssl says whether a session was reused: with a good ticket too, each handshake is a full one."""
    import ssl

    friend = pair.transport()
    server = pair.transport(listen=["127.0.0.1:0"])
    served, address = await loopback.listen(server, end_factory(server, b"welcome"))
    friend.identity
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(friend.context.data_dir / "certificate.pem", friend.context.data_dir / "key.pem")

    def visit(session):
        with socket.create_connection((address.host, address.port)) as raw, context.wrap_socket(
            raw, session=session
        ) as wrapped:
            wrapped.sendall(b"hello")
            assert wrapped.recv(7) == b"welcome"
            return wrapped.session, wrapped.session_reused

    session, reused = await deferToThread(visit, None)
    assert reused is False
    _, reused = await deferToThread(visit, session)
    assert reused is False
    for end in served.built:
        assert (await outcome(end)).peer_id == friend.identity.peer_id
        await end.closed
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_a_handshake_is_bounded_in_bytes(pair, loopback):
    """A stranger sends a message that goes on and on, in records that are all well-formed."""
    server = pair.transport(listen=["127.0.0.1:0"], handshake_buffer=16_384)
    served, address = await loopback.listen(server)
    accepted = served.next()

    def flood():
        sent = 0
        with socket.create_connection((address.host, address.port)) as raw:
            try:
                # A ClientHello that says it is 16 MB long (RFC 8446, section 4), in handshake records of 1 KiB.
                raw.sendall(b"\x16\x03\x01\x04\x00\x01\xff\xff\xff" + bytes(1020))
                while sent < 50_000_000:
                    raw.sendall(b"\x16\x03\x03\x04\x00" + bytes(1024))
                    sent += 1029
            except OSError:
                pass
        return sent

    sent = await deferToThread(flood)
    end = await accepted
    assert (await outcome(end)).startswith(("oversized-handshake: ", "tls-failed: "))
    await end.closed
    assert sent < 50_000_000
    await loopback.close()


def test_what_comes_before_the_proof_is_counted_and_bounded():
    """The same without sockets, so that OpenSSL's own limits are not what is seen."""
    from twisted.internet.testing import StringTransport

    class Wire(StringTransport):
        aborted = False

        def abortConnection(self):
            self.aborted = True

    from twisted.internet.protocol import Factory, Protocol

    context = FakeContext("transport.tls")
    tls = TlsTransport(TlsConfig(listen=["127.0.0.1:1"], handshake_buffer=16_384), context)
    [listener] = tls.listeners()
    listener.endpoint.listen(Factory.forProtocol(Protocol))
    [(_, factory, _, _)] = context.reactor.tcpServers
    protocol = factory.buildProtocol(None)
    wire = Wire()
    protocol.makeConnection(wire)
    gate = protocol.wrappedProtocol
    failures = []
    tls.prove(gate).addErrback(lambda failure: failures.append(str(failure.value)))
    # One record that has not ended yet: OpenSSL waits for the rest.
    protocol.dataReceived(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff")
    for _ in range(20):
        protocol.dataReceived(bytes(1000))
    assert wire.aborted
    [said] = failures
    assert said.startswith(("oversized-handshake: ", "tls-failed: "))


@pytest_twisted.ensureDeferred
async def test_giving_up_ends_the_connection(pair, loopback):
    """Core's deadline aborts the wire, or cancels the answer that it waits for."""
    server = pair.transport(listen=["127.0.0.1:0"])
    served, address = await loopback.listen(server)
    for how in ("abort", "cancel"):
        accepted = served.next()
        raw = socket.create_connection((address.host, address.port))
        end = await accepted
        gate = end.transport
        if how == "abort":
            gate.abortConnection()
        else:
            gate._waiting.cancel()
        try:
            await end.proof
        except Exception as error:
            assert how == "cancel" or str(error).startswith("closed: ")
        await end.closed
        raw.close()
    await loopback.close()


@pytest_twisted.ensureDeferred
async def test_a_dialer_is_safe_from_a_listener_that_is_not_tls(pair, loopback, end_factory):
    silent = socket.create_server(("127.0.0.1", 0))
    address = PeerAddress.of(*silent.getsockname())
    client = pair.transport()
    connecting = client.dial(address, None).connect(end_factory(client, b"secret"))
    end = await connecting
    raw, _ = silent.accept()
    raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 5)
    assert (await outcome(end)).startswith("tls-failed: ")
    await end.closed
    hello = b""
    raw.settimeout(5)
    while chunk := raw.recv(65536):
        hello += chunk
    assert b"secret" not in hello
    raw.close()
    silent.close()


def test_a_wire_of_another_transport_is_refused(pair):
    failures = []
    pair.transport().prove(object()).addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], HandshakeFailed)


def test_core_may_turn_a_connection_away_by_building_nothing(pair):
    context = FakeContext("transport.tls")
    tls = pair.transport(context, listen=["127.0.0.1:1"])
    [listener] = tls.listeners()

    class Nobody:
        def buildProtocol(self, address):
            return None

    listener.endpoint.listen(Nobody())
    [(_, factory, _, _)] = context.reactor.tcpServers
    assert factory.buildProtocol(None) is None


class TestIdentity:
    """The files behind the peer id."""

    def own(self, folder, seed=0, **options):
        context = FakeContext("transport.tls", seed=seed, data_dir=folder)
        return TlsTransport(TlsConfig(**options), context)

    def test_it_is_made_once_and_kept_private(self, tmp_path):
        first = self.own(tmp_path, seed=1).identity
        assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.pem", "key.pem"]
        again = self.own(tmp_path, seed=2).identity
        assert again.peer_id == first.peer_id
        assert again.chain == first.chain
        assert self.own(tmp_path / "elsewhere", seed=3).identity.peer_id != first.peer_id

    def test_it_repeats_with_the_contexts_entropy(self, tmp_path):
        assert self.own(tmp_path / "a", seed=5).identity.peer_id == self.own(tmp_path / "b", seed=5).identity.peer_id

    def test_new_names_and_old_age_renew_the_certificate_on_the_same_key(self, tmp_path):
        first = self.own(tmp_path).identity
        named = self.own(tmp_path, names=["node.example"]).identity
        assert named.peer_id == first.peer_id
        assert named.chain != first.chain
        late = self.own(tmp_path, names=["node.example"])
        late.context.unix_epoch += 3640 * 86_400
        assert late.identity.peer_id == first.peer_id
        assert late.identity.chain != named.chain

    def test_a_broken_key_stops_the_start_with_advice(self, tmp_path):
        self.own(tmp_path).identity
        (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
        with pytest.raises(StartError, match=r"key\.pem.*restore it from a backup"):
            self.own(tmp_path, listen=["127.0.0.1:1"]).listeners()

    def test_a_key_that_others_may_read_stops_the_start(self, tmp_path, authority):
        files = authority.issue("node.example")
        files["private_key"].chmod(0o644)
        with pytest.raises(StartError, match="every user may read"):
            self.own(tmp_path / "x", **files).identity

    def test_so_does_an_own_key_that_others_may_read(self, tmp_path):
        self.own(tmp_path).identity
        (tmp_path / "key.pem").chmod(0o640)
        with pytest.raises(StartError, match="chmod 600 it"):
            self.own(tmp_path).identity

    def test_certificate_and_key_must_belong_together(self, tmp_path, authority):
        one, two = authority.issue("a.example"), authority.issue("b.example")
        with pytest.raises(StartError, match="is not the key of the certificate"):
            self.own(tmp_path / "x", certificate=one["certificate"], private_key=two["private_key"]).identity

    @pytest.mark.parametrize("missing", ["certificate", "private_key", "authorities"])
    def test_a_missing_file_is_named(self, tmp_path, authority, missing):
        options = {**authority.issue("a.example"), "authorities": authority.path, missing: tmp_path / "nowhere.pem"}
        with pytest.raises(StartError, match=r"nowhere\.pem"):
            self.own(tmp_path / "x", **options).identity

    def test_a_data_directory_that_can_not_be_written_is_told(self, tmp_path):
        # A folder where the file should go stands for a disk that refuses, also when root runs the tests.
        (tmp_path / "key.pem.new").mkdir()
        with pytest.raises(StartError, match=r"writing .*key\.pem"):
            self.own(tmp_path).identity


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peers": {"127.0.0.1:1": {"pins": ["abc"]}}}, "64 hex digits"),
        ({"peers": {"127.0.0.1:1": {"pins": ["zz" * 32]}}}, "64 hex digits"),
        ({"peers": {"127.0.0.1:1": {"pins": ["11" * 33]}}}, "64 hex digits"),
        ({"peers": {"127.0.0.1:1": {}}}, "needs a name, pins, or both"),
        ({"peers": {"127.0.0.1:x": {"pins": [OTHER]}}}, "is not a number"),
        ({"peers": {"a.example": {"pins": [OTHER]}, "A.example": {"pins": [OTHER]}}}, "is there twice"),
        ({"allowed": [5]}, "64 hex digits"),
        ({"certificate": "a.pem"}, "go together"),
        ({"private_key": "a.pem"}, "go together"),
        ({"certificate": "a.pem", "private_key": "b.pem", "names": ["x"]}, "leave them out"),
        ({"names": ["two words"]}, "not a DNS name"),
        ({"names": ["käse.example"]}, "not a DNS name"),
        ({"handshake_buffer": 100}, "greater than or equal"),
    ],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        TlsConfig(**options)


def test_pins_may_be_written_with_colons_and_are_shown_in_hex():
    config = TlsConfig(allowed=[":".join(["AB"] * 32)])
    assert config.allowed == (b"\xab" * 32,)
    assert config.model_dump(mode="json")["allowed"] == ["ab" * 32]
    assert TlsConfig.model_json_schema()["properties"]["allowed"]["items"]["type"] == "string"
