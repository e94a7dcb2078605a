"""Who may talk to us: TLS 1.3 with certificates on both sides, the operator's own or derived from a password.

With a shared password every node derives the same CA key (scrypt → Ed25519) and issues its own certificate. The
CA certificate has nothing in it that could differ between nodes, so each node's certificate verifies at all others.

A password file may hold several passwords, one a line: the node proves itself with the first and accepts all, so that
a cluster changes its password host by host.

A certificate made by the derived key lets whoever sees it try passwords offline at the price of one scrypt each.
A password chosen by a person is a weak one: docs/security.md says how to make a good one.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringipam.config import Config
from ringipam.errors import RequestError, StoreError

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
"""For the connections we accept, and for those we dial."""
Validity = tuple[str, datetime, datetime]
"""A certificate in words, and from when to when it is valid."""

SALT = b"ringipam shared password, CA key, 1"
"""Fixed, as all nodes must derive the same key from the password alone."""
SCRYPT_COST = 1 << 15
SCRYPT_BLOCK = 8
PASSWORDS_MAX = 4

# The clocks of hosts differ, and a host may boot without knowing the time.
VALID_FROM = datetime(2000, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2099, 12, 31, tzinfo=UTC)

CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringipam shared password")])


def files(config: Config) -> list[Path]:
    """What `contexts` reads and an operator may change."""
    return [path for path in (config.password_file, config.ca, config.cert, config.key) if path is not None]


def contexts(config: Config) -> Contexts | None:
    """What to secure connections with, or None if the node runs without credentials.

    Blocks for about 0.1 s a password. Raises RequestError if the credentials cannot be used, StoreError if
    derived ones cannot be kept in the data directory.
    """
    if config.password_file is not None:
        return _from_passwords(_passwords(config.password_file), config.name, config.data_dir / "tls")
    if config.ca is not None and config.cert is not None and config.key is not None:
        ca = _text(config.ca, "--ca")
        for path, option in ((config.cert, "--cert"), (config.key, "--key")):
            _text(path, option)
        return _contexts(ca, f"--ca {config.ca}", config.cert, config.key)
    return None


def validities(config: Config) -> list[Validity]:
    """Of the operator's own certificates; derived ones do not expire. Raises RequestError if a file cannot be read."""
    found: list[Validity] = []
    for path, option in ((config.ca, "--ca"), (config.cert, "--cert")):
        if path is not None:
            found += [
                (f"the certificate {certificate.subject.rfc4514_string()} in {option} {path}", begin, end)
                for certificate in _certificates(_text(path, option))
                for begin, end in [(certificate.not_valid_before_utc, certificate.not_valid_after_utc)]
            ]
    return found


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:  # OpenSSL may make more of it; what it refuses was refused before
        return []


def doubt(pair: Contexts) -> str | None:
    """Why a peer with the same credentials would refuse ours, or None; found by shaking hands with ourselves."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = pair[0].wrap_bio(incoming, outgoing, server_side=True)
    client = pair[1].wrap_bio(outgoing, incoming)
    try:
        # Three flights: the client's greeting, the server's certificate, the client's.
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        return explain(error)
    return None


def explain(error: BaseException | None) -> str:
    """What went wrong on a TLS connection, in an operator's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"wrong password or certificate ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason and not isinstance(error, ssl.SSLEOFError):
        if "ALERT" in error.reason:
            said = error.reason.partition("ALERT_")[2].replace("_", " ").lower()
            return f"the other side refused our password or certificate ({said})"
        if error.reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            return "the other side does not speak TLS: it runs without credentials, or is no ringipam"
        return error.reason.replace("_", " ").lower()
    return "the other side ended it: its password or certificate is another, or it does not speak TLS"


def _passwords(path: Path) -> list[bytes]:
    passwords = [line.strip().encode() for line in _text(path, "--password-file").splitlines() if line.strip()]
    if not passwords:
        raise RequestError(f"--password-file {path} is empty")
    if len(passwords) > PASSWORDS_MAX:
        raise RequestError(
            f"--password-file {path} holds {len(passwords)} passwords, one a line: {PASSWORDS_MAX} at most"
        )
    return passwords


def _text(path: Path, option: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise RequestError(f"cannot read {option} {path}: {why}") from None


def _contexts(ca: str, ca_source: str, cert: Path, key: Path) -> Contexts:
    return (
        _context(ssl.PROTOCOL_TLS_SERVER, ca, ca_source, cert, key),
        _context(ssl.PROTOCOL_TLS_CLIENT, ca, ca_source, cert, key),
    )


def _context(protocol: int, ca: str, ca_source: str, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A peer proves that it belongs to the cluster, not which host it is: addresses of hosts change.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # connections live long, so nothing would ever resume a session
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise RequestError(f"{ca_source} holds no certificate in PEM form") from None
    try:
        # Without the callback a key that is itself under a password would ask for it on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise RequestError(f"cannot use certificate {cert} with key {key}: {why.replace('_', ' ').lower()}") from None
    return context


def _from_passwords(passwords: list[bytes], name: str, directory: Path) -> Contexts:
    keys = [_ca_key(password) for password in passwords]
    cas = [ca_certificate(key).public_bytes(Encoding.PEM).decode("ascii") for key in keys]
    path = directory / "node.pem"
    if not (path.exists() and _proves(cas[0], path)):
        try:
            _keep(path, _issue(name, keys[0]))
        except OSError as error:
            raise StoreError(f"cannot keep a certificate in {directory}: {error.strerror}") from None
    return _contexts("".join(cas), "the password", path, path)


def _proves(ca: str, path: Path) -> bool:
    """Whether the certificate of an earlier start will do: not if the password has changed or the file is damaged."""
    try:
        return doubt(_contexts(ca, "the password", path, path)) is None
    except RequestError:
        return False


def _ca_key(password: bytes) -> Ed25519PrivateKey:
    memory_max = 256 * SCRYPT_COST * SCRYPT_BLOCK  # twice of what it takes; the default limit is just too low
    secret = hashlib.scrypt(password, salt=SALT, n=SCRYPT_COST, r=SCRYPT_BLOCK, p=1, maxmem=memory_max, dklen=32)
    return Ed25519PrivateKey.from_private_bytes(secret)


def ca_certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    """The same bytes on every node: all fields are fixed, and an Ed25519 signature has no randomness."""
    return (
        _builder(CA_NAME, key.public_key(), serial=1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, None)
    )


def _issue(name: str, ca_key: Ed25519PrivateKey) -> bytes:
    """A certificate and its fresh key, in PEM form."""
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(subject, key.public_key(), serial=x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, None)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + secret


def _builder(subject: x509.Name, key: Ed25519PublicKey, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA_NAME)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _keep(path: Path, pem: bytes) -> None:
    """Certificate and key are one file, replaced as one: a crash leaves no pair that does not match."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    fresh.replace(path)
