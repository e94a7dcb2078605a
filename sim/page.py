"""One run as one HTML page that needs nothing else: the scene as JSON inside `page.html`."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from sim.faults import Fault
from sim.record import Recorder
from sim.run import Result, Run
from sim.scene import Scene

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    to: str | Path | TextIO,
    recorder: Recorder,
    *,
    title: str,
    faults: Sequence[Fault],
    violation: str | None,
    plan_text: str,
) -> None:
    """The page of the run that `recorder` saw up to now; `violation` is `CHECKER: what`, or None."""
    page = render(recorder, title=title, faults=faults, violation=violation, plan_text=plan_text)
    if isinstance(to, str | Path):
        Path(to).write_text(page, encoding="utf-8")
    else:
        to.write(page)


def write_run(to: str | Path | TextIO, run: Run, result: Result, recorder: Recorder) -> None:
    """The page of a completed run that `recorder` watched."""
    plan = run.plan
    write_page(
        to,
        recorder,
        title=f"Simulated run of seed {plan.seed}",
        faults=run.faults,
        violation=result.violation,
        plan_text=f"{len(run.world.members())} hosts share {run.world.universe}; {plan.seconds} s planned;"
        f" faults: {len(run.faults)}",
    )


def render(recorder: Recorder, *, title: str, faults: Sequence[Fault], violation: str | None, plan_text: str) -> str:
    data = Scene(recorder, faults, violation).as_json()
    island = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        island = island.replace(sign, f"\\u{ord(sign):04x}")
    filled = {"title": html.escape(title), "plan": html.escape(plan_text), "verdict": _verdict(data), "data": island}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def _verdict(data: dict[str, Any]) -> str:
    """What a reader must see even without scripts."""
    violation = data["violation"]
    seconds = f"{data['end'] / 1000:.3f} s"
    if violation is None:
        return (
            '<section id="verdict" class="good" aria-label="Verdict"><h2>No violation</h2>'
            f"<p>Every property that is checked held for all of the {seconds}.</p></section>"
        )
    rows = "".join(
        f'<li><time data-at="{at}">{at / 1000:.3f} s</time> {html.escape(words)}</li>' for at, words in data["history"]
    )
    heading = f"How it came to this: {data['focus']}" if data["focus"] else "What came before"
    story = f"<h3>{html.escape(heading)}</h3><ol>{rows}</ol>" if rows else ""
    return (
        '<section id="verdict" class="bad" aria-label="Verdict">'
        f"<h2>Violation at {seconds}: {html.escape(violation['checker'])}</h2>"
        f'<p class="what">{html.escape(violation["text"])}</p>'
        f'<p class="property">What must hold: {html.escape(violation["property"])}</p>{story}</section>'
    )
