"""Both clients against a real server: the same verbs, the same errors, and nothing done twice by accident."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
from asking import UNIVERSE, Book, daemon_at

from ringipam import AsyncClient, Client, errors
from ringipam.core.events import Allocate, Connect, Forget, Prime, Release
from ringipam.errors import DaemonUnreachableError, InUseError, RequestError, RingIpamError
from ringipam.runtime.verbs import Verbs
from ringipam.server.surface import open_surface

Verb = Callable[..., Awaitable[Any]]


@contextmanager
def stranger(path: Path, *connections: list[bytes | None]) -> Iterator[list[bytes]]:
    """Something at the socket that gives each connection its list of replies, None being to hang up.

    Yields what it was sent.
    """
    received: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(5)

    def run() -> None:
        with listener:
            for replies in connections:
                with closing(listener.accept()[0]) as client:
                    for reply in replies:
                        received.append(client.recv(65536))
                        if reply is not None:
                            client.sendall(reply)

    thread = threading.Thread(target=run)
    thread.start()
    yield received
    thread.join()


class BlockingInThread:
    """A `Client` with the face of an `AsyncClient`, so that one test serves both."""

    def __init__(self, path: Path) -> None:
        self._client = Client(path)

    def __getattr__(self, name: str) -> Verb:
        async def verb(*args: object, **kwargs: object) -> object:
            return await trio.to_thread.run_sync(lambda: getattr(self._client, name)(*args, **kwargs))

        return verb

    async def aclose(self) -> None:
        self._client.close()


@pytest.fixture(params=[AsyncClient, BlockingInThread])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = request.param(tmp_path / "s")
    yield made
    await made.aclose()


@pytest.fixture
async def served(book: Book, tmp_path: Path) -> Any:
    async with open_surface(book, tmp_path / "s", None, UNIVERSE, "0"):
        yield book


async def test_every_verb_does_what_the_nodes_does(client: Any, served: Book) -> None:
    lease = await client.allocate("c1", subnet=ip_network("10.32.4.0/24"), timeout=5.0, labels={"app": "web"})
    claimed = await client.claim("c2", "10.32.0.9/12", timeout=5.0)

    assert (lease.interface, lease.labels) == ("10.32.4.1/24", {"app": "web"})
    assert await client.allocate("c1", subnet="10.32.4.0/24") == lease
    assert await client.lookup("c1") == [lease]
    assert await client.leases() == [lease, claimed]
    assert await client.leases(cluster=True) == [lease, claimed]
    assert (await client.status())["leases"] == 2
    assert (await client.ring())["cluster"] == "6f1c"
    assert (await client.peers())["peers"][0]["name"] == "host2"
    assert (await client.conflicts())["conflicts"][0]["first"] == "10.32.0.9"
    assert (await client.history("10.32.0.9"))["history"][0]["owner"] == "host2.77c1"
    assert await client.release("c1", lease=lease.lease) == [lease]
    assert await client.release("c2", address=claimed.address) == [claimed]
    assert await client.lookup("c1") == []
    assert await client.prime(timeout=2) is None
    assert await client.connect("host2:6783") is None
    assert await client.forget("host2") is None
    assert served.asked[-3:] == [Prime(2_000), Connect("host2:6783"), Forget("host2")]


async def test_any_id_survives_the_way_there_and_back(client: Any, served: Book) -> None:
    for holder in ("ns/pod", "a?b=c&d", "50%", "naïve-ключ", "..", "#", "+"):
        lease = await client.claim(holder, "10.32.0.9/12")
        assert lease.id == holder
        assert await client.lookup(holder) == [lease]
        assert await client.release(holder, address="10.32.0.9") == [lease]


@pytest.mark.parametrize(
    "kind",
    [
        *(errors.RequestError, errors.NoSpaceError, errors.InUseError, errors.NotFoundError, errors.OutOfRangeError),
        *(
            errors.RequestTimeoutError,
            errors.NotReadyError,
            errors.FencedError,
            errors.StoreError,
            errors.RingIpamError,
        ),
    ],
)
async def test_every_error_arrives_as_itself(client: Any, served: Book, kind: type[RingIpamError]) -> None:
    served.refusal = kind("because of host2", holders=[{"host": "host2", "owned": 128, "state": "none free"}])

    with pytest.raises(kind) as caught:
        await client.allocate("c1")

    assert type(caught.value) is kind
    assert caught.value.message == "because of host2"
    assert caught.value.details["holders"] == [{"host": "host2", "owned": 128, "state": "none free"}]


async def test_the_holder_of_an_address_is_named(client: Any, served: Book) -> None:
    await client.claim("c1", "10.32.0.9/12")

    with pytest.raises(InUseError) as caught:
        await client.claim("c2", "10.32.0.9/12")

    assert caught.value.details["holder"] == {"id": "c1", "host": "host1"}


async def test_what_makes_no_sense_is_refused(client: Any, served: Book) -> None:
    for call in (
        lambda: client.allocate(""),
        lambda: client.allocate("two words"),
        lambda: client.allocate("c1", subnet="nonsense"),
        lambda: client.allocate("c1", timeout=0),
        lambda: client.allocate("c1", labels={"a": "line\nbreak"}),
        lambda: client.claim("c1", "10.32.0.9"),
        lambda: client.release("c1", address="a/b"),
    ):
        with pytest.raises(RequestError):
            await call()
    assert not served.asked


async def test_nobody_at_the_socket_is_an_error_that_says_what_to_do(client: Any, tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachableError, match=f"no daemon answers at {tmp_path}/s .*ringipam launch"):
        await client.status()


async def test_a_stranger_at_the_socket_is_an_error(client: Any, tmp_path: Path) -> None:
    for reply in (b"220 mail ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"):
        with stranger(tmp_path / "s", [reply]), pytest.raises(RingIpamError, match="what answers at the socket"):
            await client.status()
        (tmp_path / "s").unlink()


async def test_a_restarted_daemon_is_found_again(client: Any, book: Book, tmp_path: Path) -> None:
    for _ in range(2):
        async with open_surface(book, tmp_path / "s", None, UNIVERSE, "0"):
            await client.allocate("c1")
            assert len(await client.release("c1")) == 1


async def test_a_call_that_can_be_repeated_is_sent_again_when_its_connection_breaks(
    client: Any, tmp_path: Path
) -> None:
    status = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with stranger(tmp_path / "s", [status, None], [status]) as received:
        await client.status()
        assert await client.status() == {}

    assert len(received) == 3


async def test_a_release_is_never_sent_twice(client: Any, tmp_path: Path) -> None:
    """S22: in between, the address could have become somebody else's."""
    status = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with stranger(tmp_path / "s", [status, None]) as received:
        await client.status()
        with pytest.raises(DaemonUnreachableError, match="look whether it was done"):
            await client.release("c1")

    assert len(received) == 2


async def test_an_anonymous_allocation_is_never_sent_twice(client: Any, tmp_path: Path) -> None:
    status = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with stranger(tmp_path / "s", [status, None]) as received:
        await client.status()
        with pytest.raises(DaemonUnreachableError):
            await client.allocate("_")

    assert len(received) == 2


async def test_a_cancelled_call_is_withdrawn_and_the_next_one_gets_its_own_answer(served: Book, tmp_path: Path) -> None:
    served.holding = trio.Event()
    async with AsyncClient(tmp_path / "s") as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.allocate, "c1")
            await served.waiting.wait()
            nursery.cancel_scope.cancel()
        while not served.withdrawn:
            await trio.lowlevel.checkpoint()
        served.holding = None

        assert await client.lookup("c1") == []
        assert [type(verb) for verb in served.withdrawn] == [Allocate]


async def test_many_calls_at_once_each_get_their_own_answer(served: Book, tmp_path: Path) -> None:
    got = {}
    async with AsyncClient(tmp_path / "s") as client:

        async def one(holder: str) -> None:
            got[holder] = await client.allocate(holder)

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(one, f"c{number}")

    assert all(lease.id == holder for holder, lease in got.items())
    assert len({lease.address for lease in got.values()}) == 200


async def test_a_daemon_that_never_answers_is_given_up(
    served: Book, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    served.holding = trio.Event()
    async with AsyncClient(tmp_path / "s") as client:
        with pytest.raises(DaemonUnreachableError, match="no answer within 15 s"):
            await client.allocate("c1", timeout=5)


def test_the_clients_have_the_verbs_of_a_node() -> None:
    verbs = [name for name, _ in inspect.getmembers(Verbs, inspect.isfunction) if not name.startswith("_")]
    for kind in (Client, AsyncClient):
        for name in set(verbs) - {"ask"}:
            ours, theirs = inspect.signature(getattr(kind, name)), inspect.signature(getattr(Verbs, name))
            missing = set(theirs.parameters) - set(ours.parameters)
            assert missing <= ({"labels"} if name == "claim" else set()), (kind, name)


def test_the_blocking_client_works_without_trio_and_can_be_closed_and_used_again(tmp_path: Path) -> None:
    with daemon_at(tmp_path / "s") as book, Client(tmp_path / "s") as client:
        client.allocate("c1")
        client.close()
        client.release("c1")

    assert isinstance(book.asked[-1], Release)
