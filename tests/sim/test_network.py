"""Links lose, double, delay, hold up, damage and tear as the weather says, and clocks are wrong as they are told."""

from __future__ import annotations

from ringipam.core.events import Event, LinkDown, LinkUp, Received
from ringipam.core.rng import Rng
from ringipam.messages import Message, Refused
from sim.host import HostClock
from sim.loop import Loop
from sim.network import Network


class Pair:
    """Two hosts on one link: what `b` hears of what `a` says, and when."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = Loop()
        self.heard: list[tuple[int, str]] = []
        self.links: dict[str, int] = {}
        self.down: list[str] = []
        self.marks: list[str] = []
        self.network = Network(self.loop, Rng(seed), self._deliver, lambda host: 1, codec=False)
        self.network.mark = self.marks.append
        self.dial()

    def dial(self) -> None:
        self.network.dial("a", "b:6783")
        self.loop.run_until(self.loop.now + 1_000)

    def say(self, count: int) -> None:
        for number in range(count):
            self.network.send(self.links["a"], Refused(str(number)))

    def _deliver(self, host: str, event: Event) -> None:
        match event:
            case LinkUp(link, _, _):
                self.links[host] = link
            case LinkDown():
                self.down.append(host)
            case Received(_, message):
                self._hear(message)
            case _:
                pass

    def _hear(self, message: Message) -> None:
        assert isinstance(message, Refused)
        self.heard.append((self.loop.now, message.reason))

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.heard]


def test_in_calm_weather_everything_arrives_once_and_in_order() -> None:
    pair = Pair()

    pair.say(100)
    pair.loop.run_until(10_000)

    assert pair.words == [str(number) for number in range(100)]


def test_loss_copies_and_disorder_are_as_often_as_they_are_told() -> None:
    lossy, doubled, mixed = Pair(), Pair(), Pair()
    lossy.network.weather.loss = 300
    doubled.network.weather.copies = 300
    mixed.network.weather.disorder = 300

    for pair in (lossy, doubled, mixed):
        pair.say(1_000)
        pair.loop.run_until(60_000)

    assert 600 < len(lossy.heard) < 800
    assert 1_200 < len(doubled.heard) < 1_400
    assert sorted(mixed.words, key=int) == [str(number) for number in range(1_000)] != mixed.words


def test_a_clogged_direction_holds_messages_back_and_keeps_their_order() -> None:
    pair = Pair()
    until = pair.loop.now + 3_000

    pair.network.clog("a", "b", until)
    pair.say(3)
    pair.loop.run_until(60_000)

    assert pair.words == ["0", "1", "2"]
    assert min(at for at, _ in pair.heard) >= until


def test_what_is_damaged_closes_the_link_and_is_never_delivered() -> None:
    pair = Pair()
    pair.network.weather.corrupt = 1_000

    pair.say(1)
    pair.loop.run_until(60_000)

    assert pair.words == []
    assert sorted(pair.down) == ["a", "b"]


def test_a_full_queue_loses_the_rest() -> None:
    pair = Pair()
    pair.network.weather.queue = 4

    pair.say(10)
    pair.loop.run_until(60_000)

    assert pair.words == ["0", "1", "2", "3"]
    assert "a link's queue overflowed" in pair.marks


def test_an_old_copy_comes_over_the_link_that_took_the_place_of_the_old_one() -> None:
    pair = Pair()
    pair.network.weather.stale = 1_000
    pair.say(1)
    pair.loop.run_until(pair.loop.now + 100)
    pair.network.weather.stale = 0

    pair.network.reset("a", "b")
    pair.dial()
    pair.loop.run_until(60_000)

    assert pair.words == ["0", "0"]
    assert "an old copy of a message came much later" in pair.marks


def test_a_reset_is_heard_at_both_ends_and_loses_what_is_under_way() -> None:
    pair = Pair()
    pair.say(1)

    assert pair.network.reset("a", "b") == 1
    pair.loop.run_until(60_000)

    assert sorted(pair.down) == ["a", "b"]
    assert pair.words == []


def test_a_clock_steps_and_drifts_and_knows_when_its_time_comes() -> None:
    clock = HostClock(1_000)
    assert clock.now(5_000) == 5_000

    clock.set(5_000, step_ms=-2_000, rate=1_100)

    assert clock.now(5_000) == 3_000
    assert clock.now(15_000) == 14_000
    for shown in range(3_000, 20_000, 7):
        assert clock.now(clock.due(shown)) >= shown > clock.now(clock.due(shown) - 2)


def test_a_late_deadline_never_rings_early() -> None:
    for rate in (940, 1_000, 1_060):
        clock = HostClock(0)
        clock.set(0, rate=rate)
        assert all(clock.now(clock.due(shown)) >= shown for shown in range(0, 10_000, 13))
