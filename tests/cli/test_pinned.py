"""A certificate that is named is the only one that is taken, and nothing is said to who shows another."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import ExitStack, contextmanager
from datetime import datetime
from http.server import ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from p2pframe.cli.remote.pinned import PinnedCertificate
from p2pframe.cli.remote.place import NotFound
from p2pframe.private_file import write_private
from tests.cli.remote import TOKEN, Wrong, a_node, good, refused, said, token_file
from tests.interop.configs import NETWORK
from tests.interop.processes import P2PNode, free_port

PEM = serialization.Encoding.PEM


class Made:
    """A certificate and its key, as files; signed by itself, or by `issuer`, whose certificate then follows it."""

    def __init__(self, folder, name="node.example", issuer=None, until=2120):
        folder.mkdir()
        self.path, self.key_path = folder / "chain.pem", folder / "key.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1))
            .not_valid_after(datetime(until, 1, 1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )
        chain = [self.certificate, *([issuer.certificate] if issuer else [])]
        self.path.write_bytes(b"".join(one.public_bytes(PEM) for one in chain))
        secret = self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_private(self.key_path, secret)


class Listening(ThreadingHTTPServer):
    """Notes what comes out of TLS: requests, and why a handshake failed."""

    def __init__(self, made):
        super().__init__(("127.0.0.1", 0), Wrong)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(made.path, made.key_path)
        self.seen, self.failed, self.over = [], [], threading.Semaphore(0)
        self.answer = said(a_node().model_dump())

    def finish_request(self, request, address):
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                secured.settimeout(20)
                super().finish_request(secured, address)
        except (OSError, ValueError) as error:
            self.failed.append(str(error))
        finally:
            self.over.release()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.server_address[1]}"


@contextmanager
def listening(made):
    server = Listening(made)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A real node whose admin has a certificate, for a name that is not the one it is asked by."""
    folder = tmp_path_factory.mktemp("secure")
    made = Made(folder / "tls")
    viewer = token_file(folder, "viewer")
    port = free_port()
    admin = {
        "plugin": "admin", "listen": f"127.0.0.1:{port}", "certificate": str(made.path),
        "private_key": str(made.key_path), "tokens": [{"name": "tests", "role": "viewer", "file": str(viewer)}],
    }  # fmt: skip
    config = {"networks": {"bitcoin": NETWORK | {"discovery": []}}, "storage": {"plugin": "memory"}}
    with ExitStack() as stack:
        node = stack.enter_context(P2PNode("ours", folder, config | {"applications": [admin]}))
        node.start("node started")
        node.made, node.by_token = made, ("--url", f"https://127.0.0.1:{port}", "--token-file", viewer)
        yield node


def test_the_right_one_is_taken_whatever_its_name(secure):
    out = good("status", "--json", "--certificate", secure.made.path, *secure.by_token)
    assert json.loads(out)["healthy"] is True
    # The configuration names it: nothing has to be said.
    assert "healthy" in good("status", "-c", secure.path)


def test_another_one_is_refused(secure, tmp_path):
    other = Made(tmp_path / "other")
    why = refused("status", "--certificate", other.path, *secure.by_token)
    assert "no node answers at https://127.0.0.1" in why and "certificate" in why


def test_one_that_nobody_vouches_for_takes_being_named(secure):
    assert "TLS: " in (why := refused("status", *secure.by_token)) and "certificate" in why


@pytest.mark.parametrize("how", ["another", "same name", "signed by it"])
def test_nothing_is_said_to_who_shows_another(tmp_path, how):
    pinned = Made(tmp_path / "pinned")
    shown = Made(
        tmp_path / "shown",
        name="elsewhere.example" if how == "another" else "node.example",
        issuer=pinned if how == "signed by it" else None,
    )
    with listening(shown) as server:
        words = ("--url", server.url, "--token-file", token_file(tmp_path, "token"), "--certificate", pinned.path)
        assert "certificate" in refused("status", *words)
        assert server.over.acquire(timeout=20)
        assert server.seen == [] and len(server.failed) == 1 and "ALERT" in server.failed[0].upper()


def test_the_one_that_is_named_hears_the_token(tmp_path):
    # What makes the silence above mean something; it may be signed by another, and be too old.
    shown = Made(tmp_path / "shown", issuer=Made(tmp_path / "issuer"), until=2021)
    with listening(shown) as server:
        words = ("--url", server.url, "--token-file", token_file(tmp_path, "token"), "--certificate", shown.path)
        assert good("status", *words)
        assert server.seen == [("/api/v1/node", f"Bearer {TOKEN}")]


def test_who_speaks_no_tls_hears_no_token(tmp_path):
    pinned = Made(tmp_path / "pinned")
    heard = []

    class Plain(Wrong):
        def handle(self):
            heard.append(self.connection.recv(65_536))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_address[1]}"
        words = ("--url", url, "--token-file", token_file(tmp_path, "token"), "--certificate", pinned.path)
        assert "no node answers" in refused("status", *words)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    # A TLS record with a handshake in it, and nothing that is a secret.
    assert heard[0][0] == 0x16 and TOKEN.encode() not in b"".join(heard)


def test_what_is_no_certificate_is_said(tmp_path):
    path = tmp_path / "bad.pem"
    with pytest.raises(NotFound, match=r"bad\.pem: No such file"):
        PinnedCertificate(path)
    path.write_text("-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n")
    with pytest.raises(NotFound, match=r"bad\.pem: it holds no certificate"):
        PinnedCertificate(path)
    words = ("--url", "https://127.0.0.1:1", "--token-file", token_file(tmp_path, "token"), "--certificate", path)
    assert refused("status", *words) == f"{path}: it holds no certificate"
