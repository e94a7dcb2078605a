"""Each target notices what it is there to notice: planted defects, one for every promise."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import cni_target
import codec_target
import config_target
import http_target
import peer_target
import pytest
from solo import ME

from ringipam.claim import Claim
from ringipam.cli import launch
from ringipam.codec.wire import Reader
from ringipam.core.durable import PutMeta
from ringipam.core.events import Allocate
from ringipam.core.peer import Peer
from ringipam.core.spreading import Spreading
from ringipam.core.state import State
from ringipam.errors import PeerError, RequestError
from ringipam.integrations.cni import plugin, requested, results
from ringipam.messages import Offer
from ringipam.ring.ring import Ring
from ringipam.server import v1
from ringipam.server.routes import Route

Patch = pytest.MonkeyPatch


@cache
def inputs_of(target: Any) -> list[bytes]:
    """Its seeds and some variants, made before anything is broken."""
    seeds = list(target.seeds())
    return seeds + [target.mutate(random.Random(seed).choice(seeds), seed) for seed in range(600)]


def noticed(target: Any, inputs: Sequence[bytes]) -> BaseException:
    """What the target says to them; fails if that is nothing."""
    for data in inputs:
        try:
            target.check(data)
        except Exception as error:
            return error
    pytest.fail("nothing was noticed")


def test_an_error_that_is_not_a_peer_error(monkeypatch: Patch) -> None:
    inputs = inputs_of(codec_target)
    monkeypatch.setattr(Reader, "digest", lambda reader: {bytes: b""}[type(reader._next())])

    assert isinstance(noticed(codec_target, inputs), KeyError)


def test_a_message_that_does_not_come_back_equal(monkeypatch: Patch) -> None:
    inputs = inputs_of(codec_target)
    numbers = count()
    monkeypatch.setattr(Reader, "digest", lambda reader: bytes([next(numbers) % 256, len(reader._next())]))

    assert isinstance(noticed(codec_target, inputs), AssertionError)


def refusing(spoil: Callable[[State], None]) -> Callable[[Spreading, str, Any], None]:
    def offered(spreading: Spreading, sender: str, offer: Offer) -> None:
        spoil(spreading._state)
        raise PeerError("no")

    return offered


def test_a_refused_message_that_becomes_durable_later(monkeypatch: Patch) -> None:
    inputs = inputs_of(peer_target)
    monkeypatch.setattr(Spreading, "offered", refusing(lambda state: state.change(PutMeta("x", "y"))))

    assert "left changes behind" in str(noticed(peer_target, inputs))


def test_a_lease_that_a_message_makes_go_away(monkeypatch: Patch) -> None:
    inputs = inputs_of(peer_target)
    monkeypatch.setattr(Spreading, "offered", refusing(lambda state: state.leases.by_number.clear()))

    assert "is gone" in str(noticed(peer_target, inputs))


def test_a_ring_that_goes_back(monkeypatch: Patch) -> None:
    inputs = inputs_of(peer_target)

    def offered(spreading: Spreading, sender: str, offer: Offer) -> None:
        state = spreading._state
        state.ring = Ring.from_tokens(state.extent, [(state.extent.start, Claim(0, 1, ME, ME))])

    monkeypatch.setattr(Spreading, "offered", offered)

    assert "AssertionError" in repr(noticed(peer_target, inputs))


def test_a_peer_that_breaks(monkeypatch: Patch) -> None:
    inputs = inputs_of(peer_target)
    monkeypatch.setattr(Peer, "_introduce", lambda peer, sender, body: {}[body])

    assert isinstance(noticed(peer_target, inputs), KeyError | TypeError)


def test_a_refusal_that_changed_something(monkeypatch: Patch) -> None:
    inputs = inputs_of(http_target)

    async def allocate(asker: Any, arguments: Any) -> Any:
        await asker.ask(Allocate(f"x{len(asker.solo.stored.leases)}", None, 1))
        raise RequestError("no")

    routes = tuple(
        Route(r.method, r.path, r.verb, r.about, allocate, r.refuse, r.answers) if r.verb == "prime" else r
        for r in v1.ROUTES
    )
    monkeypatch.setattr(v1, "ROUTES", routes)

    assert "changed something" in str(noticed(http_target, inputs))


def test_a_lease_of_a_cni_add_that_failed(monkeypatch: Patch) -> None:
    inputs = [data.replace(b"=c1\0", b"=c9\0") for data in inputs_of(cni_target)]
    wanted = results.result

    def result(network: Any, issued: Any, *rest: Any) -> bytes:
        if len(issued) > 1:
            raise RequestError("no")
        return wanted(network, issued, *rest)

    monkeypatch.setattr(results, "result", result)

    assert "a lease of an ADD that failed" in str(noticed(cni_target, inputs))


def test_a_cni_error_of_two_lines(monkeypatch: Patch) -> None:
    inputs = inputs_of(cni_target)
    monkeypatch.setattr("ringipam.integrations.cni.errors.one_line", lambda text: f"{text}\nand more")

    assert "and more" in str(noticed(cni_target, inputs))


def test_a_cni_del_that_minds_the_rest_of_the_configuration(monkeypatch: Patch) -> None:
    inputs = inputs_of(cni_target)
    delete = plugin.Plugin._delete

    async def minding(self: plugin.Plugin, call: Any, network: Any) -> bytes:
        plugin._ipam(network)
        return await delete(self, call, network)

    monkeypatch.setattr(plugin.Plugin, "_delete", minding)

    assert "ipam" in str(noticed(cni_target, inputs))


def test_a_defect_of_the_cni_plugin(monkeypatch: Patch) -> None:
    inputs = inputs_of(cni_target)
    monkeypatch.setattr(plugin, "read_args", lambda args: {}[args] if args else requested.read_args(args))

    assert "999" in str(noticed(cni_target, inputs))


def test_a_launch_that_creates_a_file_before_it_refuses(monkeypatch: Patch) -> None:
    inputs = inputs_of(config_target)
    wanted = launch._config

    def config(settings: dict[str, object]) -> Any:
        path = Path(str(settings.get("config", "/nowhere/x")))
        if path.parent.is_dir():
            (path.parent / "data").touch()
        return wanted(settings)

    monkeypatch.setattr(launch, "_config", config)

    assert "something was created" in str(noticed(config_target, inputs))


def test_a_complaint_of_two_lines(monkeypatch: Patch) -> None:
    inputs = inputs_of(config_target)

    def complain(parser: argparse.ArgumentParser, message: str) -> None:
        parser.exit(2, f"ringipam: {message}\nand more\n")

    monkeypatch.setattr("ringipam.cli.arguments.Parser.error", complain)

    assert "and more" in str(noticed(config_target, inputs))
