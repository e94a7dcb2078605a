"""What a payload costs whoever decodes it: work and memory in proportion to its bytes, whatever they announce."""

from __future__ import annotations

import random
import sys
import tracemalloc
from typing import Any

import codec_target
import pytest

CALLS_PER_BYTE = 16
CALLS_BASE = 300
MEMORY_PER_BYTE = 64
MEMORY_BASE = 400_000
SIZE = 200_000

MARK = b"\x93\x03\xc4\x08" + bytes(8)
BOMBS = {
    "arrays in arrays": b"\x91" * SIZE,
    "empty arrays": b"\x95" + b"\x90" * SIZE,
    "an array of 2**32 elements": b"\xdd\xff\xff\xff\xff" + b"\x01" * SIZE,
    "maps in maps": b"\x81\x01" * (SIZE // 2),
    "a text of 2**32 bytes": b"\x92\x02\xdb\xff\xff\xff\xff" + b"x" * SIZE,
    "a table of many peers": b"\x95\x03\xc4\x00\xdd"
    + (20_000).to_bytes(4, "big")
    + b"\xa3a.1" * 20_000
    + b"\x90\x91\x06",
    "many extras": b"\xdc\x00\x42\x02\xa1x" + (b"\x91" * 3_000 + b"\x01") * 64,
    "many rumours": b"\x95\x03\xc4\x00\x90\x90\x92\x0f\xdc\x27\x10" + b"\x01" * 10_000,
}


def calls_of(payload: bytes) -> int:
    """How many functions were called to decode it and say it again."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        codec_target.check(payload)
    finally:
        sys.setprofile(None)
    return calls


def peak_of(payload: bytes) -> int:
    tracemalloc.start()
    try:
        codec_target.check(payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_no_more_than_its_bytes(payload: bytes) -> None:
    assert calls_of(payload) <= CALLS_BASE + CALLS_PER_BYTE * len(payload)
    assert peak_of(payload) <= MEMORY_BASE + MEMORY_PER_BYTE * len(payload)


def test_no_message_and_no_variant_of_one_costs_more_than_its_bytes() -> None:
    seeds = list(codec_target.seeds())
    for payload in [*seeds, *(codec_target.mutate(random.Random(n).choice(seeds), n) for n in range(500))]:
        assert calls_of(payload) <= CALLS_BASE + CALLS_PER_BYTE * len(payload), payload
