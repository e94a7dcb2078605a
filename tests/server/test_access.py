"""The API over TCP: a token, a certificate, or nobody comes in; and whoever dawdles there keeps nobody out."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from asking import UNIVERSE, Book

from ringipam import AsyncClient, Client, Config, DaemonUnreachableError, RequestError, RingIpamError
from ringipam.server import access as access_module
from ringipam.server import connection as connection_module
from ringipam.server.access import Access, read_access
from ringipam.server.connection import Door, Server
from ringipam.server.http import Request, Response
from ringipam.server.listener import tcp_listener, unix_listener
from ringipam.server.rebinding import no_pages
from ringipam.server.surface import open_surface

TOKEN = "correct-horse-battery-staple"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities: `ours` certified two daemons and the client, `theirs` another client."""
    directory = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    request = ("req", "-newkey", "ed25519", "-noenc")
    for ca in ("ours", "theirs"):
        openssl(*request, "-x509", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name, ca in (("daemon", "ours"), ("elsewhere", "ours"), ("client", "ours"), ("stranger", "theirs")):
        where = "elsewhere" if name == "elsewhere" else "localhost"
        (directory / "names").write_text(f"subjectAltName=DNS:{where},IP:127.0.0.1\n")
        openssl(*request, "-keyout", f"{name}.key", "-out", "r.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", "r.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial"),
            *("-days", "100", "-extfile", "names", "-out", f"{name}.pem"),
        )
    return directory


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def free_port() -> int:
    with tcp_listener("127.0.0.1:0") as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def served(tmp_path: Path, access: Access) -> AsyncIterator[int]:
    port = free_port()
    endpoint = f"127.0.0.1:{port}"
    async with open_surface(Book(), tmp_path / "s", endpoint, UNIVERSE, "0", access=lambda: access):
        yield port


async def first_line(port: int, headers: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(GET % headers)
        answer = bytes(await stream.receive_some())
    return answer.partition(b"\r\n")[0]


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", b"401"),
        (b"Authorization: Bearer\r\n", b"401"),
        (b"Authorization: Bearer " + TOKEN[:-1].encode() + b"\r\n", b"401"),
        (b"Authorization: Bearer " + TOKEN.encode() + b"x\r\n", b"401"),
        (b"Authorization: Basic " + TOKEN.encode() + b"\r\n", b"401"),
        (b"X-Token: " + TOKEN.encode() + b"\r\n", b"401"),
        (b"Authorization: Bearer " + TOKEN.encode() + b"\r\n", b"200"),
        (b"authorization: bearer  " + TOKEN.encode() + b" \r\n", b"200"),
    ],
)
async def test_only_whoever_shows_the_token_is_answered(tmp_path: Path, headers: bytes, status: bytes) -> None:
    async with served(tmp_path, Access(None, (b"another-token-of-16", TOKEN.encode()))) as port:
        assert (await first_line(port, headers)).split()[1] == status


async def test_a_refused_request_reaches_nobody_and_is_told_the_way_in(tmp_path: Path) -> None:
    book, port = Book(), free_port()
    access = Access(None, (TOKEN.encode(),))
    async with (
        open_surface(book, tmp_path / "s", f"127.0.0.1:{port}", UNIVERSE, "0", access=lambda: access),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await stream.send_all(b"POST /ip/c1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = bytes(await stream.receive_some())

    assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
    assert book.asked == []


async def test_the_unix_socket_asks_for_no_token(tmp_path: Path) -> None:
    async with served(tmp_path, Access(None, (TOKEN.encode(),))), AsyncClient(tmp_path / "s") as client:
        assert (await client.status())["state"] == "ready"


async def test_clients_show_the_token_of_a_file(tmp_path: Path, token_file: Path) -> None:
    async with served(tmp_path, Access(None, (TOKEN.encode(),))) as port:
        where = f"http://localhost:{port}"
        async with AsyncClient(where, token_file=token_file) as client:
            assert (await client.allocate("c1")) == (await client.allocate("c1"))
        with Client(where, token_file=token_file) as blocking:
            assert len(await trio.to_thread.run_sync(blocking.lookup, "c1")) == 1
        async with AsyncClient(where) as client:
            with pytest.raises(RingIpamError, match="this daemon asks for a token"):
                await client.status()


@pytest.mark.parametrize("where", ["http://host", "https://host:99999", "http://u@host:1", "http://host:1/path"])
def test_an_address_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(RequestError, match="http\\[s\\]://HOST:PORT"):
        Client(where)


def config_of(tmp_path: Path, **more: object) -> Config:
    return Config("10.32.0.0/12", name="h", data_dir=tmp_path, http="127.0.0.1:1", **more)  # type: ignore[arg-type]


def test_a_token_that_others_can_read_is_refused(tmp_path: Path, token_file: Path) -> None:
    assert read_access(config_of(tmp_path, http_token_file=token_file)).tokens == (TOKEN.encode(),)

    token_file.chmod(0o604)
    with pytest.raises(RequestError, match=r"open to others than its owner \(mode 0604\)"):
        read_access(config_of(tmp_path, http_token_file=token_file))


def test_no_complaint_about_a_token_file_quotes_it(tmp_path: Path, token_file: Path) -> None:
    for content in ("short-secret", "\n".join([TOKEN] * 9)):
        token_file.write_text(content)
        with pytest.raises(RequestError) as told:
            read_access(config_of(tmp_path, http_token_file=token_file))
        assert "secret" not in told.value.message
        assert TOKEN not in told.value.message


def test_beyond_loopback_a_token_in_clear_is_warned_of(tmp_path: Path, token_file: Path, pki: Path) -> None:
    def beyond(**more: object) -> Config:
        return Config("10.32.0.0/12", name="h", http="192.0.2.1:1", http_token_file=token_file, **more)  # type: ignore[arg-type]

    assert "unencrypted" in access_module.notice(beyond())[0]
    assert access_module.notice(beyond(http_cert=pki / "daemon.pem", http_key=pki / "daemon.key")) == []
    assert access_module.notice(config_of(tmp_path)) == []


async def test_beyond_loopback_no_web_page_comes_in() -> None:
    request = Request("GET", "/", "", {b"origin": b"https://host2:6784"}, b"", True)

    assert (await no_pages(answer)(request)).status == 400
    assert (await no_pages(answer)(Request("GET", "/", "", {}, b"", True))).status == 200


# ── certificates ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def certified(tmp_path: Path, pki: Path) -> Access:
    return read_access(
        config_of(tmp_path, http_cert=pki / "daemon.pem", http_key=pki / "daemon.key", http_ca=pki / "ours.pem")
    )


async def test_a_client_with_a_certificate_is_served_over_tls(tmp_path: Path, certified: Access, pki: Path) -> None:
    async with served(tmp_path, certified) as port:
        shown = {"ca": pki / "ours.pem", "cert": pki / "client.pem", "key": pki / "client.key"}
        async with AsyncClient(f"https://localhost:{port}", **shown) as client:
            leases = [await client.allocate(f"c{number}") for number in range(20)]
            assert len(client._idle) == 1  # one connection did it all
        with Client(f"https://127.0.0.1:{port}", **shown) as blocking:
            assert set(await trio.to_thread.run_sync(blocking.leases)) == set(leases)


@pytest.mark.parametrize("name", [None, "stranger"])
async def test_a_client_without_a_certificate_of_the_authority_is_not(
    tmp_path: Path, certified: Access, pki: Path, name: str | None
) -> None:
    shown = {} if name is None else {"cert": pki / f"{name}.pem", "key": pki / f"{name}.key"}
    async with served(tmp_path, certified) as port:
        where = f"https://localhost:{port}"
        async with AsyncClient(where, ca=pki / "ours.pem", **shown) as client:
            with pytest.raises(DaemonUnreachableError):
                await client.status()
        with (
            Client(where, ca=pki / "ours.pem", **shown) as blocking,
            pytest.raises(DaemonUnreachableError, match="does not accept our certificate"),
        ):
            await trio.to_thread.run_sync(blocking.status)


async def test_a_client_does_not_talk_to_a_daemon_it_cannot_verify(
    tmp_path: Path, certified: Access, pki: Path
) -> None:
    elsewhere = config_of(tmp_path, http_cert=pki / "elsewhere.pem", http_key=pki / "elsewhere.key")
    for access, ca in ((certified, "theirs.pem"), (read_access(elsewhere), "ours.pem")):
        async with served(tmp_path, access) as port, AsyncClient(f"https://localhost:{port}", ca=pki / ca) as client:
            with pytest.raises(DaemonUnreachableError, match="certificate verify failed"):
                await client.status()
            with (
                Client(f"https://localhost:{port}", ca=pki / ca) as blocking,
                pytest.raises(DaemonUnreachableError),
            ):
                await trio.to_thread.run_sync(blocking.status)


async def test_plain_http_at_a_door_with_tls_gets_no_answer(tmp_path: Path, certified: Access) -> None:
    async with served(tmp_path, certified) as port:
        with pytest.raises((trio.BrokenResourceError, AssertionError)):
            assert b"HTTP/1.1" in await first_line(port, b"")


async def test_an_answer_larger_than_any_buffer_arrives_whole_over_tls(certified: Access, pki: Path) -> None:
    async def answer(request: Request) -> Response:
        return Response(200, b"x" * 5_000_000)

    shown = {"ca": pki / "ours.pem", "cert": pki / "client.pem", "key": pki / "client.key"}
    with tcp_listener("127.0.0.1:0") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server().serve, [Door(listener, answer, lambda: certified.context)])
            client = AsyncClient(f"https://localhost:{listener.getsockname()[1]}", **shown)
            connection = await client._dial()
            await connection.stream.send_all(GET % b"")
            while not connection.answers.complete:
                connection.answers.feed(bytes(await connection.stream.receive_some()))
            assert connection.answers.take() == (200, b"x" * 5_000_000)
            await connection.stream.aclose()
            nursery.cancel_scope.cancel()


def test_certificates_that_do_not_fit_are_named(tmp_path: Path, pki: Path) -> None:
    for settings, complaint in (
        ({"http_cert": pki / "daemon.pem", "http_key": pki / "client.key"}, "cannot use --http-cert"),
        ({"http_cert": pki / "none.pem", "http_key": pki / "client.key"}, "cannot read --http-cert"),
        (
            {"http_cert": pki / "daemon.pem", "http_key": pki / "daemon.key", "http_ca": pki / "ours.key"},
            "--http-ca .* holds no certificate",
        ),
    ):
        with pytest.raises(RequestError, match=complaint):
            read_access(config_of(tmp_path, **settings))


# ── those who dawdle ──────────────────────────────────────────────────────────────────────────────


async def answer(request: Request) -> Response:
    return Response(200)


async def test_slow_clients_over_tcp_keep_nobody_from_the_socket(tmp_path: Path) -> None:
    with unix_listener(tmp_path / "s") as near, tcp_listener("127.0.0.1:0") as far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(connections_max=5).serve, [Door(near, answer), Door(far, answer)])
            slow = [await trio.open_tcp_stream(*far.getsockname()) for _ in range(5)]
            for stream in slow:
                await stream.send_all(b"GET / HTTP/1.1\r\nX: ")

            async with await trio.open_tcp_stream(*far.getsockname()) as sixth:
                assert b"503 Service Unavailable" in await sixth.receive_some()
            async with await trio.open_unix_socket(tmp_path / "s") as client:
                await client.send_all(b"GET / HTTP/1.1\r\n\r\n")
                assert b"200 OK" in await client.receive_some()
            for stream in slow:
                await stream.aclose()
            nursery.cancel_scope.cancel()


async def dawdle(stream: trio.SocketStream, beginning: bytes) -> None:
    async with stream:
        await stream.send_all(beginning)
        while True:
            await stream.send_all(b"y")
            await trio.sleep(0.005)


async def test_a_slow_request_is_cut_off_over_tcp_and_over_tls(certified: Access) -> None:
    for context, beginning in (
        (None, b"GET / HTTP/1.1\r\nX: "),
        (certified.context, b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb"),  # a greeting of 16 KiB begins
    ):
        with tcp_listener("127.0.0.1:0") as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Server(idle_s=0.05).serve, [Door(listener, answer, lambda context=context: context)])
                stream = await trio.open_tcp_stream(*listener.getsockname())
                with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                    await dawdle(stream, beginning)
                nursery.cancel_scope.cancel()


async def test_one_host_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PLACE_CONNECTIONS_MAX", 2)
    with tcp_listener("127.0.0.1:0") as listener:
        host, port = listener.getsockname()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server().serve, [Door(listener, answer)])
            greedy = [await trio.open_tcp_stream(host, port, local_address="127.0.0.3") for _ in range(3)]
            assert b"more than 2 connections from 127.0.0.3" in await greedy[2].receive_some()

            async with await trio.open_tcp_stream(host, port, local_address="127.0.0.4") as other:
                await other.send_all(GET % b"")
                assert b"200 OK" in await other.receive_some()
            await greedy[0].aclose()
            await trio.testing.wait_all_tasks_blocked(0.01)
            async with await trio.open_tcp_stream(host, port, local_address="127.0.0.3") as again:
                await again.send_all(GET % b"")
                assert b"200 OK" in await again.receive_some()
            nursery.cancel_scope.cancel()
        for stream in greedy:
            await stream.aclose()


async def test_a_flood_of_refused_requests_lets_others_have_their_turn(
    tmp_path: Path, certified: Access, pki: Path
) -> None:
    guarded = Access(certified.context, (TOKEN.encode(),))
    shown = {"ca": pki / "ours.pem", "cert": pki / "client.pem", "key": pki / "client.key"}
    async with served(tmp_path, guarded) as port, trio.open_nursery() as nursery:
        flooding = (await AsyncClient(f"https://localhost:{port}", **shown)._dial()).stream

        async def flood() -> None:
            while True:
                await flooding.send_all(GET % b"" * 100)

        async def drain() -> None:
            with suppress(trio.BrokenResourceError):  # when the other is cancelled in the middle of a record
                while await flooding.receive_some():
                    pass

        nursery.start_soon(flood)
        nursery.start_soon(drain)
        async with AsyncClient(tmp_path / "s") as client:
            for _ in range(5):
                assert await client.status()
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(flooding)
