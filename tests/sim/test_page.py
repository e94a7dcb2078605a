"""The page of a run is one valid file that says what happened: to a reader without scripts, and in its data."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import pytest

import sim.run
from ringipam.core import donor
from ringipam.core.events import Allocate, Leased
from ringipam.messages import Grant
from sim.__main__ import main
from sim.checkers import Violation
from sim.cluster import World
from sim.faults import Fault, schedule
from sim.page import write_page, write_run
from sim.record import Recorder
from sim.run import Plan, Result, Run, run
from sim.scene import DETAIL_BYTES_MAX

VOID = {"meta", "input", "br", "line", "rect", "path", "circle"}
HOSTILE = "</script><b>&amp;<!--{{data}}"


class Page(HTMLParser):
    """Fails on tags that do not match; gathers the visible text and the JSON island."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.island = ""
        self.title = ""
        self._in_island = False
        self.feed(text)
        self.close()
        assert not self.open, self.open
        self.data: dict[str, Any] = json.loads(self.island)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self._in_island = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_island = False

    def handle_data(self, data: str) -> None:
        if self._in_island:
            self.island += data
        elif self.open and self.open[-1] == "title":
            self.title += data
        elif not {"script", "style"} & set(self.open):
            self.text += data


def run_with_page(plan: Plan, page: TextIO) -> Result:
    run = Run(plan)
    recorder = Recorder(run.world)
    run.world.watch(recorder, first=True)
    result = run.complete()
    write_run(page, run, result, recorder)
    return result


def recorded(**world: Any) -> tuple[World, Recorder]:
    made = World(start=False, **world)
    recorder = Recorder(made)
    made.watch(recorder, first=True)
    for host in made.hosts.values():
        host.start()
    return made, recorder


def page_of(
    recorder: Recorder, violation: str | None = None, faults: tuple[Fault, ...] = (), title: str = "a run"
) -> Page:
    out = StringIO()
    write_page(out, recorder, title=title, faults=faults, violation=violation, plan_text="as planned")
    return Page(out.getvalue())


def forgetful_donors(patch: pytest.MonkeyPatch) -> None:
    """A donor goes on believing that it owns what it granted."""

    class Forgetful(donor.Donor):
        def give(self, asker: str, number: int, block: object) -> None:
            join, self._state.join = self._state.join, lambda *_: None  # type: ignore[method-assign,assignment]
            super().give(asker, number, block)  # type: ignore[arg-type]
            self._state.join = join  # type: ignore[method-assign]

    patch.setattr("ringipam.core.peer.Donor", Forgetful)


@pytest.fixture
def violated(monkeypatch: pytest.MonkeyPatch) -> Page:
    """h1 owns everything, h2 asks for a part of it, and from then on both own that."""
    forgetful_donors(monkeypatch)
    world, recorder = recorded(hosts=3, init=lambda name: "alone" if name == "h1" else "observer")
    world.run_for(8_000)
    world.ask("h2", Allocate("c1", None, 5_000))
    with pytest.raises(Violation) as raised:
        world.run_for(5_000)
    return page_of(recorder, str(raised.value))


def test_a_page_is_valid_and_loads_nothing_from_anywhere(violated: Page) -> None:
    assert violated.tags[0][0] == "html"
    assert violated.title == "a run"
    assert not [tag for tag, attrs in violated.tags if tag == "link" or "src" in attrs]
    assert [attrs["href"] for _, attrs in violated.tags if "href" in attrs] == ["#h-legend"]


def test_the_violation_stands_at_the_top_in_words(violated: Page) -> None:
    said = violated.text

    assert "NoAddressPossessedTwice" in said
    assert "At no instant do two hosts possess one address" in said
    assert f"{violated.data['end'] / 1000:.3f} s" in said
    assert "both h1 and h2 now believe that they own" in said
    assert said.index("Violation at") < said.index("Who said what to whom")


def test_the_data_names_who_possessed_one_range_and_since_when(violated: Page) -> None:
    (double,) = [double for double in violated.data["doubles"] if double["how"] == "possess"]

    assert double["hosts"] == ["h1", "h2"]
    assert (double["since"], double["until"]) == (violated.data["end"], None)
    assert double["range"] in violated.data["violation"]["text"]
    assert violated.data["focus"] == double["range"]


def test_the_double_range_is_in_the_view_of_both_as_their_own(violated: Page) -> None:
    data = violated.data
    (top, bottom), end = data["doubles"][0]["y"], data["end"]

    for place in (0, 1):
        owners = {
            data["owners"][view[5]]["name"]
            for view in data["views"]
            if view[2] == place and view[1] == -1 and view[3] < bottom and top < view[4] and view[0] <= end
        }
        assert owners == {data["hosts"][place]["name"]}


def test_the_time_line_begins_shortly_before_the_violation(violated: Page) -> None:
    begin, end = violated.data["zoom"]

    assert end == violated.data["end"]
    assert 0 < begin < end


def test_the_grant_is_an_arrow_with_its_contents(violated: Page) -> None:
    (grant,) = [message for message in violated.data["messages"] if message[6] == "Grant"]

    sent, due, received, source, target, group, _, contents = grant
    assert sent < due == received == violated.data["end"]
    assert (source, target) == (0, 1)
    assert violated.data["groups"][group] == {
        "key": "space",
        "label": "space: requests, grants, denials",
        "shown": True,
    }
    assert contents.startswith("Grant 1.1: 10.0.0.")


def test_a_run_without_a_violation_says_so_and_shows_every_host_and_request() -> None:
    world, recorder = recorded(hosts=4)
    request = world.ask("h2", Allocate("c1", None, 5_000))
    world.run_for(6_000)

    page = page_of(recorder)

    assert "No violation" in page.text
    assert [host["name"] for host in page.data["hosts"]] == ["h1", "h2", "h3", "h4"]
    assert page.data["zoom"] == [0, 6_000]
    assert not page.data["doubles"]
    assert isinstance(request.answer, Leased)
    assert [row[3:5] for row in page.data["requests"]] == [[f"allocate c1 → {request.answer.lease.address}", "ok"]]
    assert [lease[4:] for lease in page.data["leases"]] == [[str(request.answer.lease.address), "c1"]]


def test_faults_crashes_and_pauses_are_told() -> None:
    world, recorder = recorded(hosts=3)
    faults = (
        Fault(2_000, "crash", ("h1", "h2"), 1_000, 5),
        Fault(5_000, "pause", ("h2", "h3"), 1_500, 5),
        Fault(6_000, "loss", ("h1", "h3"), 1_000, 100),
    )
    schedule(world, faults)
    world.run_for(8_000)

    data = page_of(recorder, faults=faults).data

    assert data["hosts"][0]["lives"] == [[0, 2_000], [3_000, None]]
    ((begin, end),) = data["hosts"][1]["pauses"]
    assert 5_000 <= begin < 5_100
    assert end == 6_500
    assert [(fault["at"], fault["kind"], fault["hosts"]) for fault in data["faults"]] == [
        (2_000, "crash", ["h1"]),
        (5_000, "pause", ["h2"]),
        (6_000, "loss", []),
    ]
    assert all(message[1] == -1 for message in data["messages"] if 6_000 < message[0] < 7_000)


def test_while_a_host_is_down_its_view_is_what_its_disk_says() -> None:
    world, recorder = recorded(hosts=3)
    world.ask("h1", Allocate("c1", None, 5_000))
    world.run_for(4_000)
    world.crash("h1")
    world.run_for(1_000)
    world.restart("h1")
    world.run_for(1_000)

    views = [view for view in page_of(recorder).data["views"] if view[2] == 0]

    down = [view for view in views if view[6]]
    assert down
    assert all((view[0], view[1]) == (4_000, 5_000) for view in down)
    assert {tuple(view[3:6]) for view in down} == {tuple(view[3:6]) for view in views if view[1] == -1}


def test_a_message_that_was_lost_has_no_arrival() -> None:
    world, recorder = recorded(hosts=2, init=lambda name: "alone" if name == "h1" else "observer")
    world.run_for(3_000)
    world.drop_next(Grant)
    world.ask("h2", Allocate("c1", None, 5_000))
    world.run_for(4_000)

    grants = [message for message in page_of(recorder).data["messages"] if message[6] == "Grant"]

    assert grants[0][1:3] == [-1, -1]


def test_hostile_text_cannot_leave_its_place() -> None:
    world, recorder = recorded(hosts=1, init=lambda _: "alone")
    world.ask("h1", Allocate(HOSTILE, None, 5_000))
    world.run_for(1_000)

    page = page_of(recorder, violation=f"Some{HOSTILE}: {HOSTILE}", title=HOSTILE)

    assert page.title == HOSTILE
    assert page.text.count(HOSTILE) == 3
    assert HOSTILE in page.data["requests"][0][3]
    assert not [tag for tag, _ in page.tags if tag == "b"]


def test_equal_runs_give_equal_pages() -> None:
    pages = []
    for _ in range(2):
        out = StringIO()
        run_with_page(Plan(5, 3, 20), out)
        pages.append(out.getvalue())

    assert pages[0] == pages[1]


def test_to_record_a_run_does_not_change_it() -> None:
    assert run_with_page(Plan(5, 3, 20), StringIO()) == run(Plan(5, 3, 20))


def test_nothing_is_recorded_unless_a_page_is_wanted() -> None:
    run = Run(Plan(5, 3, 10))

    assert run.complete().violation is None
    assert run.world.network.on_send is None
    assert not any(isinstance(checker, Recorder) for checker in run.world.checkers)


def test_a_long_run_stays_small_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.scene.DETAIL_BYTES_MAX", DETAIL_BYTES_MAX // 50)
    out = StringIO()
    run_with_page(Plan(2, 5, 40), out)

    page = Page(out.getvalue())

    assert len(out.getvalue()) < 1_000_000
    assert 0 < page.data["detail"] < page.data["end"]
    assert min(step[0] for step in page.data["steps"]) >= page.data["detail"] - 1
    assert any(f"{page.data['detail'] / 1000:.3f} s" in note for note in page.data["notes"])
    early = [message for message in page.data["messages"] if message[0] < page.data["detail"] and not message[7]]
    assert early
    assert all(page.data["groups"][message[5]]["shown"] for message in early)


def test_of_many_views_those_that_last_longest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = StringIO(), StringIO()
    run_with_page(Plan(2, 3, 20), whole)
    monkeypatch.setattr("sim.scene.VIEWS_MAX", 140)
    run_with_page(Plan(2, 3, 20), part)

    every, kept = (Page(out.getvalue()).data for out in (whole, part))

    def identity(data: dict[str, Any]) -> list[tuple[int, int, str]]:
        return [(view[2], view[0], view[7]) for view in data["views"] if view[1] == -1]

    assert len(kept["views"]) == 140 < len(every["views"])
    assert identity(kept) == identity(every)
    assert any("Views of the ring" in note for note in kept["notes"])


def test_what_the_recorder_has_forgotten_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.record.KEPT_MAX", 200)
    out = StringIO()
    run_with_page(Plan(2, 3, 20), out)

    data = Page(out.getvalue()).data

    assert len(data["messages"]) == 200
    assert f"Messages before {data['messages'][0][0] / 1000:.3f} s are left out." in data["notes"]
    assert 0 < data["detail"] <= data["steps"][0][0]


def test_every_placeholder_of_the_script_has_its_element() -> None:
    template = (Path(sim.run.__file__).parent / "page.html").read_text()

    wanted = set(re.findall(r'\$\("([\w-]+)"\)', template))

    assert wanted
    assert wanted <= set(re.findall(r'id="([\w-]+)"', template))


def test_the_command_line_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "run.html"

    assert main(["run", "--seed", "3", "--seconds", "10", "--faults", "none", "--page", str(target)]) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith("digest: ")
    assert "seed 3" in Page(target.read_text(encoding="utf-8")).title
