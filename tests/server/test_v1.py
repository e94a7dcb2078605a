"""The JSON API keeps its word: paths, status codes, error codes, keys (docs/http.md)."""

from __future__ import annotations

from typing import Any

import pytest
from asking import Book
from speaking import Speaker

from ringipam import errors
from ringipam.core.events import (
    Allocate,
    Connect,
    Forget,
    Leases,
    Leave,
    Prime,
    Reconcile,
    Rejoin,
    Release,
    RemovePeers,
    Resolve,
    Show,
    View,
)
from ringipam.errors import RingIpamError

TEN = (10 << 24) + (32 << 16) + 4
"""10.32.0.4 as a number."""
LEASE_KEYS = {"lease", "id", "address", "prefix_len", "subnet", "class", "host", "since", "labels"}


async def test_an_allocation_is_201_and_the_same_again_200_with_the_same_lease(http: Speaker) -> None:
    first = await http("POST", "/v1/leases", {"id": "c1"})
    again = await http("POST", "/v1/leases", {"id": "c1"})

    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert first.json.keys() == LEASE_KEYS
    assert first.json["address"] == "10.32.0.1"
    assert first.json["since"] == "2026-11-21T09:00:00Z"


async def test_an_allocation_passes_on_all_that_it_was_given(http: Speaker, book: Book) -> None:
    body = {"id": "c1", "subnet": "10.32.4.0/24", "class": "static", "labels": {"app": "web"}, "timeout_s": 1.5}

    answer = await http("POST", "/v1/leases", body)

    [verb] = book.asked
    assert isinstance(verb, Allocate)
    assert (verb.id, str(verb.subnet), verb.timeout_ms, verb.class_) == ("c1", "10.32.4.0/24", 1500, "static")
    assert answer.json["labels"] == {"app": "web"}
    assert answer.json["class"] == "static"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "c1",
        {},
        {"id": 7},
        {"id": None},
        {"id": ""},
        {"id": "two words"},
        {"id": "line\nbreak"},
        {"id": "half \ud800"},
        {"id": "c" * 300},
        {"id": "c1", "subnet": None},
        {"id": "c1", "subnet": "10.32.0.0"},
        {"id": "c1", "subnet": "10.32.0.1/24"},
        {"id": "c1", "subnet": "10.32.0.0/31"},
        {"id": "c1", "class": "floating"},
        {"id": "c1", "class": 1},
        {"id": "c1", "labels": ["a"]},
        {"id": "c1", "labels": {"a": 1}},
        {"id": "c1", "labels": {"a": "\ud800"}},
        {"id": "c1", "labels": {str(number): "" for number in range(33)}},
        {"id": "c1", "timeout_s": 0},
        {"id": "c1", "timeout_s": -1},
        {"id": "c1", "timeout_s": 3601},
        {"id": "c1", "timeout_s": "5"},
        {"id": "c1", "timeout_s": True},
        {"id": "c1", "timeout_s": float("nan")},
        {"id": "c1", "timeout_s": float("inf")},
        {"id": "c1", "ip": "10.32.0.1"},
    ],
)
async def test_a_body_that_is_not_exactly_right_is_refused_in_one_line_and_changes_nothing(
    http: Speaker, book: Book, body: object
) -> None:
    answer = await http("POST", "/v1/leases", body)

    assert (answer.status, answer.error) == (400, "bad_request")
    assert "\n" not in answer.json["error"]["message"]
    assert not book.asked


@pytest.mark.parametrize("raw", [b"{", b'{"id":"c1"} x', b"\xff", b"[" * 100_000, b'{"id":' + b"9" * 10_000 + b"}"])
async def test_a_body_that_is_not_json_is_refused(http: Speaker, book: Book, raw: bytes) -> None:
    answer = await http("POST", "/v1/leases", raw=raw)

    assert (answer.status, answer.error) == (400, "bad_request")
    assert not book.asked


async def test_a_body_that_is_too_large_is_refused(http: Speaker, book: Book) -> None:
    longer = "Content-Length: 2000000\r\nX-True-"  # in front of the true length, which becomes another header
    assert (await http("POST", "/v1/leases", headers=longer)).status == 400
    assert not book.asked


async def test_a_claim_is_201_then_200_and_409_for_anybody_else(http: Speaker) -> None:
    first = await http("PUT", "/v1/leases/c1/10.32.0.9/12?timeout_s=5")
    again = await http("PUT", "/v1/leases/c1/10.32.0.9/12")
    other = await http("PUT", "/v1/leases/c2/10.32.0.9/12")

    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert other.json["error"] == {
        "code": "in_use",
        "message": "10.32.0.9 is held by c1 on host1",
        "holder": {"id": "c1", "host": "host1"},
    }


@pytest.mark.parametrize(
    "target",
    [
        "/v1/leases/c1/10.32.0.9/33",
        "/v1/leases/c1/10.32.0/12",
        "/v1/leases/c1/10.32.0.9/x",
        "/v1/leases/c1/10.32.0.9/12?timeout_s=0",
        "/v1/leases/c1/10.32.0.9/12?timeout_s=soon",
        "/v1/leases/c1/10.32.0.9/12?timeout=5",
        "/v1/leases/c1/10.32.0.9/12?timeout_s=5&timeout_s=6",
        "/v1/leases/%20/10.32.0.9/12",
        "/v1/leases/%ff/10.32.0.9/12",
    ],
)
async def test_a_claim_that_makes_no_sense_is_refused(http: Speaker, book: Book, target: str) -> None:
    answer = await http("PUT", target)

    assert (answer.status, answer.error) == (400, "bad_request")
    assert not book.asked


async def test_leases_are_listed_all_or_of_one_id_or_of_the_cluster(http: Speaker) -> None:
    await http("POST", "/v1/leases", {"id": "c1"})
    await http("POST", "/v1/leases", {"id": "c2"})

    everything = (await http("GET", "/v1/leases")).json
    one = (await http("GET", "/v1/leases?id=c1")).json
    unknown = await http("GET", "/v1/leases?id=c9")
    cluster = (await http("GET", "/v1/leases?cluster=true")).json

    assert [lease["id"] for lease in everything["leases"]] == ["c1", "c2"]
    assert [lease["id"] for lease in one["leases"]] == ["c1"]
    assert (unknown.status, unknown.json) == (200, {"leases": []})
    assert cluster["unreachable"] == ["host9"]
    assert (await http("GET", "/v1/leases?cluster=perhaps")).status == 400


async def test_a_release_answers_what_was_freed_and_404_for_nothing(http: Speaker) -> None:
    lease = (await http("POST", "/v1/leases", {"id": "c1"})).json

    freed = await http("DELETE", "/v1/leases/c1")
    again = await http("DELETE", "/v1/leases/c1")

    assert (freed.status, freed.json) == (200, {"leases": [lease]})
    assert (again.status, again.error) == (404, "not_found")


async def test_a_late_retry_that_names_its_lease_frees_nobody_else(http: Speaker, book: Book) -> None:
    """S22."""
    old = (await http("POST", "/v1/leases", {"id": "c1"})).json
    await http("DELETE", f"/v1/leases/c1?lease={old['lease']}")
    await http("POST", "/v1/leases", {"id": "c1"})

    late = await http("DELETE", f"/v1/leases/c1?lease={old['lease']}")

    assert late.status == 404
    assert len(book.leases) == 1


async def test_one_address_of_several_is_released(http: Speaker, book: Book) -> None:
    await http("POST", "/v1/leases", {"id": "c1"})
    await http("PUT", "/v1/leases/c1/10.32.0.9/12")

    freed = await http("DELETE", "/v1/leases/c1/10.32.0.9")

    assert [lease["address"] for lease in freed.json["leases"]] == ["10.32.0.9"]
    assert [str(lease.address) for lease in book.leases.values()] == ["10.32.0.1"]
    assert (await http("DELETE", "/v1/leases/c1/there")).status == 400


async def test_an_id_in_a_path_is_percent_decoded_after_the_path_is_taken_apart(http: Speaker, book: Book) -> None:
    await http("PUT", "/v1/leases/ns%2Fpod%C3%A9%25/10.32.0.9/12")

    assert [lease.id for lease in book.leases.values()] == ["ns/podé%"]
    assert (await http("DELETE", "/v1/leases/ns%2Fpod%C3%A9%25")).status == 200


KEYS: dict[str, Any] = {
    "/v1/status": {
        *("peer", "universe", "subnet", "cluster", "state", "reason", "serving", "leases", "owned", "free"),
        *("peers", "pending", "warnings"),
    },
    "/v1/ring": {"universe", "cluster", "tokens"},
    "/v1/peers": {"peers"},
    "/v1/conflicts": {"conflicts"},
}


@pytest.mark.parametrize("path", KEYS)
async def test_views_pass_through_as_they_are(http: Speaker, path: str) -> None:
    answer = await http("GET", path)

    assert answer.status == 200
    assert answer.json.keys() == KEYS[path]


async def test_prime_connect_and_forget_are_done_with_200(http: Speaker, book: Book) -> None:
    statuses = [
        (await http("POST", "/v1/prime")).status,
        (await http("POST", "/v1/prime", {"timeout_s": 2})).status,
        (await http("POST", "/v1/peers", {"address": "host2:6783"})).status,
        (await http("POST", "/v1/peers/host2/forget")).status,
    ]

    assert statuses == [200] * 4
    assert book.asked == [Prime(30_000), Prime(2_000), Connect("host2:6783"), Forget("host2")]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.RequestError, 400),
        (errors.NotFoundError, 404),
        (errors.InUseError, 409),
        (errors.OutOfRangeError, 422),
        (errors.NotReadyError, 503),
        (errors.FencedError, 503),
        (errors.StoreError, 503),
        (errors.RequestTimeoutError, 504),
        (errors.NoSpaceError, 507),
        (errors.RingIpamError, 500),
    ],
)
async def test_every_error_has_its_status_and_code(
    http: Speaker, book: Book, kind: type[RingIpamError], status: int
) -> None:
    book.refusal = kind("because", holders=[{"peer": "host2", "free": 0}])

    answer = await http("POST", "/v1/leases", {"id": "c1"})

    assert answer.status == status
    assert answer.json == {
        "error": {"code": kind.code, "message": "because", "holders": [{"peer": "host2", "free": 0}]}
    }


async def test_a_defect_is_500_without_its_secrets_and_the_daemon_goes_on(
    http: Speaker, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.refusal = ZeroDivisionError("secret")
    broken = await http("GET", "/v1/status")
    book.refusal = None

    assert (broken.status, broken.error) == (500, "internal")
    assert "secret" not in broken.text
    assert "secret" in caplog.text
    assert (await http("GET", "/v1/status")).status == 200


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/leases/", "/v1", "/v1/leases/a/b/c/d", "/v1//leases", "/v1/depart"]
)
async def test_an_unknown_path_is_404(http: Speaker, path: str) -> None:
    assert (await http("POST", path)).status == 404


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_a_wrong_method_is_405_and_says_which_are_right(http: Speaker, method: str) -> None:
    answer = await http(method, "/v1/leases")

    assert answer.status == 405
    assert "Allow: GET, POST" in answer.head
    if method == "HEAD":
        assert answer.text == ""


async def test_hosts_go_and_come_back_by_these_verbs(http: Speaker, book: Book) -> None:
    for method, path, body, verb in (
        ("POST", "/v1/leave", {"drop_leases": True, "timeout_s": 2}, Leave(2_000, drop_leases=True)),
        ("DELETE", "/v1/peers/host2,host3?force=true", None, RemovePeers(("host2", "host3"), 30_000, force=True)),
        ("DELETE", "/v1/peers/host2?dry_run=true", None, RemovePeers(("host2",), 30_000, dry_run=True)),
        ("POST", "/v1/rejoin", {"dry_run": True}, Rejoin(dry_run=True)),
        ("POST", "/v1/conflicts/resolve", {"first": "10.32.0.4", "last": "10.32.0.7"}, Resolve(TEN, TEN + 4, False, 4)),
        ("POST", "/v1/conflicts/resolve", {"first": "10.32.0.4/30", "take": True}, Resolve(TEN, TEN + 4, True, 4)),
    ):
        answer = await http(method, path, body)

        assert answer.status == 200, path
        assert book.asked[-1] == verb


@pytest.mark.parametrize("what", [Show.STATUS, Show.RING, Show.PEERS, Show.CONFLICTS])
async def test_a_view_may_be_of_one_family(http: Speaker, book: Book, what: Show) -> None:
    for query, verb in (("", what), ("?family=4", View(what, 4)), ("?family=6", View(what, 6))):
        assert (await http("GET", f"/v1/{what.value}{query}")).status == 200
        assert book.asked[-1] == verb


@pytest.mark.parametrize("query", ["family=5", "family=", "family=ipv6", "family=6&family=6", "familiy=6"])
async def test_what_is_no_family_is_refused(http: Speaker, book: Book, query: str) -> None:
    answer = await http("GET", f"/v1/ring?{query}")

    assert (answer.status, answer.error) == (400, "bad_request")
    assert not book.asked


@pytest.mark.parametrize("body", [{}, {"first": "here"}, {"first": "10.32.0.9", "last": "10.32.0.4"}])
async def test_what_is_resolved_must_be_a_range(http: Speaker, book: Book, body: object) -> None:
    answer = await http("POST", "/v1/conflicts/resolve", body)

    assert (answer.status, answer.error) == (400, "bad_request")
    assert not book.asked


async def test_the_process_is_healthy_even_if_the_node_is_not(http: Speaker, book: Book) -> None:
    book.refusal = errors.StoreError("disk full")

    assert (await http("GET", "/healthz")).status == 200
    assert (await http("GET", "/readyz")).status == 503


@pytest.mark.parametrize("state", ["idle", "electing", "fenced", "refusing"])
async def test_a_node_that_does_not_serve_is_not_ready(http: Speaker, book: Book, state: str) -> None:
    book.state, book.serving = state, False

    answer = await http("GET", "/readyz")

    assert answer.status == 503
    assert answer.json["state"] == state


@pytest.mark.parametrize("state", ["ready", "refusing"])
async def test_a_node_that_serves_is_ready_even_if_it_refuses_a_foreign_ring(
    http: Speaker, book: Book, state: str
) -> None:
    book.state = state

    answer = await http("GET", "/readyz")

    assert answer.status == 200
    assert answer.json["state"] == state


async def test_a_query_is_asked_as_it_is_meant(http: Speaker, book: Book) -> None:
    await http("GET", "/v1/leases?id=a%2Bb")
    await http("POST", "/v1/leases", {"id": "x"})
    await http("DELETE", "/v1/leases/x?lease=L2")

    assert book.asked[0] == Leases("a+b")
    assert book.asked[2] == Release("x", None, "L2")


@pytest.mark.parametrize("address", ["", ":6783", "host2:0", "host2:99999", "two words", "\ud800:6783"])
async def test_what_cannot_be_a_peers_address_is_refused_and_never_dialled(
    http: Speaker, book: Book, address: str
) -> None:
    answer = await http("POST", "/v1/peers", {"address": address})

    assert (answer.status, answer.error) == (400, "bad_request")
    assert not book.asked


async def test_reconcile_passes_on_all_that_it_was_given_and_answers_with_what_is_released(
    http: Speaker, book: Book
) -> None:
    for holder in ("c1", "c2"):
        await http("POST", "/v1/leases", {"id": holder, "labels": {"runtime": "a"}})
    body = {"live": ["c1", "c7"], "older_than_s": 1.5, "labels": {"runtime": "a"}, "dry_run": True}

    planned = await http("POST", "/v1/reconcile", body)
    done = await http("POST", "/v1/reconcile", {"live": ["c1"]})

    assert (planned.status, done.status) == (200, 200)
    assert planned.json == done.json
    assert [lease["id"] for lease in done.json["leases"]] == ["c2"]
    assert book.asked[2:] == [
        Reconcile(frozenset({"c1", "c7"}), 1_500, {"runtime": "a"}, True),
        Reconcile(frozenset({"c1"}), 60_000),
    ]


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"live": None},
        {"live": "c1"},
        {"live": {"c1": 1}},
        {"live": [7]},
        {"live": [["c1"]]},
        {"live": [""]},
        {"live": ["two words"]},
        {"live": ["c" * 257]},
        {"live": ["c1"], "older_than_s": -1},
        {"live": ["c1"], "older_than_s": "60"},
        {"live": ["c1"], "older_than_s": True},
        {"live": ["c1"], "older_than_s": 1e12},
        {"live": ["c1"], "labels": ["a"]},
        {"live": ["c1"], "dry_run": "no"},
        {"live": ["c1"], "cluster": True},
    ],
)
async def test_a_malformed_reconciliation_is_refused_and_releases_nothing(
    http: Speaker, book: Book, body: object
) -> None:
    await http("POST", "/v1/leases", {"id": "c9"})

    answer = await http("POST", "/v1/reconcile", body)

    assert (answer.status, answer.json["error"]["code"]) == (400, "bad_request")
    assert len(book.leases) == 1


async def test_a_value_nested_as_deeply_as_can_just_be_read_is_refused(http: Speaker, book: Book) -> None:
    for depth in range(800, 1_010):
        nested = b"[" * depth + b"]" * depth

        answer = await http("POST", "/v1/leases", raw=b'{"id": %b}' % nested)

        assert (answer.status, answer.error) == (400, "bad_request"), depth
    assert book.asked == []
