"""The admin with TLS, as anybody but the loopback has it: over real sockets."""

from datetime import datetime

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, optionsForClientTLS

from p2pframe.admin.config import AdminConfig
from p2pframe.admin.tls import context_factory
from p2pframe.errors import StartError
from p2pframe.private_file import write_private
from tests.admin.web import Raw, World, answers

# pyOpenSSL's own types are what Twisted 26 still takes.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def self_signed(folder, name="node.example"):
    """Files of a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(exist_ok=True)
    (folder / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_private(folder / "key.pem", pem)
    return folder / "chain.pem", folder / "key.pem"


class SecureWorld(World):
    """Connections of it are TLS."""

    def __init__(self, folder, **options):
        self.chain, private_key = self_signed(folder / "tls")
        options = {"certificate": self.chain, "private_key": private_key, "hosts": ["node.example"], **options}
        super().__init__(folder, **options)

    async def connect(self, options=None):
        options = options or optionsForClientTLS(
            "node.example", trustRoot=Certificate.loadPEM(self.chain.read_bytes())
        )
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        raw = await connectProtocol(endpoint, Raw())
        self.clients.append(raw)
        return raw


@pytest_twisted.async_yield_fixture
async def secure(tmp_path):
    world = await SecureWorld(tmp_path, connections=3).start()
    yield world
    await world.stop()


@pytest_twisted.ensureDeferred
async def test_it_is_served_and_its_cookie_goes_nowhere_else(secure):
    session = await secure.log_in()
    assert "Secure" in session.answer.get("set-cookie").split("; ")
    origin = f"https://{secure.host}"
    assert (await secure.ask("GET", "/api/v1/node", origin=origin, **session.headers)).status == 200
    assert (await secure.ask("GET", "/api/v1/node", origin=f"http://{secure.host}", **session.headers)).status == 403
    assert secure.admin.url.startswith("https://")


@pytest_twisted.ensureDeferred
async def test_a_connection_too_many_ends_and_is_no_mistake(secure):
    held = [await secure.connect() for _ in range(3)]
    await secure.until(lambda: len(secure.site._open) == 3)
    assert await (await secure.connect()).closed() == b""
    await secure.until(lambda: secure.turned_away("connections") == 1)
    held[0].transport.loseConnection()
    await secure.until(lambda: len(secure.site._open) == 2)
    assert (await secure.ask()).status == 200


@pytest_twisted.ensureDeferred
async def test_who_does_not_speak_it_is_let_go(secure):
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000, b"\x80" * 100):
        raw = await World.connect(secure)
        raw.transport.write(data)
        got = await raw.closed()
        assert not got.startswith(b"HTTP")
    silent = await World.connect(secure)
    await secure.until(lambda: len(secure.site._open) == 1)
    secure.clock.advance(secure.admin.config.idle_timeout + 20)
    await silent.closed()
    assert (await secure.ask()).status == 200


@pytest_twisted.ensureDeferred
async def test_what_is_too_old_is_refused(secure):
    options = CertificateOptions(insecurelyLowerMinimumTo=TLSVersion.TLSv1_0, lowerMaximumSecurityTo=TLSVersion.TLSv1_1)
    context = options.getContext()
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    raw = await World.connect(secure)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    raw.transport.write(connection.bio_read(10_000))
    got = await raw.closed()
    # An alert (21), not a server's hello (22).
    assert got[:1] in (b"\x15", b"")


@pytest_twisted.ensureDeferred
async def test_malformed_requests_are_answered_here_as_well(secure):
    raw = await secure.connect()
    raw.transport.write(b"nonsense\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 100)
    [answer] = answers(await raw.closed())
    assert answer.status == 400


def test_files_that_are_none_stop_the_start(tmp_path):
    chain, key = self_signed(tmp_path / "a")
    _, other = self_signed(tmp_path / "b")
    assert context_factory(chain, key)
    with pytest.raises(StartError, match="is not the key of"):
        context_factory(chain, other)
    with pytest.raises(StartError, match="there is no certificate in"):
        context_factory(key, key)
    with pytest.raises(StartError, match="can't be read"):
        context_factory(tmp_path / "none", key)
    with pytest.raises(StartError, match="can't be read"):
        context_factory(chain, tmp_path / "none")
    bad = tmp_path / "bad"
    bad.write_bytes(b"-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n")
    with pytest.raises(StartError, match="can't be read"):
        context_factory(bad, key)
    key.chmod(0o640)
    with pytest.raises(StartError, match="others may read or change it"):
        context_factory(chain, key)


def test_a_key_that_is_locked_asks_nobody(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    chain, path = self_signed(tmp_path / "a")
    locked = serialization.BestAvailableEncryption(b"secret")
    write_private(path, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(StartError, match="can't be read"):
        context_factory(chain, path)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:8600", "[::]:0"])
def test_nobody_but_the_loopback_is_served_without_it(listen):
    with pytest.raises(ValueError, match="takes TLS"):
        AdminConfig(listen=listen)


def test_who_listens_everywhere_says_by_which_names_it_is_called(tmp_path):
    files = {"certificate": tmp_path / "chain.pem", "private_key": tmp_path / "key.pem"}
    for listen in ("0.0.0.0:8600", "[::]:8600"):
        with pytest.raises(ValueError, match="by which names it is called"):
            AdminConfig(listen=listen, **files)
        assert AdminConfig(listen=listen, hosts=["node.example:8600"], **files).hosts == ["node.example:8600"]
