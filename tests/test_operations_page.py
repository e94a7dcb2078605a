"""The runbook has an entry for every message of the source, and none for what is not there any more.

A new message: copy the lines that this test prints into docs/operations.md, into the group they belong to, and say what
the message means and what to do.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from message_templates import Message, messages, template

PAGE = Path(__file__).parent.parent / "docs/operations.md"
STUB = "MEANING. WHAT TO DO."


def entries(page: str) -> dict[str, str]:
    """Template → what is said of it. An entry is a list item: lines that are code, then lines that are not."""
    found: dict[str, str] = {}
    for item in re.findall(r"^- `.*(?:\n  .*)*", page.partition("\n## Messages\n")[2], re.MULTILINE):
        lines = [line[2:] for line in item.split("\n")]
        names = [_code(line) for line in lines]
        said = " ".join(line for line, name in zip(lines, names, strict=True) if name is None)
        found.update({template(name): said for name in names if name is not None})
    return found


def _code(line: str) -> str | None:
    """The text of a line that is one code span, in one or two backticks."""
    span = re.fullmatch(r"(`+)(?!`)(.*?)(?<!`)\1", line)
    return span[2].strip() if span else None


def missing(page: str, found: list[Message]) -> dict[str, list[Message]]:
    """By template, where in the source the messages are that have no entry."""
    there = entries(page)
    lacking: dict[str, list[Message]] = {}
    for message in found:
        if message.template not in there:
            lacking.setdefault(message.template, []).append(message)
    return lacking


def to_paste(lacking: dict[str, list[Message]]) -> str:
    lines = []
    for places in lacking.values():
        lines += [f"({', '.join(f'{message.where}:{message.line}' for message in places)})"]
        fence = "``" if "`" in places[0].text else "`"
        padding = " " if places[0].text.endswith("`") else ""
        lines += [f"- {fence}{places[0].text}{padding}{fence}", f"  {STUB}", ""]
    return "\n".join(lines)


def test_every_message_has_an_entry() -> None:
    lacking = missing(PAGE.read_text(), messages())

    if lacking:
        pytest.fail(
            f"docs/operations.md lacks {len(lacking)}; to be pasted there:\n\n{to_paste(lacking)}", pytrace=False
        )


def test_no_entry_is_of_a_message_that_is_gone() -> None:
    there = {message.template for message in messages()}

    gone = [entry for entry in entries(PAGE.read_text()) if entry not in there]

    assert not gone, "docs/operations.md speaks of what no code says:\n" + "\n".join(gone)


def test_every_entry_says_something() -> None:
    empty = [entry for entry, said in entries(PAGE.read_text()).items() if len(said.split()) < 3 or STUB in said]

    assert not empty, "docs/operations.md says nothing of:\n" + "\n".join(empty)


def test_a_message_without_an_entry_is_named_and_what_is_to_be_pasted_is_an_entry() -> None:
    new = Message("ringipam/x.py", 7, "no `peer` of {name!r} is {what}")
    page = "\n## Messages\n\n- `the disk is {what}`\n  Look at it.\n"

    pasted = to_paste(missing(page, [new, Message("ringipam/y.py", 1, "the disk is {self.state}")]))

    assert "ringipam/x.py:7" in pasted
    assert "the disk" not in pasted
    assert missing(page + pasted, [new]) == {}


def test_texts_are_found_wherever_a_message_can_begin() -> None:
    texts = {message.text for message in messages()}

    for known in (
        "cannot reach {address}: {reason}",  # a warning of the core
        "the disk works again",  # a call of a logger
        "stopping: %s",
        "its owner is not known yet",  # through a variable
        "every listed peer must agree",  # what a function of words returns
        "bad request: {self._parser.fault}",  # the body of an answer
        "this host has left the ring: `ringipam rejoin` brings it back as a new peer",  # through a constant
        "{peer} is gone and still owns addresses: `ringipam remove-peer {peer}` again",  # one of several lines
    ):
        assert known in texts
