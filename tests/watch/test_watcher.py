"""Which leases the watcher releases, when, and which never (docs/watcher.md)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from asking import Book
from playing import Player, event
from trio.testing import MockClock

from ringipam.core.events import Allocate, ClaimAddress, Leased, Release
from ringipam.errors import NotFoundError, StoreError
from ringipam.integrations import apiclient
from ringipam.integrations.watch.watcher import GRACE_S, LOOK_S, RETRY_S, Watcher, open_watcher

C = "c0ffee" + "0" * 58
D = "d00d1e" + "0" * 58
AT_ONCE = 0.5
"""Seconds of a clock that jumps over them as soon as everybody has done what there was to do."""
LONG = 150.0
"""More than a grace and two looks."""


@asynccontextmanager
async def watching(book: Book, engine: Player) -> AsyncIterator[Watcher]:
    """A watcher that has seen what the engine has."""
    async with open_watcher(book, [engine.path], engine.path.parent) as watcher:
        await trio.sleep(AT_ONCE)
        yield watcher


async def allocate(asker: Watcher | Book, holder: str, labels: Mapping[str, str] | None = None) -> None:
    await asker.ask(Allocate(holder, None, 1_000, labels=labels or {}))


async def started(engine: Player, watcher: Watcher, container: str = C) -> None:
    """As `docker create`, `ringipam allocate`, `docker start` do."""
    await engine.happen(container, "create", "created")
    await allocate(watcher, container)
    await engine.happen(container, "start", "running")
    await trio.sleep(AT_ONCE)


def held(book: Book) -> set[str]:
    return {lease.id for lease in book.leases.values()}


# ── a container's end ────────────────────────────────────────────────────────────────────────────


async def test_a_stopped_container_keeps_its_address_for_the_grace_and_no_longer(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        await engine.happen(C, "die", "exited")
        await trio.sleep(GRACE_S - 1)
        before = held(book)
        await trio.sleep(2)

    assert before == {C}
    assert held(book) == set()


async def test_a_container_that_starts_again_within_the_grace_keeps_its_address(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        await engine.happen(C, "die", "exited")
        await trio.sleep(GRACE_S - 1)
        await engine.happen(C, "start", "running")
        await trio.sleep(LONG)

    assert held(book) == {C}


@pytest.mark.parametrize("action", ["destroy", "remove"])
async def test_a_removed_container_loses_its_address_at_once(
    clock: MockClock, engine: Player, book: Book, action: str
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await started(engine, watcher, D)

        await engine.happen(C, action)
        await trio.sleep(AT_ONCE)

        assert held(book) == {D}


@pytest.mark.parametrize("state", ["restarting", "running", "paused", "created", "removing", "stopping", "unheard-of"])
async def test_a_container_that_is_not_stopped_keeps_its_address_whatever_events_say(
    clock: MockClock, engine: Player, book: Book, state: str
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        await engine.happen(C, "die", state)
        await trio.sleep(LONG)

    assert held(book) == {C}


async def test_a_container_that_is_stopped_when_it_gets_an_address_loses_it_after_the_grace(
    clock: MockClock, engine: Player, book: Book
) -> None:
    engine.states[C] = "exited"
    async with watching(book, engine) as watcher:
        await trio.sleep(LONG)

        await allocate(watcher, C)
        await trio.sleep(GRACE_S - 1)
        before = held(book)
        await trio.sleep(LOOK_S + 2)

    assert before == {C}
    assert held(book) == set()


async def test_whoever_asks_again_for_a_stopped_container_has_the_whole_grace_to_start_it(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await engine.happen(C, "die", "exited")
        await trio.sleep(GRACE_S - 1)

        await allocate(watcher, C)
        await trio.sleep(GRACE_S - 1)
        before = held(book)
        await trio.sleep(2)

    assert before == {C}
    assert held(book) == set()


@pytest.mark.parametrize("meanwhile", ["started", "asked for"])
async def test_a_container_that_comes_back_while_the_engine_is_asked_about_it_keeps_its_address(
    clock: MockClock, engine: Player, book: Book, meanwhile: str
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await engine.happen(C, "die", "exited")
        engine.holding = trio.Event()
        await trio.sleep(GRACE_S + 1)
        assert f"/containers/{C}/json" in engine.asked

        if meanwhile == "started":
            await engine.say(event(C, "start"))
        else:
            await allocate(watcher, C)
        await trio.sleep(AT_ONCE)
        engine.holding.set()
        await trio.sleep(AT_ONCE)

        assert held(book) == {C}


async def test_whoever_asks_while_the_address_is_being_released_gets_a_lease_that_stays(
    clock: MockClock, engine: Player, book: Book
) -> None:
    class Slow(Book):
        """Takes its time over a release, as a disk may."""

        async def ask(self, verb):  # type: ignore[no-untyped-def]
            if isinstance(verb, Release):
                await trio.sleep(5)
            return await super().ask(verb)

    slow = Slow()
    async with watching(slow, engine) as watcher:
        await started(engine, watcher)
        [before] = slow.leases
        await engine.happen(C, "die", "exited")
        await trio.sleep(GRACE_S + 1)

        answer = await watcher.ask(Allocate(C, None, 1_000))
        await engine.happen(C, "start", "running")
        await trio.sleep(LONG)

    assert isinstance(answer, Leased)
    assert answer.new
    assert [*slow.leases] == [answer.lease.lease] != [before]


async def test_a_claimed_address_goes_with_the_container_and_not_before(
    clock: MockClock, engine: Player, book: Book
) -> None:
    class Claims(Book):
        """The class that a claim has in a node."""

        def _claim(self, verb: ClaimAddress):  # type: ignore[no-untyped-def]
            return super()._allocate(Allocate(verb.id, None, 1_000, "static"))

    book = Claims()
    async with watching(book, engine) as watcher:
        await engine.happen(C, "create", "created")
        await watcher.ask(ClaimAddress(C, 4, 0x0A200009, 12, 1_000))
        await engine.happen(C, "start", "running")
        await engine.happen(C, "die", "exited")
        await trio.sleep(LONG)
        stopped = held(book)
        await engine.happen(C, "destroy")
        await trio.sleep(AT_ONCE)

    assert stopped == {C}
    assert held(book) == set()


async def test_every_lease_of_a_container_is_released_each_by_its_number(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        book._put(C, 4, 0x0A200101, 24, "10.32.1.0/24", "container", {})
        book._put(C[:12], 4, 0x0A200102, 24, "10.32.1.0/24", "container", {})
        await engine.happen(C, "destroy")
        await trio.sleep(AT_ONCE)

    released = [verb for verb in book.asked if isinstance(verb, Release)]
    assert held(book) == set()
    assert len(released) == 3
    assert all(verb.lease for verb in released)


async def test_hundreds_of_containers_that_end_together_are_all_seen(
    clock: MockClock, engine: Player, book: Book
) -> None:
    containers = [f"{number:064x}" for number in range(500)]
    async with watching(book, engine) as watcher:
        for container in containers:
            engine.states[container] = "running"
            await allocate(watcher, container)

        await engine.say(b"".join(event(container, "die") + event(container, "destroy") for container in containers))
        engine.states.clear()
        await trio.sleep(AT_ONCE)

        assert held(book) == set()


# ── what is none of its business ─────────────────────────────────────────────────────────────────


async def test_what_no_engine_has_ever_shown_is_never_released(clock: MockClock, engine: Player, book: Book) -> None:
    async with watching(book, engine) as watcher:
        for holder in (C, C[:12], "web", D):
            await allocate(watcher, holder, {"n": holder})
        await engine.happen(C.replace("c0ffee", "facade"), "destroy")
        await trio.sleep(LONG)

    assert held(book) == {C, C[:12], "web", D}


async def test_a_container_is_known_by_its_full_and_its_short_id_not_by_its_name(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await allocate(watcher, C[:12], {"n": "short"})
        await allocate(watcher, "n", {"n": "its name in every event and list"})
        await allocate(watcher, C[:13], {"n": "no form of it"})
        await engine.happen(C, "destroy")
        await trio.sleep(LONG)

    assert held(book) == {"n", C[:13]}


async def test_leases_of_another_integration_are_left_to_it(clock: MockClock, engine: Player, book: Book) -> None:
    async with watching(book, engine) as watcher:
        await engine.happen(C, "start", "running")
        await allocate(watcher, C, {"ringipam.via": "cni"})
        await engine.happen(C, "die", "exited")
        await trio.sleep(LONG)
        await engine.happen(C, "destroy")
        await trio.sleep(LONG)

    assert held(book) == {C}


async def test_another_engine_at_the_same_socket_says_nothing_of_the_containers_of_the_first(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        engine.root = "/var/lib/containers/storage"
        engine.states.clear()
        await engine.hang_up()
        await trio.sleep(LONG)

    assert held(book) == {C}


# ── what was missed ──────────────────────────────────────────────────────────────────────────────


async def test_another_engine_that_takes_the_place_of_one_without_events_is_noticed(
    clock: MockClock, engine: Player, book: Book
) -> None:
    engine.instead["/events"] = (500, b'{"message":"no events"}')
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await trio.sleep(LONG)

        engine.root = "/var/lib/containers/storage"
        engine.states = {D: "running"}
        await allocate(watcher, D)
        await trio.sleep(LONG)
        assert held(book) == {C, D}

        engine.root = "/var/lib/docker"
        engine.states = {C: "running"}
        await trio.sleep(LONG)
        assert held(book) == {C, D}


async def test_what_went_while_the_daemon_was_down_is_released_when_it_is_back(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        for container in (C, D):
            await started(engine, watcher, container)

    del engine.states[C]
    engine.states[D] = "exited"
    async with watching(book, engine):
        at_once = held(book)
        await trio.sleep(GRACE_S + 1)

    assert at_once == {D}
    assert held(book) == set()


async def test_a_container_that_was_only_created_and_asked_for_is_remembered_as_well(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await engine.happen(C, "create", "created")
        await trio.sleep(AT_ONCE)
        await allocate(watcher, C)
        await trio.sleep(AT_ONCE)

    del engine.states[C]
    async with watching(book, engine):
        assert held(book) == set()


async def test_what_went_while_the_engine_was_down_is_released_when_it_is_back(
    clock: MockClock, tmp_path: Path, book: Book
) -> None:
    engine = Player(tmp_path / "s")
    async with open_watcher(book, [engine.path], tmp_path) as watcher:
        async with engine.playing():
            await trio.sleep(RETRY_S + 1)
            for container in (C, D):
                await started(engine, watcher, container)
        await trio.sleep(LONG)
        while_away = held(book)

        del engine.states[C]
        async with engine.playing():
            await trio.sleep(RETRY_S + 1)

    assert while_away == {C, D}
    assert held(book) == {D}


async def test_a_grace_does_not_end_while_the_engine_is_down(clock: MockClock, tmp_path: Path, book: Book) -> None:
    engine = Player(tmp_path / "s")
    async with open_watcher(book, [engine.path], tmp_path) as watcher:
        async with engine.playing():
            await trio.sleep(RETRY_S + 1)
            await started(engine, watcher)
            await engine.happen(C, "die", "exited")
        await trio.sleep(LONG)

        async with engine.playing():
            await trio.sleep(RETRY_S + GRACE_S - 2)
            assert held(book) == {C}
            await engine.happen(C, "start", "running")
            await trio.sleep(LONG)

    assert held(book) == {C}


async def test_an_event_that_never_came_is_made_up_for_by_the_next_look(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        del engine.states[C]
        await trio.sleep(LOOK_S + 1)

    assert held(book) == set()


async def test_a_container_that_the_list_lacks_and_the_engine_knows_keeps_its_address(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        engine.instead["/containers/json"] = (200, b"[]")
        await trio.sleep(LONG)

    assert held(book) == {C}


async def test_an_engine_without_events_is_watched_by_its_list(
    clock: MockClock, engine: Player, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    engine.instead["/events"] = (500, b'{"message":"events backend none"}')
    async with watching(book, engine) as watcher:
        engine.states[C] = "running"
        await trio.sleep(LOOK_S + 10)
        await allocate(watcher, C)
        del engine.states[C]
        await trio.sleep(LOOK_S + 10)

    assert held(book) == set()
    assert "tells no events" in caplog.text


async def test_an_engine_that_begins_its_stream_with_the_first_event_is_watched(
    clock: MockClock, engine: Player, book: Book
) -> None:
    engine.heads_at_once = False
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await engine.happen(C, "remove")
        await trio.sleep(AT_ONCE)

        assert held(book) == set()


# ── what cannot be understood or reached ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\n",
        b"\x00\xff\n",
        b"[1, 2]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        event(C, "die")[:40] + b"\n",
        b'{"pad": "' + b"x" * apiclient.LINE_SIZE_MAX + b'"}\n',
    ],
)
async def test_a_line_that_is_no_event_ends_the_stream_and_nothing_is_lost_by_it(
    clock: MockClock, engine: Player, book: Book, said: bytes
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await started(engine, watcher, D)

        await engine.say(said)
        del engine.states[C]
        await trio.sleep(RETRY_S + 1)

        assert held(book) == {D}
        assert engine.listeners == 1
        assert watcher.notices() == []


@pytest.mark.parametrize(
    "said",
    [
        b"{}\n",
        b'{"Type": "container", "Action": "die"}\n',
        b'{"Type": "container", "Action": "destroy", "Actor": {"ID": 7}}\n',
        b'{"Type": "container", "Action": "destroy", "Actor": {"ID": "n"}}\n',
        event(C, "destroy").replace(b'"Type": "container"', b'"Type": "network"'),
        event(C, "exec_die"),
        event(C, "health_status: unhealthy"),
        event(C, "kill") + event(C, "stop") + event(C, "pause") + event(C, "oom") + event(C, "cleanup"),
        b"\n\r\n",
    ],
)
async def test_events_about_anything_else_change_nothing(
    clock: MockClock, engine: Player, book: Book, said: bytes
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        engine.asked.clear()

        await engine.say(said)
        await trio.sleep(GRACE_S + 1)

        assert held(book) == {C}
        assert not [target for target in engine.asked if target.startswith("/events")]  # the stream goes on


async def test_an_event_may_come_in_pieces(clock: MockClock, engine: Player, book: Book) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        del engine.states[C]

        for byte in event(C, "destroy"):
            await engine.say(bytes([byte]))
        await trio.sleep(AT_ONCE)

        assert held(book) == set()


WRONG = [
    (500, b"internal error"),
    (404, b"nothing here"),
    (200, b""),
    (200, b"null"),
    (200, b'{"error": "x"}'),
    (200, b'[{"Id": "%b"}]' % C.encode()),
    (200, b'[{"Id": "short", "State": "running"}]'),
    (200, b'{"Id": "%b", "State": {"Status": "exited"}}' % D.encode()),
    (200, b"[" * 100_000),
]
ASKED = ("/info", "/containers/json", f"/containers/{C}/json")


@pytest.mark.parametrize(
    ("path", "answer"),
    # 404 for a container is how an engine says that it is gone.
    [(path, answer) for path in ASKED for answer in WRONG if not (path == ASKED[2] and answer[0] == 404)],
)
async def test_an_answer_that_is_not_understood_releases_nothing(
    clock: MockClock, engine: Player, book: Book, path: str, answer: tuple[int, bytes]
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        engine.instead[path] = answer
        engine.states = {D: "running"}
        await engine.say(event(C, "die"))
        await engine.hang_up()
        await trio.sleep(LONG)
        unsure = held(book)
        told = watcher.notices()

        engine.instead.clear()
        await trio.sleep(RETRY_S + LOOK_S)

        assert unsure == {C}
        assert [notice.startswith(f"the containers of {engine.path} are not watched: ") for notice in told] == [True]
        assert held(book) == set()
        assert watcher.notices() == []


async def test_an_engine_that_does_not_answer_releases_nothing_and_is_named(
    clock: MockClock, engine: Player, book: Book
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        engine.holding = trio.Event()
        await engine.happen(C, "die", "exited")
        await trio.sleep(GRACE_S + apiclient.TIMEOUT_S + 1)

        assert held(book) == {C}
        assert "no answer within 30 s" in watcher.notices()[0]


async def test_an_engine_that_is_not_there_is_no_news_and_one_that_comes_is_watched(
    clock: MockClock, tmp_path: Path, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = Player(tmp_path / "s")
    engine.states[C] = "running"
    async with open_watcher(book, [engine.path, tmp_path / "never"], tmp_path) as watcher:
        await trio.sleep(LONG)
        silence = (caplog.text, watcher.notices())
        async with engine.playing():
            await trio.sleep(RETRY_S + 1)
            await allocate(watcher, C)
            await engine.happen(C, "destroy")
            await trio.sleep(AT_ONCE)
            assert held(book) == set()

    assert silence == ("", [])
    assert "watching the containers of" in caplog.text


async def test_a_socket_nobody_listens_at_is_named_once(
    clock: MockClock, engine: Player, book: Book, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = trio.socket.socket(trio.socket.AF_UNIX)
    await dead.bind(str(tmp_path / "dead"))
    dead.close()
    async with open_watcher(book, [tmp_path / "dead"], tmp_path) as watcher:
        await trio.sleep(LONG)

        assert watcher.notices() == [
            f"the containers of {tmp_path}/dead are not watched: cannot connect: Connection refused"
        ]
    assert len(caplog.records) == 1


# ── what our own side may do ─────────────────────────────────────────────────────────────────────


async def test_a_release_that_the_disk_refused_is_made_up_for(clock: MockClock, engine: Player, book: Book) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)

        book.refusal = StoreError("the disk is full")
        await engine.happen(C, "destroy")
        await trio.sleep(LONG)
        refused = (held(book), watcher.notices())
        book.refusal = None
        await trio.sleep(RETRY_S + 1)

    assert refused[0] == {C}
    assert "the disk is full" in refused[1][0]
    assert held(book) == set()


async def test_a_lease_that_somebody_released_first_is_no_trouble(clock: MockClock, engine: Player, book: Book) -> None:
    class Faster(Book):
        async def ask(self, verb):  # type: ignore[no-untyped-def]
            if isinstance(verb, Release):
                self.leases.pop(verb.lease, None)
                raise NotFoundError("no addresses")
            return await super().ask(verb)

    faster = Faster()
    async with watching(faster, engine) as watcher:
        await started(engine, watcher)
        await engine.happen(C, "destroy")
        await trio.sleep(AT_ONCE)

        assert (held(faster), watcher.notices()) == (set(), [])


async def test_questions_pass_through_unchanged(clock: MockClock, engine: Player, book: Book) -> None:
    async with watching(book, engine) as watcher:
        book.asked.clear()
        verb = Allocate("c1", None, 1_000)

        assert await watcher.ask(verb) == await book.ask(verb) or book.asked == [verb, verb]
        assert await watcher.history("10.32.0.1") == await book.history("10.32.0.1")


# ── what it remembers ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"version": 2, "seen": {}}',
        b'{"version": 1, "seen": {"e": ["web"]}}',
        b'{"version": 1, "seen": {"e": [[]]}}',
        b'{"version": 1, "seen": {"e": {}}}',
        b"[" * 100_000,
    ],
)
async def test_a_damaged_memory_is_named_and_releases_nothing(
    clock: MockClock, engine: Player, book: Book, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await started(engine, watcher, D)

    (tmp_path / "watched.json").write_bytes(content)
    del engine.states[C]
    async with watching(book, engine) as watcher:
        await trio.sleep(LONG)
        await engine.happen(D, "destroy")
        await trio.sleep(AT_ONCE)

    assert held(book) == {C}
    assert f"{tmp_path}/watched.json is not used" in caplog.text


async def test_the_memory_is_no_larger_than_what_has_leases(
    clock: MockClock, engine: Player, book: Book, tmp_path: Path
) -> None:
    engine.states[D] = "running"  # has no lease
    async with watching(book, engine) as watcher:
        for number in range(20):
            container = f"{number:064x}"
            await started(engine, watcher, container)
            await engine.happen(container, "destroy")
        await started(engine, watcher)

    assert (tmp_path / "watched.json").read_text() == (
        f'{{"version": 1, "seen": {{"{engine.path} /var/lib/docker": ["{C}"]}}}}'
    )


async def test_a_container_whose_lease_somebody_released_is_forgotten(
    clock: MockClock, engine: Player, book: Book, tmp_path: Path
) -> None:
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        await started(engine, watcher, D)
        book.leases = {number: lease for number, lease in book.leases.items() if lease.id == D}
        await trio.sleep(LONG)

    remembered = (tmp_path / "watched.json").read_text()
    assert D in remembered
    assert C not in remembered


async def test_a_memory_that_cannot_be_written_is_named_and_written_later(
    clock: MockClock, engine: Player, book: Book, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "watched.json.new").mkdir()
    async with watching(book, engine) as watcher:
        await started(engine, watcher)
        (tmp_path / "watched.json.new").rmdir()
        with trio.fail_after(LONG):
            while not (tmp_path / "watched.json").exists():
                await trio.sleep(1)

        assert C in (tmp_path / "watched.json").read_text()
    assert f"cannot write {tmp_path}/watched.json: Is a directory" in caplog.text
