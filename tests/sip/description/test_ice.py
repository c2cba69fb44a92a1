"""ICE in offers and answers (RFC 8839)."""

from __future__ import annotations

import random

import pytest

from spech.agreement import RTCP, RTP, Agreed, IceAgreement, local_candidates
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
BASES = (("10.0.0.1", 4000), ("10.0.0.1", 4001))
SEEN = (("203.0.113.1", 61000), ("203.0.113.1", 61007))


def ours(*, offers: bool = False, lite: bool = False, seed: int = 1) -> Negotiator:
    candidates = local_candidates(BASES, SEEN)
    ice = IceNegotiation(candidates, offers=offers, lite=lite, rng=random.Random(seed))
    return Negotiator((PCMU,), "203.0.113.1", 61000, 1, rtcp_port=61007, ice=ice)


def theirs(*lines: str, session: tuple[str, ...] = (), host: str = "192.0.2.2") -> bytes:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", f"c=IN IP4 {host}", "t=0 0", *session]
    return "\r\n".join([*head, "m=audio 5000 RTP/AVP 0", *lines, ""]).encode()


CREDENTIALS = ("a=ice-ufrag:theirs", "a=ice-pwd:abcdefghijklmnopqrstuv")
HOST = (
    "a=candidate:1 1 UDP 2130706431 192.0.2.2 5000 typ host",
    "a=candidate:1 2 udp 2130706430 192.0.2.2 5001 typ host",
)


def agreement(agreed: Agreed) -> IceAgreement:
    assert agreed.ice is not None
    return agreed.ice


def lines_of(body: bytes, name: str) -> list[str | None]:
    return [value for known, value in sdp.parse(body).media[0].attributes if known == name]


def test_an_offer_describes_both_components() -> None:
    body = ours(offers=True).offer()
    assert lines_of(body, "candidate") == [
        "1 1 UDP 2130706431 10.0.0.1 4000 typ host",
        "1 2 UDP 2130706430 10.0.0.1 4001 typ host",
        "2 1 UDP 1694498815 203.0.113.1 61000 typ srflx raddr 10.0.0.1 rport 4000",
        "2 2 UDP 1694498814 203.0.113.1 61007 typ srflx raddr 10.0.0.1 rport 4001",
    ]
    media = sdp.parse(body).media[0]
    assert media.muxed
    assert (media.port, media.rtcp_port) == (61000, 61007)
    assert len(media.attribute("ice-ufrag") or "") >= 4
    assert len(media.attribute("ice-pwd") or "") >= 22
    assert lines_of(body, "ice-options") == ["ice2"]


def test_our_offer_is_accepted_by_our_answerer() -> None:
    caller, callee = ours(offers=True, seed=1), ours(seed=2)
    answer, at_callee = callee.receive_offer(caller.offer())
    at_caller = caller.receive_answer(answer)
    left, right = agreement(at_caller), agreement(at_callee)
    assert (left.controlling, right.controlling) == (True, False)
    assert left.remote.fragment == right.local.fragment
    assert left.remote.password == right.local.password
    assert right.remote.candidates == left.local.candidates
    # The answer accepts the shared port, and so has candidates for one component.
    assert {one.component for one in left.remote.candidates} == {RTP}
    assert at_caller.remote_rtcp == at_caller.remote


def test_a_peer_without_ice_is_called_without_it() -> None:
    negotiator = ours(offers=True)
    negotiator.offer()
    agreed = negotiator.receive_answer(theirs())
    assert agreed.ice is None
    assert agreed.remote == ("192.0.2.2", 5000)
    answer, agreed = ours(offers=True).receive_offer(theirs())
    assert agreed.ice is None
    assert not lines_of(answer, "candidate")


def test_ice_is_accepted_without_offering_it() -> None:
    negotiator = ours()
    assert not lines_of(negotiator.offer(), "ice-ufrag")
    answer, agreed = negotiator.receive_offer(theirs(*CREDENTIALS, *HOST))
    assert len(lines_of(answer, "candidate")) == 4
    remote = agreement(agreed).remote
    assert (remote.fragment, remote.password) == ("theirs", "abcdefghijklmnopqrstuv")
    assert [one.address for one in remote.candidates] == [("192.0.2.2", 5000), ("192.0.2.2", 5001)]
    assert lines_of(negotiator.offer(), "ice-ufrag") == lines_of(answer, "ice-ufrag")


def test_session_level_credentials_are_used() -> None:
    _, agreed = ours().receive_offer(theirs(*HOST, session=CREDENTIALS))
    assert agreement(agreed).remote.fragment == "theirs"


def test_a_lite_answer_is_marked() -> None:
    answer, agreed = ours(lite=True).receive_offer(theirs(*CREDENTIALS, *HOST))
    assert sdp.parse(answer).attribute("ice-lite") == ""
    assert agreement(agreed).local.lite
    assert not agreement(agreed).controlling


def test_our_side_sends_checks_if_both_are_lite() -> None:
    body = theirs(*CREDENTIALS, *HOST, session=("a=ice-lite",))
    answer, agreed = ours(lite=True).receive_offer(body)
    assert sdp.parse(answer).attribute("ice-lite") is None
    assert not agreement(agreed).local.lite
    assert agreement(agreed).controlling
    negotiator = ours(offers=True)
    negotiator.offer()
    assert agreement(negotiator.receive_answer(body)).controlling


def test_a_rewritten_address_disables_ice() -> None:
    body = theirs(*CREDENTIALS, *HOST, host="198.51.100.77")
    answer, agreed = ours().receive_offer(body)
    assert agreed.ice is None
    assert agreed.remote[0] == "198.51.100.77"
    assert lines_of(answer, "ice-mismatch") == [None]
    assert not lines_of(answer, "candidate")
    negotiator = ours(offers=True)
    negotiator.offer()
    assert negotiator.receive_answer(body).ice is None
    mismatch = theirs("a=ice-mismatch", *CREDENTIALS, *HOST)
    assert negotiator.receive_answer(mismatch).ice is None


def test_a_hold_with_0_0_0_0_is_not_a_mismatch() -> None:
    negotiator = ours()
    _, before = negotiator.receive_offer(theirs(*CREDENTIALS, *HOST))
    _, agreed = negotiator.receive_offer(theirs(*CREDENTIALS, *HOST, host="0.0.0.0"))
    assert agreed.ice == before.ice


def test_a_hold_keeps_ice_and_new_credentials_restart_it() -> None:
    negotiator = ours()
    _, first = negotiator.receive_offer(theirs(*CREDENTIALS, *HOST))
    _, held = negotiator.receive_offer(theirs(*CREDENTIALS, *HOST, "a=sendonly"))
    assert held.ice == first.ice
    again = ("a=ice-ufrag:other", "a=ice-pwd:zyxwvutsrqponmlkjihgfe")
    answer, restarted = negotiator.receive_offer(theirs(*again, *HOST))
    assert agreement(restarted).local.fragment != agreement(first).local.fragment
    assert agreement(restarted).local.password != agreement(first).local.password
    assert agreement(restarted).remote.fragment == "other"
    assert lines_of(answer, "ice-ufrag") == [agreement(restarted).local.fragment]


def test_an_offer_from_another_address_restarts_ice() -> None:
    caller, callee = ours(offers=True, seed=1), ours(seed=2)
    answer, before = callee.receive_offer(caller.offer())
    caller.receive_answer(answer)
    caller.move("10.9.9.9", 7000)
    moved = caller.offer()
    assert lines_of(moved, "candidate") == [
        "1 1 UDP 2130706431 10.9.9.9 7000 typ host",
        "1 2 UDP 2130706430 10.9.9.9 7001 typ host",
    ]
    assert sdp.parse(moved).media[0].rtcp_port is None
    answer, at_callee = callee.receive_offer(moved)
    at_caller = caller.receive_answer(answer)
    assert agreement(at_callee).remote.fragment != agreement(before).remote.fragment
    assert agreement(at_callee).local.fragment != agreement(before).local.fragment
    assert agreement(at_caller).remote.fragment == agreement(at_callee).local.fragment


def test_ice_may_end_during_a_call() -> None:
    negotiator = ours()
    negotiator.receive_offer(theirs(*CREDENTIALS, *HOST))
    answer, agreed = negotiator.receive_offer(theirs())
    assert agreed.ice is None
    assert not lines_of(answer, "ice-ufrag")


@pytest.mark.parametrize(
    "line",
    [
        "1 1 TCP 2130706431 192.0.2.3 5000 typ host tcptype active",
        "1 1 UDP 2130706431 5f6d4e1a.local 5000 typ host",
        "1 1 UDP 2130706431 192.0.2.3 0 typ host",
        "1 1 UDP 2130706431 192.0.2.3 70000 typ host",
        "1 1 UDP 99999999999 192.0.2.3 5000 typ host",
        "1 0 UDP 2130706431 192.0.2.3 5000 typ host",
        "1 1 UDP 2130706431 192.0.2.3 5000",
        "",
        "\u00b9 1 UDP 2130706431 192.0.2.3 5000 typ host",
    ],
)
def test_unusable_candidates_are_skipped(line: str) -> None:
    _, agreed = ours().receive_offer(theirs(*CREDENTIALS, *HOST, f"a=candidate:{line}"))
    assert len(agreement(agreed).remote.candidates) == 2


def test_unknown_candidate_attributes_are_skipped() -> None:
    line = "a=candidate:9 1 udp 100 192.0.2.9 7 typ relay raddr 10.1.1.1 rport 9 generation 0"
    _, agreed = ours().receive_offer(theirs(*CREDENTIALS, *HOST, line))
    relayed = agreement(agreed).remote.candidates[2]
    assert (relayed.kind, relayed.related) == ("relay", ("10.1.1.1", 9))


@pytest.mark.parametrize(
    "lines",
    [
        ("a=ice-ufrag:abc", CREDENTIALS[1]),
        (CREDENTIALS[0], "a=ice-pwd:short"),
        (CREDENTIALS[0], "a=ice-pwd:" + "x" * 257),
        (CREDENTIALS[0], "a=ice-pwd:abcdefghijklmnopqrst\u00fcv"),
        (CREDENTIALS[0],),
    ],
)
def test_invalid_credentials_disable_ice(lines: tuple[str, ...]) -> None:
    assert ours().receive_offer(theirs(*lines, *HOST))[1].ice is None


def test_both_ports_have_candidates_without_rtcp_mux() -> None:
    _, agreed = ours().receive_offer(theirs(*CREDENTIALS, *HOST))
    assert {one.component for one in agreement(agreed).remote.candidates} == {RTP, RTCP}


def test_passwords_are_not_in_representations() -> None:
    _, agreed = ours().receive_offer(theirs(*CREDENTIALS, *HOST))
    assert "abcdefghijklmnopqrstuv" not in repr(agreed)
    assert agreement(agreed).local.password not in repr(agreed)


# Addresses that are hidden or sent later (RFC 8840 4.1.1).

NAMED = "a=candidate:2 1 udp 2113937151 39330519-b9d7-4d00-9f7d-d1d22137d6de.local 49433 typ host"
TCP = "a=candidate:3 1 tcp 1518280447 10.0.0.5 9 typ host tcptype active"
PLAIN = "a=candidate:1 1 udp 2122260223 192.0.2.5 54746 typ host"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "2cf85dc7-5ba6-424c-bde4-bd6084bcdcb3.local"])
@pytest.mark.parametrize(
    "candidates", [(), (NAMED,), (TCP,), (NAMED, TCP), (PLAIN,), (NAMED, PLAIN)]
)
def test_a_missing_address_with_ice_is_not_a_hold(host: str, candidates: tuple[str, ...]) -> None:
    body = theirs(*CREDENTIALS, *candidates, "a=rtcp-mux", "a=sendrecv", host=host)
    answer, agreed = ours().receive_offer(body.replace(b"m=audio 5000", b"m=audio 9"))
    assert agreed.direction == "sendrecv"
    assert sdp.parse(answer).media[0].direction == "sendrecv"
    assert len(lines_of(answer, "candidate")) == 2
    remote = agreement(agreed).remote
    assert (remote.fragment, remote.password) == ("theirs", "abcdefghijklmnopqrstuv")
    assert [one.address for one in remote.candidates] == (
        [("192.0.2.5", 54746)] if PLAIN in candidates else []
    )
    assert agreed.remote_name is None  # The checks find the path, not DNS.


def test_an_answer_with_ice_may_omit_its_address() -> None:
    negotiator = ours(offers=True)
    negotiator.offer()
    body = theirs(*CREDENTIALS, NAMED, "a=rtcp-mux", host="0.0.0.0")
    agreed = negotiator.receive_answer(body)
    assert agreement(agreed).remote.candidates == ()
    assert agreed.direction == "sendrecv"


def test_an_address_of_zeros_without_ice_is_a_hold() -> None:
    assert ours().receive_offer(theirs(host="0.0.0.0"))[1].direction == "recvonly"


def test_a_direction_attribute_holds_with_ice() -> None:
    body = theirs(*CREDENTIALS, NAMED, "a=sendonly", host="0.0.0.0")
    assert ours().receive_offer(body)[1].direction == "recvonly"


def test_credentials_without_candidates_are_ignored() -> None:
    answer, agreed = ours().receive_offer(theirs(*CREDENTIALS))
    assert agreed.ice is None
    assert lines_of(answer, "ice-ufrag") == []


def test_a_lite_side_without_candidates_uses_no_ice() -> None:
    body = theirs(*CREDENTIALS, session=("a=ice-lite",), host="0.0.0.0")
    assert ours().receive_offer(body)[1].ice is None
