"""Weave's API, as its own clients use it (weave's ipam/http_test.go, its scripts and its plugins)."""

from __future__ import annotations

import json

import pytest
import trio
from asking import Book
from speaking import Speaker

from ringipam.core.events import ClaimAddress, Prime
from ringipam.errors import NoSpaceError, RequestTimeoutError


async def test_an_allocation_is_200_and_plain_text_and_the_same_when_repeated(http: Speaker) -> None:
    first = await http("POST", "/ip/c1")
    again = await http("POST", "/ip/c1?check-alive=true")

    assert (first.status, first.text) == (200, "10.32.0.1/12")
    assert "Content-Type: text/plain" in first.head
    assert again.text == first.text


async def test_an_allocation_in_a_subnet_has_the_subnets_length(http: Speaker) -> None:
    assert (await http("POST", "/ip/c1/10.32.3.8/29")).text == "10.32.3.9/29"
    assert (await http("GET", "/ip/c1/10.32.3.8/29")).text == "10.32.3.9/29"


async def test_several_addresses_are_parted_by_spaces(http: Speaker) -> None:
    await http("POST", "/ip/c1")
    await http("PUT", "/ip/c1/10.32.0.9/12")

    assert (await http("GET", "/ip/c1")).text == "10.32.0.1/12 10.32.0.9/12"


async def test_an_unknown_id_is_200_and_empty(http: Speaker) -> None:
    for target in ("/ip/c9", "/ip/c9/10.32.3.8/29"):
        answer = await http("GET", target)
        assert (answer.status, answer.text) == (200, "")


async def test_a_claim_is_204_and_taken_is_400(http: Speaker, book: Book) -> None:
    first = await http("PUT", "/ip/c1/10.32.0.9/12?noErrorOnUnknown=true")
    other = await http("PUT", "/ip/c2/10.32.0.9/12")

    assert (first.status, first.text) == (204, "")
    assert other.status == 400
    assert other.text == "Unable to claim: 10.32.0.9 is held by c1 on host1\n"
    assert isinstance(book.asked[0], ClaimAddress)
    assert book.asked[0].outside


async def test_an_address_outside_the_range_can_be_filed(http: Speaker) -> None:
    assert (await http("PUT", "/ip/c1/192.0.2.7/24")).status == 204
    assert (await http("GET", "/ip/c1/192.0.2.0/24")).text == "192.0.2.7/24"
    assert (await http("GET", "/ip/c1")).text == ""


async def test_a_release_is_204_and_of_nothing_400(http: Speaker) -> None:
    await http("POST", "/ip/c1")

    assert (await http("DELETE", "/ip/c1")).status == 204
    again = await http("DELETE", "/ip/c1")
    assert (again.status, again.text) == (400, "Delete: no addresses for c1\n")


async def test_a_release_of_one_address_is_204_and_of_another_400(http: Speaker) -> None:
    await http("POST", "/ip/c1")

    wrong = await http("DELETE", "/ip/c1/10.32.0.2")
    assert (wrong.status, wrong.text) == (400, "Unable to free: Free: address 10.32.0.2 not found for c1\n")
    assert (await http("DELETE", "/ip/c1/10.32.0.1")).status == 204


async def test_anonymous_addresses_are_filed_under_their_own_text(http: Speaker) -> None:
    one, two = (await http("POST", "/ip/_")).text, (await http("POST", "/ip/_")).text

    assert (one, two) == ("10.32.0.1/12", "10.32.0.2/12")
    assert (await http("GET", "/ip/10.32.0.1")).text == "10.32.0.1/12"
    assert (await http("DELETE", "/ip/10.32.0.1")).status == 204
    assert (await http("DELETE", "/ip/_/10.32.0.2")).status == 204


async def test_an_anonymous_release_never_frees_what_a_container_has(http: Speaker) -> None:
    await http("PUT", "/ip/c1/10.32.0.9/12")

    assert (await http("DELETE", "/ip/_/10.32.0.9")).status == 400
    assert (await http("GET", "/ip/c1")).text == "10.32.0.9/12"


async def test_an_anonymous_claim_never_takes_what_a_container_has(http: Speaker) -> None:
    await http("PUT", "/ip/c1/10.32.0.9/12")

    assert (await http("PUT", "/ip/_/10.32.0.9/12")).status == 400


async def test_the_list_is_json_by_container(http: Speaker) -> None:
    await http("POST", "/ip/c1")
    await http("PUT", "/ip/c1/10.32.0.9/12")

    answer = await http("GET", "/ip")

    assert "Content-Type: application/json" in answer.head
    assert json.loads(answer.text) == {"owned": [{"containerid": "c1", "addrs": ["10.32.0.1/12", "10.32.0.9/12"]}]}


async def test_the_default_subnet_is_plain_text(http: Speaker) -> None:
    assert (await http("GET", "/ipinfo/defaultsubnet")).text == "10.32.0.0/12"


async def test_ring_blocks_until_there_is_a_ring_and_is_empty(http: Speaker, book: Book) -> None:
    book.refusal = RequestTimeoutError("still no ring")
    answers = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            answers.append(await http("GET", "/ring"))

        nursery.start_soon(wait)
        while len(book.asked) < 3:
            await trio.lowlevel.checkpoint()
        assert not answers
        book.refusal = None

    assert (answers[0].status, answers[0].text) == (200, "")
    assert all(isinstance(verb, Prime) for verb in book.asked)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/ip/c1/10.32.3.9/29"),
        ("POST", "/ip/c1/10.32.3.8/31"),
        ("POST", "/ip/c1/nonsense/29"),
        ("PUT", "/ip/c1/10.32.0.9/99"),
        ("DELETE", "/ip/c1/nonsense"),
        ("POST", "/ip/%0a"),
    ],
)
async def test_what_makes_no_sense_is_400_and_one_line(http: Speaker, book: Book, method: str, target: str) -> None:
    answer = await http(method, target)

    assert answer.status == 400
    assert answer.text.count("\n") == 1
    assert not book.asked


async def test_no_space_is_400_with_the_reason(http: Speaker, book: Book) -> None:
    book.refusal = NoSpaceError("no free address in 10.32.4.0/24: host2 owns 128")

    answer = await http("POST", "/ip/c1")

    assert (answer.status, answer.text) == (400, "no free address in 10.32.4.0/24: host2 owns 128\n")


@pytest.mark.parametrize("target", ["/ip/c1", "/ip", "/ring", "/ipinfo/defaultsubnet", "/ip/c1/10.32.0.0/24"])
async def test_head_is_405(http: Speaker, target: str) -> None:
    assert (await http("HEAD", target)).status == 405


@pytest.mark.parametrize("target", ["/ip/", "/ip/c1/", "/ip/c1/10.32.0.0/24/", "/IP/c1", "/peer/", "/", "*"])
async def test_a_bad_path_is_404(http: Speaker, target: str) -> None:
    assert (await http("DELETE" if target != "*" else "OPTIONS", target)).status == 404
