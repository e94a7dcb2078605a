"""Credentials: who can talk to whom, and what an operator is told when they cannot."""

from __future__ import annotations

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringipam.config import Config
from ringipam.errors import RequestError, StoreError
from ringipam.runtime import tls


def with_password(directory: Path, password: str, name: str = "host1") -> Config:
    directory.mkdir(exist_ok=True)
    file = directory / "password"
    file.write_text(password)
    return Config("10.0.0.0/8", name=name, data_dir=directory, password_file=file)


def credentials(directory: Path, password: str, name: str = "host1") -> tls.Contexts:
    pair = tls.contexts(with_password(directory, password, name))
    assert pair is not None
    return pair


def handshake(server: tls.Contexts, client: tls.Contexts) -> str | None:
    """Why the two would not talk."""
    return tls.doubt((server[0], client[1]))


def certificate_of(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "tls/node.pem").read_bytes())


def test_two_nodes_with_one_password_trust_each_other(tmp_path: Path) -> None:
    a = credentials(tmp_path / "a", "correct horse\n", "a")
    b = credentials(tmp_path / "b", "correct horse", "b")

    assert handshake(a, b) is None
    assert handshake(b, a) is None
    assert certificate_of(tmp_path / "a") != certificate_of(tmp_path / "b")


def test_certificates_pass_the_strict_checks_of_newer_pythons(tmp_path: Path) -> None:
    pair = credentials(tmp_path, "correct horse")
    for context in pair:
        context.verify_flags |= ssl.VERIFY_X509_STRICT

    assert tls.doubt(pair) is None


def test_the_derived_ca_is_the_same_bytes_on_every_node() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))

    assert tls.ca_certificate(key) == tls.ca_certificate(key)


def test_only_tls_13_is_spoken(tmp_path: Path) -> None:
    pair = credentials(tmp_path, "correct horse")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    assert tls.doubt((pair[0], old)) is not None


def test_a_wrong_password_is_refused_by_both_sides(tmp_path: Path) -> None:
    a, b = credentials(tmp_path / "a", "correct horse"), credentials(tmp_path / "b", "battery staple")

    for server, client in ((a, b), (b, a)):
        assert (handshake(server, client) or "").startswith("wrong password or certificate")


def test_a_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    pair = credentials(tmp_path, "correct horse")
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE

    assert tls.doubt((pair[0], stranger)) == "peer did not return a certificate"


def test_derived_files_are_for_their_owner_only(tmp_path: Path) -> None:
    credentials(tmp_path, "correct horse")

    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()] == [0o600]


def test_a_restart_keeps_the_certificate(tmp_path: Path) -> None:
    credentials(tmp_path, "correct horse")
    before = certificate_of(tmp_path)

    credentials(tmp_path, "correct horse")

    assert certificate_of(tmp_path) == before


def test_a_changed_password_or_a_damaged_file_gives_a_new_certificate(tmp_path: Path) -> None:
    credentials(tmp_path, "correct horse")
    before = certificate_of(tmp_path)

    assert tls.doubt(credentials(tmp_path, "battery staple")) is None
    assert certificate_of(tmp_path) != before

    (tmp_path / "tls/node.pem").write_bytes(b"\x00 nothing")
    assert tls.doubt(credentials(tmp_path, "battery staple")) is None


def test_the_certificate_is_valid_whatever_the_clock_says(tmp_path: Path) -> None:
    credentials(tmp_path, "correct horse")
    certificate = certificate_of(tmp_path)

    assert certificate.not_valid_before_utc <= datetime(2000, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=20_000)


@pytest.mark.parametrize(("content", "complaint"), [("", "is empty"), (" \n", "is empty"), (None, "cannot read")])
def test_a_useless_password_file_is_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    config = with_password(tmp_path, content or "")
    if content is None:
        (tmp_path / "password").unlink()

    with pytest.raises(RequestError, match=complaint):
        tls.contexts(config)


def test_a_data_directory_that_cannot_keep_the_certificate_is_named(tmp_path: Path) -> None:
    config = with_password(tmp_path, "correct horse")
    (tmp_path / "tls").write_text("in the way")

    with pytest.raises(StoreError, match=r"cannot keep a certificate in .*tls"):
        tls.contexts(config)


def test_without_credentials_there_is_no_tls() -> None:
    assert tls.contexts(Config("10.0.0.0/8")) is None


# ── the operator's own CA ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an operator makes with openssl: a CA, two certificates, and one that is expired."""
    directory = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    request = ("req", "-newkey", "ed25519", "-noenc")
    openssl(*request, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ours")
    for name, days in (("a", "100"), ("b", "100"), ("late", "-1")):
        openssl(*request, "-keyout", f"{name}.key", "-out", "r.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", "r.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", days, "-out", f"{name}.pem"),
        )
    return directory


def with_ca(pki: Path, name: str, *, ca: str = "ca.pem", key: str | None = None) -> Config:
    return Config("10.0.0.0/8", ca=pki / ca, cert=pki / f"{name}.pem", key=pki / (key or f"{name}.key"))


def test_nodes_with_certificates_of_the_operators_ca_trust_each_other(pki: Path) -> None:
    a, b = tls.contexts(with_ca(pki, "a")), tls.contexts(with_ca(pki, "b"))

    assert a is not None
    assert b is not None
    assert handshake(a, b) is None


def test_the_operators_ca_and_a_password_do_not_mix(pki: Path, tmp_path: Path) -> None:
    a, b = tls.contexts(with_ca(pki, "a")), credentials(tmp_path, "correct horse")

    assert a is not None
    assert (handshake(a, b) or "").startswith("wrong password or certificate")


def test_an_expired_certificate_is_noticed_at_home(pki: Path) -> None:
    late = tls.contexts(with_ca(pki, "late"))

    assert late is not None
    assert "certificate has expired" in (tls.doubt(late) or "")


def test_a_key_of_another_certificate_is_refused(pki: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot use certificate .*a\.pem with key .*b\.key: .*mismatch"):
        tls.contexts(with_ca(pki, "a", key="b.key"))


def test_a_ca_file_without_a_certificate_is_refused(pki: Path) -> None:
    with pytest.raises(RequestError, match=r"--ca .*a\.key holds no certificate"):
        tls.contexts(with_ca(pki, "a", ca="a.key"))


def test_a_missing_file_is_named_by_its_option(pki: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read --key .*none: No such file"):
        tls.contexts(with_ca(pki, "a", key="none"))
