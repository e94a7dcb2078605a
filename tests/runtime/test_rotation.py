"""Credentials that change under a running node: taken up whole, refused when broken, and no link is lost over it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509

from ringipam import Config, Node, open_node
from ringipam.errors import RequestError
from ringipam.runtime import credentials as credentials_module
from ringipam.runtime import tls
from ringipam.runtime.credentials import Credentials
from ringipam.runtime.rotation import Rotated

NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def at_once(function: Callable[..., object], *arguments: object, **_: object) -> object:
    """What `in_thread` does, without a thread."""
    return function(*arguments)


def write(path: Path, text: str) -> None:
    """Replace a file as editors and agents do: never the same inode, so a change within one clock tick counts too."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(0o600)
    fresh.write_text(text)
    os.replace(fresh, path)


# ── any files ─────────────────────────────────────────────────────────────────────────────────────


def reading(path: Path) -> Rotated[str]:
    def make(_: bool) -> str:
        text = path.read_text()
        if text == "broken":
            raise RequestError("it is broken")
        return text

    return Rotated("the files", [path], make)


async def test_a_change_is_taken_up_when_it_has_stood_still(tmp_path: Path) -> None:
    write(tmp_path / "f", "one")
    rotated = reading(tmp_path / "f")
    write(tmp_path / "f", "tw")

    await rotated.look(at_once)
    assert rotated.current == "one"
    write(tmp_path / "f", "two")
    await rotated.look(at_once)
    assert rotated.current == "one"
    await rotated.look(at_once)
    assert rotated.current == "two"


async def test_what_cannot_be_used_is_told_once_and_the_former_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "f", "one")
    rotated = reading(tmp_path / "f")
    write(tmp_path / "f", "broken")

    for _ in range(5):
        await rotated.look(at_once)

    assert rotated.current == "one"
    assert rotated.problem == "the files changed and cannot be used, the former ones stay in use: it is broken"
    assert caplog.text.count(rotated.problem) == 1

    write(tmp_path / "f", "two")
    await rotated.look(at_once)
    await rotated.look(at_once)
    assert (rotated.current, rotated.problem) == ("two", "")


# ── passwords ─────────────────────────────────────────────────────────────────────────────────────


def host(directory: Path, *passwords: str) -> Credentials:
    directory.mkdir(exist_ok=True)
    write(directory / "password", "\n".join(passwords))
    config = Config("10.0.0.0/8", name="h", data_dir=directory, password_file=directory / "password")
    return Credentials(config, NOW.timestamp)


async def change(credentials: Credentials, directory: Path, *passwords: str) -> None:
    write(directory / "password", "\n".join(passwords))
    await credentials._rotated.look(at_once)
    await credentials._rotated.look(at_once)
    assert not credentials.warnings()


def trust(a: Credentials, b: Credentials) -> bool:
    """Whether a new connection succeeds, whichever of the two dials."""
    assert a.pair is not None
    assert b.pair is not None
    return tls.doubt((a.pair[0], b.pair[1])) is None and tls.doubt((b.pair[0], a.pair[1])) is None


async def test_a_cluster_changes_its_password_host_by_host_and_any_two_can_connect_at_any_moment(
    tmp_path: Path,
) -> None:
    hosts = {tmp_path / name: host(tmp_path / name, "old") for name in ("a", "b", "c")}
    for passwords in (("old", "new"), ("new", "old"), ("new",)):
        for directory, credentials in hosts.items():
            await change(credentials, directory, *passwords)
            assert all(trust(one, other) for one in hosts.values() for other in hosts.values())

    assert not trust(hosts[tmp_path / "a"], host(tmp_path / "late", "old"))


async def test_the_first_password_is_proved_and_the_others_are_accepted(tmp_path: Path) -> None:
    both = host(tmp_path / "both", "new", "old")

    assert trust(both, host(tmp_path / "both2", "old", "new"))
    assert not trust(both, host(tmp_path / "old", "old"))  # accepts the old, but shows the new
    certificate = x509.load_pem_x509_certificate((tmp_path / "both/tls/node.pem").read_bytes())
    certificate.verify_directly_issued_by(tls.ca_certificate(tls._ca_key(b"new")))


async def test_a_password_file_that_is_emptied_changes_nothing(tmp_path: Path) -> None:
    a, b = host(tmp_path / "a", "old"), host(tmp_path / "b", "old")
    write(tmp_path / "a/password", "\n")

    await a._rotated.look(at_once)
    await a._rotated.look(at_once)

    assert trust(a, b)
    assert a.warnings() == [
        "the credentials changed and cannot be used, the former ones stay in use:"
        f" --password-file {tmp_path}/a/password is empty"
    ]


def test_no_more_passwords_than_a_roll_over_needs(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds 5 passwords, one a line: 4 at most"):
        host(tmp_path, *"abcde")


def test_a_secret_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    credentials = host(tmp_path, "old")
    assert credentials.warnings() == []

    (tmp_path / "password").chmod(0o644)
    assert credentials.warnings() == [
        f"--password-file {tmp_path}/password is open to every user of this host: chmod 600 it"
    ]


# ── certificates ──────────────────────────────────────────────────────────────────────────────────


class Authority:
    """What an operator's tools write: a CA and a host's certificate, issued anew as often as one likes."""

    def __init__(self, directory: Path, name: str = "ours") -> None:
        self.directory = directory
        directory.mkdir()
        self._openssl(
            *("req", "-newkey", "ed25519", "-noenc", "-x509", "-days", "400"),
            *("-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={name}"),
        )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def issue(self, host: Path, days: int = 100) -> None:
        """A new certificate and key at `host`, over those that are there."""
        host.mkdir(exist_ok=True)
        self._openssl("req", "-newkey", "ed25519", "-noenc", "-keyout", "new.key", "-out", "r.csr", "-subj", "/CN=h")
        self._openssl(
            *("x509", "-req", "-in", "r.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", str(days), "-out", "new.pem"),
        )
        write(host / "key", (self.directory / "new.key").read_text())
        write(host / "cert", (self.directory / "new.pem").read_text())

    @property
    def certificate(self) -> str:
        return (self.directory / "ca.pem").read_text()


def config_of(host: Path, **more: object) -> Config:
    return Config("10.0.0.0/8", ca=host / "ca", cert=host / "cert", key=host / "key", **more)  # type: ignore[arg-type]


def certified(authority: Authority, host: Path, days: int = 100, now: datetime | None = None) -> Credentials:
    authority.issue(host, days)
    write(host / "ca", authority.certificate)
    return Credentials(config_of(host), (now or datetime.now(UTC)).timestamp)


async def renewed(credentials: Credentials) -> None:
    await credentials._rotated.look(at_once)
    await credentials._rotated.look(at_once)


async def test_a_new_certificate_and_even_a_new_authority_come_host_by_host(tmp_path: Path) -> None:
    ours, next_one = Authority(tmp_path / "ours"), Authority(tmp_path / "next", "next")
    hosts = {tmp_path / name: certified(ours, tmp_path / name) for name in ("a", "b")}

    async def step(directory: Path, ca: str, issuer: Authority | None) -> None:
        write(directory / "ca", ca)
        if issuer is not None:
            issuer.issue(directory)
        before = hosts[directory].pair
        await renewed(hosts[directory])
        assert hosts[directory].pair is not before
        assert hosts[directory].warnings() == []
        assert trust(*hosts.values())

    for ca, issuer in (
        (ours.certificate, ours),
        (ours.certificate + next_one.certificate, None),
        (ours.certificate + next_one.certificate, next_one),
        (next_one.certificate, None),
    ):
        for directory in hosts:
            await step(directory, ca, issuer)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda host, _: write(host / "cert", "nothing"), "cannot use certificate"),
        (lambda host, _: (host / "key").unlink(), "cannot read --key"),
        (lambda host, other: other.issue(host), "no peer would accept this node's certificate"),
        (lambda host, _: write(host / "ca", ""), "holds no certificate"),
    ],
)
async def test_broken_certificates_are_told_and_the_former_stay_in_use(
    tmp_path: Path, damage: Callable[[Path, Authority], None], complaint: str
) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    a, b = certified(ours, tmp_path / "a"), certified(ours, tmp_path / "b")

    damage(tmp_path / "a", other)
    await renewed(a)

    assert trust(a, b)
    [warning] = a.warnings()
    assert complaint in warning


@pytest.mark.parametrize(
    ("life", "age", "warned"),
    [
        (100, 0, ""),
        (100, 69, ""),
        (100, 71, "expires at"),
        (3, 1, ""),
        (3, 2.5, "expires at"),
        (100, 101, "expired at"),
    ],
)
def test_a_certificate_near_its_end_is_warned_of(tmp_path: Path, life: int, age: float, warned: str) -> None:
    now = datetime.now(UTC) + timedelta(days=age)
    credentials = certified(Authority(tmp_path / "ours"), tmp_path / "a", life, now)

    warnings = credentials.warnings()

    assert (len(warnings), warned in "".join(warnings)) == (1 if warned else 0, True)
    assert all(f"--cert {tmp_path}/a/cert" in text for text in warnings)


# ── whole nodes ───────────────────────────────────────────────────────────────────────────────────


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(20):
        while not await condition():
            await trio.sleep(0.01)


async def links_up(node: Node, count: int) -> bool:
    peers = (await node.status())["peers"]
    return peers == {"alive": count, "suspect": 0, "dead": 0}


async def test_links_outlive_a_new_certificate_and_new_ones_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(credentials_module, "LOOK_S", 0.02)
    caplog.set_level("INFO")
    ours, after = Authority(tmp_path / "ours"), Authority(tmp_path / "after", "after")
    for name in ("a", "b", "c"):
        certified(ours, tmp_path / name)
        write(tmp_path / name / "ca", ours.certificate + after.certificate)

    def config(name: str, *peers: str) -> Config:
        host = tmp_path / name
        return config_of(host, name=name, listen="127.0.0.1:0", data_dir=host / "data", peers=peers)

    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(open_node(config("a")))
        b = await stack.enter_async_context(open_node(config("b", a.listening)))
        await until(lambda: links_up(b, 1))

        for name in ("a", "b"):
            after.issue(tmp_path / name)
            write(tmp_path / name / "ca", after.certificate)

        async def taken_up() -> bool:
            return caplog.text.count("the credentials changed and are in use for new connections") == 2

        await until(taken_up)
        assert await links_up(b, 1)
        assert "lost" not in caplog.text

        after.issue(tmp_path / "c")
        c = await stack.enter_async_context(open_node(config("c", a.listening)))
        await until(lambda: links_up(c, 2))
