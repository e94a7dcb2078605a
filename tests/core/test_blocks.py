"""A leased block is whole, nobody gets an address of it who does not name it; and what narrows an allocation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solo import Solo, claim, granted, ip, request
from test_weave_defects import B

from ringipam.address import Range, parse_cidr
from ringipam.claim import Claim
from ringipam.core.allocator import FRAGMENTS
from ringipam.core.durable import PutTokens
from ringipam.core.events import Allocate, AllocateBlock, Answer, Leased, LeaseList, Leases, Release
from ringipam.core.leases import LeaseBook
from ringipam.errors import InUseError, NoSpaceError, OutOfRangeError
from ringipam.lease import Lease
from ringipam.messages import Denial, Denied, Grant, SpaceRequest
from ringipam.ring.space import Space


def block(solo: Solo, holder: str, prefix_len: int, subnet: str | None = None, timeout_ms: int = 1_000) -> Answer:
    return solo.answer(AllocateBlock(holder, prefix_len, parse_cidr(subnet) if subnet else None, timeout_ms))


def leased(answer: Answer) -> Lease:
    assert isinstance(answer, Leased), answer
    return answer.lease


def address(solo: Solo, holder: str, subnet: str | None = None, **narrowed: object) -> Lease:
    asked = Allocate(holder, parse_cidr(subnet) if subnet else None, 1_000, **narrowed)  # type: ignore[arg-type]
    return leased(solo.answer(asked))


def beside_b(universe: str = "10.0.0.0/24") -> Solo:
    """A peer that owns the lower half, and B the upper one."""
    solo = Solo(universe)
    solo.allocate("first")
    middle = solo.settings.universe.start + solo.settings.universe.size // 2
    solo.stored.apply(PutTokens((), ((middle, Claim(0, 7, B, B)),)))
    solo.restart()
    solo.meet(B)
    return solo


def asked_of_b(solo: Solo) -> list[SpaceRequest]:
    return [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest)]


# ── blocks ────────────────────────────────────────────────────────────────────────────────────────


def test_a_block_is_leased_whole_and_listed_as_one_lease() -> None:
    solo = Solo("10.0.0.0/24")
    solo.allocate("c1")

    lease = leased(block(solo, "net", 28))

    assert (str(lease.subnet), str(lease.address), lease.prefix_len, lease.class_) == (
        "10.0.0.16/28",
        "10.0.0.16",
        28,
        "block",
    ), "the lowest block in which nothing is leased"
    assert leased(block(solo, "net", 28)) == lease, "asked again"


def test_no_address_of_a_block_goes_to_one_who_does_not_name_it() -> None:
    solo = Solo("10.0.0.0/28")
    block(solo, "net", 29, "10.0.0.0/28")

    got = [str(address(solo, f"c{number}").address) for number in range(7)]

    assert got == [f"10.0.0.{number}" for number in range(8, 15)]
    assert isinstance(solo.answer(Allocate("c8", None, 1_000)), NoSpaceError)
    assert str(address(solo, "inside", "10.0.0.0/29").address) == "10.0.0.1"
    assert str(address(solo, "deeper", "10.0.0.4/30").address) == "10.0.0.5"


def test_an_address_inside_a_block_is_claimed_only_by_its_own_subnet() -> None:
    solo = Solo("10.0.0.0/24")
    block(solo, "net", 28)

    refused = solo.answer(claim("c1", "10.0.0.5", 24))

    assert isinstance(refused, InUseError)
    assert "in use by net" in refused.message
    assert leased(solo.answer(claim("c1", "10.0.0.5", 28)))


def test_an_address_of_the_other_family_that_has_a_blocks_number_is_not_in_it() -> None:
    solo = Solo("10.0.0.0/24")
    block(solo, "net", 28)

    assert leased(solo.answer(claim("c1", "::a00:5", 120, outside=True)))


def test_two_blocks_never_overlap_and_one_that_was_released_comes_back_when_it_has_rested() -> None:
    solo = Solo("10.0.0.0/26")

    first, second = leased(block(solo, "a", 27)), leased(block(solo, "b", 27))
    assert {str(first.subnet), str(second.subnet)} == {"10.0.0.0/27", "10.0.0.32/27"}
    assert isinstance(block(solo, "c", 27), NoSpaceError)
    solo.answer(Release("a"))
    assert isinstance(block(solo, "c", 27), NoSpaceError), "its old holder's packets are still about"
    solo.wait(31_000)

    assert leased(block(solo, "c", 27)).subnet == first.subnet


def test_no_block_is_made_inside_another() -> None:
    solo = Solo("10.0.0.0/26")
    block(solo, "outer", 27)

    assert str(leased(block(solo, "other", 29)).subnet) == "10.0.0.32/29"


def test_a_block_outlives_a_restart() -> None:
    solo = Solo("10.0.0.0/28")
    lease = leased(block(solo, "net", 29))

    solo.restart()

    assert leased(block(solo, "net", 29)) == lease
    assert str(address(solo, "c1").address) == "10.0.0.8"


def test_no_part_of_a_block_is_given_away() -> None:
    solo = Solo("10.0.0.0/28")
    block(solo, "net", 29)
    solo.meet(B)

    given = []
    for number in range(1, 9):
        answer = solo.hear(B, request(number, solo, want=16))
        given += [segment for body in answer if isinstance(body, Grant) for segment in body.segments]
    denied = solo.hear(B, request(20, solo, exact="10.0.0.3"))

    assert given
    assert all(segment.start >= ip("10.0.0.8") for segment in given)
    assert [(body.reason, body.holder) for body in denied if isinstance(body, Denied)] == [(Denial.IN_USE, "net")]


def test_a_block_comes_from_another_host_if_none_is_free_here() -> None:
    solo = beside_b()
    number = solo.ask(AllocateBlock("net", 25, None, 5_000))
    asked = asked_of_b(solo)[-1]
    assert asked.exact
    assert Range(asked.start, asked.end) == Range(ip("10.0.0.128"), ip("10.0.1.0"))

    donor = Solo("10.0.0.0/24")
    donor.allocate("its-own")
    granted_by_b = tuple(
        segment._replace(claim=Claim(0, 8, solo.settings.peer, B))
        for segment in [next(iter(donor.peer.ring.segments(asked.start, asked.end)))]  # type: ignore[union-attr]
    )
    solo.hear(B, Grant(asked.number, granted_by_b, ()))

    assert str(leased(solo.answers[number]).subnet) == "10.0.0.128/25"


def test_a_block_that_nobody_can_give_is_refused_and_other_hosts_are_not_drained() -> None:
    solo = beside_b("10.0.0.0/22")
    address(solo, "here")
    number = solo.ask(AllocateBlock("net", 23, None, 5_000))

    for _ in range(40):
        for asked in asked_of_b(solo):
            solo.sent.clear()
            solo.hear(B, Denied(asked.number, Denial.IN_USE, "c7", (), 512))
        if number in solo.answers:
            break

    assert isinstance(solo.answers[number], NoSpaceError)


def test_a_host_does_not_give_away_so_large_a_block_that_it_runs_short_itself() -> None:
    solo = Solo("10.0.0.0/24")
    solo.allocate("c1")
    solo.meet(B)
    half = SpaceRequest(1, ip("10.0.0.128"), ip("10.0.1.0"), 128, True, True, 1_000)
    eighth = SpaceRequest(2, ip("10.0.0.128"), ip("10.0.0.160"), 32, True, True, 1_000)

    assert not [body for body in solo.hear(B, half) if isinstance(body, Grant)]
    assert granted(solo.hear(B, eighth)).segments


@pytest.mark.parametrize("prefix_len", [0, 7, 31, 32, 33, 64])
def test_a_block_that_cannot_be_is_refused(prefix_len: int) -> None:
    solo = Solo("10.0.0.0/8")

    assert isinstance(block(solo, "net", prefix_len), OutOfRangeError)
    assert not solo.stored.leases


# ── what narrows an allocation ────────────────────────────────────────────────────────────────────


def test_only_addresses_of_the_span_are_issued_and_none_that_is_to_be_avoided() -> None:
    solo = Solo("10.0.0.0/24")
    span = Range(ip("10.0.0.10"), ip("10.0.0.14"))
    avoid = (ip("10.0.0.10"), ip("10.0.0.12"))

    got = [str(address(solo, f"c{number}", span=span, avoid=avoid).address) for number in range(2)]

    assert got == ["10.0.0.11", "10.0.0.13"]
    assert isinstance(solo.answer(Allocate("c3", None, 1_000, span=span, avoid=avoid)), NoSpaceError)


def test_of_addresses_at_rest_none_that_is_to_be_avoided_is_issued() -> None:
    solo = Solo("10.0.0.0/30")
    address(solo, "a")
    address(solo, "b")
    solo.answer(Release("a"))
    solo.answer(Release("b"))

    assert str(address(solo, "c", avoid=(ip("10.0.0.1"),)).address) == "10.0.0.2"


def test_a_span_outside_the_subnet_holds_nothing() -> None:
    solo = Solo("10.0.0.0/24")

    refused = solo.answer(
        Allocate("c1", parse_cidr("10.0.0.0/28"), 1_000, span=Range(ip("10.0.0.32"), ip("10.0.0.40")))
    )

    assert isinstance(refused, NoSpaceError)


def test_leases_of_one_id_are_told_apart_by_the_labels_named() -> None:
    solo = Solo("10.0.0.0/24")
    keyed = {"same": ("interface",)}

    first = address(solo, "c1", labels={"interface": "eth0", "boot": "1"}, **keyed)
    other = address(solo, "c1", labels={"interface": "eth1", "boot": "1"}, **keyed)
    again = address(solo, "c1", labels={"interface": "eth0", "boot": "2"}, **keyed)

    assert first.address != other.address
    assert (again.address, again.lease, again.since) == (first.address, first.lease, first.since)
    assert again.labels == {"interface": "eth0", "boot": "2"}
    solo.restart()
    listed = solo.answer(Leases("c1"))
    assert isinstance(listed, LeaseList)
    assert sorted((lease.labels["interface"], lease.labels["boot"]) for lease in listed.leases) == [
        ("eth0", "2"),
        ("eth1", "1"),
    ]


def test_a_claim_by_the_same_id_under_other_labels_is_somebody_elses() -> None:
    solo = Solo("10.0.0.0/24")
    address(solo, "c1", labels={"interface": "eth0"}, same=("interface",))
    verb = claim("c1", "10.0.0.1", 24)
    mine = replace(verb, labels={"interface": "eth0"}, same=("interface",))
    others = replace(verb, labels={"interface": "eth1"}, same=("interface",))

    assert leased(solo.answer(mine))
    assert isinstance(solo.answer(others), InUseError)


def test_however_much_was_used_lately_an_allocation_looks_at_few_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    solo = Solo("10.0.0.0/19")
    looked: list[int] = []
    count_free = Space.count_free
    monkeypatch.setattr(
        Space,
        "count_free",
        lambda space, lo, hi, at_most=None: looked.append(at_most) or count_free(space, lo, hi, at_most),
    )

    for number in range(7_000):
        solo.allocate(f"c{number}")

    assert sum(looked) / 7_000 <= 2 * FRAGMENTS
    assert len(looked) > 10, "it looks now and then"


def test_while_there_is_plenty_an_allocation_in_fragments_looks_at_a_few_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solo = Solo("10.0.0.0/20")
    looked: list[int] = []
    count_free = Space.count_free

    def counted(space: Space, lo: int, hi: int, at_most: int | None = None) -> int:
        found = count_free(space, lo, hi, at_most)
        looked.append(found)
        return found

    for number in range(1, 2_000):
        solo.answer(claim(f"held{number}", f"10.0.{2 * number // 256}.{2 * number % 256}"))
    monkeypatch.setattr(Space, "count_free", counted)
    for number in range(1_000):
        solo.allocate(f"c{number}")

    assert sum(looked) / 1_000 <= 6


def test_blocks_side_by_side_are_one_thing_to_step_over() -> None:
    """Else whoever asks for an address beside thousands of blocks waits for a look at each."""
    solo = Solo("10.0.0.0/16")
    for number in range(40):
        assert leased(block(solo, f"b{number}", 28))

    def runs() -> list[Range]:
        book = LeaseBook(solo.peer.leases.values())
        return book.barred(parse_cidr("10.0.0.0/16").range)

    assert [run.size for run in runs()] == [40 * 16]
    solo.answer(Release("b7"))
    assert [run.size for run in runs()] == [7 * 16, 32 * 16]
