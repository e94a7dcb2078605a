"""Every message that the source can print, log or answer, as a template: found by reading the code, not running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "ringipam"

LOGGERS = {"debug", "info", "warning", "error", "critical", "exception", "warn", "_warn", "log", "__init__", "exit"}
REASONS = {
    *("Refused", "Close", "_close", "close", "drop", "_refuse_path", "_not_ready", "LogRecord", "append", "_turn_away"),
    *("fence", "_abort", "DenyRemoval", "Breach", "Fault", "Mend", "say"),
}
"""Calls whose text becomes part of a message: why a connection ended, why nothing is answered, what is wrong."""
PROGRAMMERS = {"AttributeError", "AssertionError", "TypeError"}
"""Errors for whoever calls Python functions wrongly; no operator sees them."""
NOT_PROSE = re.compile(
    r"[A-Z][A-Za-z-]+: (close|Bearer|\{\w+\})|.* HTTP/1\.1 .*"
    r"|(ALTER TABLE|CREATE (TABLE|TRIGGER)|DROP TABLE|DELETE FROM|INSERT (OR REPLACE )?INTO) .*"
)
"""HTTP and SQL, for no reader."""

PLACE = "{}"


@dataclass(frozen=True, order=True)
class Message:
    where: str
    line: int
    text: str
    """With the names of what is put in, in braces, as in the source."""

    @property
    def template(self) -> str:
        return template(self.text)


def template(text: str) -> str:
    """`text` with every placeholder alike, so that renaming a variable changes no entry."""
    return re.sub(r"\{[^{}]*\}|%s", PLACE, text)


def messages() -> list[Message]:
    """All of them, in the order of the source."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for line, text in _texts(tree):
            if not NOT_PROSE.fullmatch(text):
                found.append(Message(str(path.relative_to(SOURCE.parent)), line, text))
    return found


def _has_words(text: str, least: int) -> bool:
    """Words, not only what others said, a code, a format or a path."""
    return " " in text and len(re.findall(r"[A-Za-z]{2,}", template(text).replace(PLACE, " "))) >= least


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    constants = _assigned(tree)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
        assigned = constants | _assigned(function)
        for node in _own(function):
            for value, words in _told(node, function):
                yield from ((line, text) for line, text in _of(value, assigned) if _has_words(text, words))


def _told(node: ast.AST, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[ast.expr, int]]:
    """What of `node` is told to somebody, and how many words it has at least if it is more than a value."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if _tells(name) or (name == "print" and any(keyword.arg == "file" for keyword in node.keywords)):
            keyed = name == "warn" and len(node.args) == 2  # by what replaces an older warning of the kind
            yield from ((argument, 1) for argument in node.args[keyed:])
        elif name in REASONS:
            yield from ((argument, 2) for argument in node.args)
        elif name == "encode" and isinstance(node.func, ast.Attribute):  # an answer to a client that is not JSON
            yield node.func.value, 2
    elif (value := _said(node, function)) is not None:
        yield value, 2


def _said(node: ast.AST, function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """What a statement adds to what is told: an answer in words, or more lines of one."""
    if isinstance(node, ast.Return) and _returns_text(function):
        return node.value
    if isinstance(node, ast.AugAssign) and isinstance(node.value, ast.List | ast.ListComp):
        return node.value
    return None


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it, which have their own turn."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What the names of a module or a function, its attributes, and the places in its mappings, may stand for."""
    found: dict[str, list[ast.expr]] = {}
    for node in _own(scope):
        if isinstance(node, ast.Assign):
            found.setdefault(ast.unparse(node.targets[0]), []).append(node.value)
    return found


def _tells(name: str) -> bool:
    return name in LOGGERS or (name.endswith("Error") and name not in PROGRAMMERS)


def _returns_text(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Functions that put a part of a message into words."""
    return function.returns is not None and "str" in ast.unparse(function.returns) and function.name != "__repr__"


def _of(node: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Constant(value=str(text)):
            yield node.lineno, " ".join(text.split())
        case ast.JoinedStr(values=parts):
            yield node.lineno, " ".join("".join(_part(part) for part in parts).split())
        case ast.IfExp(body=body, orelse=other):
            yield from _of(body, assigned)
            yield from _of(other, assigned)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _of(value, assigned)
        case ast.Tuple(elts=values) | ast.List(elts=values) | ast.Dict(values=values):
            for value in values:
                yield from _of(value, assigned)
        case ast.ListComp(elt=value):
            yield from _of(value, assigned)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            for value in assigned.get(ast.unparse(node), ()):
                yield from _of(value, {})
        case _:
            pass  # what another call makes is found there


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return "{" + re.sub(r"[{}\"']", "", ast.unparse(part.value)) + "}"
