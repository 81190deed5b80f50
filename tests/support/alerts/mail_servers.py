"""Real SMTP servers on the loopback address: with login, STARTTLS, implicit TLS, refusals, and faults of every kind."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOGIN = "keel"
PASSWORD = "canary-p@ss/word:%"
"""With what addresses and headers treat in their own way."""
MODES = ("none", "starttls", "implicit")


@dataclass
class Inbox:
    """What arrived, and how a recipient is answered: the reply of the server to ``RCPT`` or, with ``DATA``, to that."""

    refusals: dict[str, str] = field(default_factory=dict)
    data_reply: str | None = None
    envelopes: list[Envelope] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        """The mails, read by the standard library."""
        return [message_from_bytes(each.original_content or b"", policy=policy.default) for each in self.envelopes]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse who is to be refused."""
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail."""
        if self.data_reply:
            return self.data_reply
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 2.0.0 queued as 4711"


@dataclass(frozen=True)
class MailServer:
    """Where a server listens."""

    port: int
    inbox: Inbox


@contextmanager
def mail_server(
    folder: Path, mode: str = "none", *, login: bool = False, password: str = PASSWORD, size: int | None = None
) -> Iterator[MailServer]:
    """Start a server. With TLS its certificate is ``folder / cert.pem``, which a client has to trust."""
    inbox, options = Inbox(), dict[str, Any]()
    context = tls_context(folder) if mode != "none" else None
    if mode == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if login:
        options |= {
            "authenticator": partial(_authenticate, password),
            "auth_required": True,
            "auth_require_tls": mode == "starttls",
        }
    if size:
        options["data_size_limit"] = size
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=free_port(),
        ssl_context=context if mode == "implicit" else None,
        **options,
    )
    controller.start()
    try:
        yield MailServer(controller.port, inbox)
    finally:
        controller.stop()


def _authenticate(
    password: str, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (LOGIN.encode(), password.encode())
    if good:
        return AuthResult(success=True)
    said = data.password.decode() if isinstance(data, LoginPassword) else ""
    # A careless server that repeats the password: what it says must not be stored.
    return AuthResult(success=False, handled=False, message=f"535 5.7.8 no such login {LOGIN}, password {said}")


def tls_context(folder: Path) -> ssl.SSLContext:
    """Return a server's context, with a certificate for the loopback address that is made here."""
    make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def make_certificate(folder: Path) -> None:
    """Write ``cert.pem``, for the loopback address, and ``key.pem``, unless they are there."""
    if (folder / "cert.pem").exists():
        return
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(private.private_bytes(serialization.Encoding.PEM, pem, plain))


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def scripted_server(*replies: bytes | float | None) -> Iterator[int]:
    """Start a server that says these lines, one for each line of the client; a number: seconds of silence; None: close.

    After ``354`` it reads the whole mail before it goes on.
    """
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_play, args=(server, replies), daemon=True).start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.close()


def _play(server: socket.socket, replies: tuple[bytes | float | None, ...]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            for reply in replies:
                if reply is None:
                    break
                if isinstance(reply, float):
                    time.sleep(reply)
                    continue
                connection.sendall(reply + b"\r\n")
                while (line := lines.readline()) and reply.startswith(b"354") and line != b".\r\n":
                    pass
