"""SIPp runs `scenarios/` against us: forks, races, extensions, challenges.

A scenario checks the messages that it receives; a test here checks our side of the same call.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from spech import Account, Call, IncomingCall, Phone, PortRange, open_phone
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request, SipMessage
from spech.sip.message.parser import parse
from spech.testing.plugin import unavailable
from spech.testing.waiting import first, until

from .. import ports
from ..inside import dialog_of, endpoint_of, session_of
from . import sipp
from .conftest import await_bound

SCENARIOS = Path(__file__).with_name("scenarios")
PORT = ports.reserve(8)
PORTS = PortRange(39_600, 39_699)
TARGET = f"sip:sipp@127.0.0.1:{PORT}"
PASSWORD = "much secret"


@pytest.fixture(autouse=True)
def installed() -> None:
    if not sipp.available():
        unavailable(
            "peers", "SIPp is not installed (Debian's sip-tester); `make test-peers` installs it"
        )


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    """A phone with an account at SIPp, which is not a registrar."""
    account = Account(f"sip:alice@127.0.0.1:{PORT}", password=PASSWORD, register=False)
    async with open_phone(account, listen=("127.0.0.1", 0), ports=PORTS) as phone:
        yield phone


@asynccontextmanager
async def called(scenario: str, directory: Path) -> AsyncIterator[None]:
    """SIPp waits for our call; the block ends with the scenario."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, _text(scenario), directory, PORT)
            await await_bound(PORT)
            yield


@asynccontextmanager
async def calling(scenario: str, directory: Path, phone: Phone) -> AsyncIterator[IncomingCall]:
    """SIPp calls us; the block ends with the scenario."""
    target = "{}:{}".format(*phone.address)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, _text(scenario), directory, PORT, target)
            yield await first(phone.incoming_calls())


def _text(scenario: str) -> str:
    return (SCENARIOS / f"{scenario}.xml").read_text()


def exchanged(phone: Phone, call: Call | IncomingCall, *, sent: bool) -> list[SipMessage]:
    """What we sent or received in a call, without retransmissions."""
    datagrams = dict.fromkeys(
        entry.data
        for entry in endpoint_of(phone).agent.timeline.entries(call.call_id)
        if entry.data and (entry.source == phone.address) is sent
    )
    return [parse(data) for data in datagrams]


def messages(phone: Phone, call: Call | IncomingCall, *, sent: bool) -> list[str]:
    """The same as text: methods, and statuses with their methods."""
    return [
        one.method if isinstance(one, Request) else f"{one.status} {one.cseq.method}"
        for one in exchanged(phone, call, sent=sent)
    ]


def requests(phone: Phone, call: Call, method: str) -> list[Request]:
    """The requests of that method that we sent in a call."""
    sent = exchanged(phone, call, sent=True)
    return [one for one in sent if isinstance(one, Request) and one.method == method]


# ---------------------------------------------------------------------- forks and races


async def test_a_second_answer_is_acknowledged_and_ended(phone: Phone, tmp_path: Path) -> None:
    async with called("forked", tmp_path), phone.call(TARGET) as call:
        await call.answered(timeout=5)
        await until(lambda: "200 BYE" in messages(phone, call, sent=False))
        assert call.state == "answered"
        assert dialog_of(call).remote.tag == "first"
    assert call.ended_by == "local"
    assert messages(phone, call, sent=True) == ["INVITE", "ACK", "ACK", "BYE", "BYE"]


async def test_an_answer_that_crosses_our_cancel_is_ended(phone: Phone, tmp_path: Path) -> None:
    async with called("answered_when_cancelled", tmp_path), phone.call(TARGET) as call:
        while call.state != "ringing":
            await call.changed()
        call.hang_up()
    assert (call.ended_by, call.status, call.duration) == ("local", 487, 0.0)
    assert messages(phone, call, sent=True) == ["INVITE", "CANCEL", "ACK", "BYE"]


async def test_a_cancel_after_our_answer_changes_nothing(phone: Phone, tmp_path: Path) -> None:
    async with calling("cancels_too_late", tmp_path, phone) as incoming, incoming.answer() as call:
        await until(lambda: "ACK" in messages(phone, call, sent=False))
        assert "200 CANCEL" in messages(phone, call, sent=True)
        assert call.state == "answered"
        await call.ended()
    assert (call.ended_by, call.status) == ("remote", 200)
    assert "487 INVITE" not in messages(phone, call, sent=True)


# ---------------------------------------------------------------------- 100rel


async def test_reliable_provisional_responses_get_pracks(phone: Phone, tmp_path: Path) -> None:
    """The first of them has the answer, and the 200 has none."""
    async with called("rings_reliably", tmp_path), phone.call(TARGET) as call:
        while call.codec is None:
            await call.changed()
        await call.answered(timeout=5)
        assert call.codec == "PCMU"
    assert messages(phone, call, sent=True) == ["INVITE", "PRACK", "PRACK", "ACK", "BYE"]


async def test_we_repeat_the_180_until_the_prack(phone: Phone, tmp_path: Path) -> None:
    async with calling("requires_prack", tmp_path, phone) as incoming:
        await until(lambda: "200 PRACK" in messages(phone, incoming, sent=True))
        async with incoming.answer() as call:
            await call.ended()
    answers = ["180 INVITE", "200 PRACK", "200 INVITE", "200 BYE"]
    assert messages(phone, call, sent=True) == answers
    assert call.ladder().count("180 Ringing") >= 2


# ---------------------------------------------------------------------- UPDATE


async def test_updates_are_handled_before_and_after_our_answer(
    phone: Phone, tmp_path: Path
) -> None:
    async with calling("updates", tmp_path, phone) as incoming:
        await until(lambda: messages(phone, incoming, sent=False).count("UPDATE") == 2)
        async with incoming.answer() as call:
            await call.ended()
    answers = [one for one in messages(phone, call, sent=True) if one.endswith("UPDATE")]
    assert answers == ["500 UPDATE", *["200 UPDATE"] * 4]
    # SIPp holds and resumes.
    assert "+ a=recvonly" in call.ladder()
    assert "+ a=sendrecv" in call.ladder()


async def test_an_update_moves_early_media(phone: Phone, tmp_path: Path) -> None:
    async with called("updates_early", tmp_path), phone.call(TARGET) as call:
        await call.answered(timeout=5)
    assert messages(phone, call, sent=True) == ["INVITE", "PRACK", "200 UPDATE", "ACK", "BYE"]
    assert "+ a=recvonly" in call.ladder()


# ---------------------------------------------------------------------- session timers


async def test_we_accept_sipps_session_interval(phone: Phone, tmp_path: Path) -> None:
    async with called("wants_longer_sessions", tmp_path), phone.call(TARGET) as call:
        await call.answered(timeout=5)
        assert (session_of(call).timer.interval, session_of(call).timer.ours) == (
            3600,
            True,
        )
    assert messages(phone, call, sent=True) == ["INVITE", "ACK", "INVITE", "ACK", "BYE"]


async def test_sipp_accepts_our_session_interval(phone: Phone, tmp_path: Path) -> None:
    name = "wants_short_sessions"
    async with calling(name, tmp_path, phone) as incoming, incoming.answer() as call:
        await call.ended()
    assert (session_of(call).timer.interval, session_of(call).timer.ours) == (90, False)
    # The refused INVITE never became a call.
    assert messages(phone, call, sent=True).count("180 INVITE") == 1


# ---------------------------------------------------------------------- authentication


def expected(sent: AuthHeader, algorithm: str, method: str) -> str:
    """The response value, by RFC 7616's own formula rather than by Spech's code."""

    def digest(*parts: str) -> str:
        return hashlib.new(algorithm, ":".join(parts).encode()).hexdigest()

    given = sent.parameters
    once = [given[name] for name in ("nonce", "nc", "cnonce", "qop")]
    secret = digest(given["username"], given["realm"], PASSWORD)
    return digest(secret, *once, digest(method, given["uri"]))


async def test_the_stronger_digest_algorithm_is_used(phone: Phone, tmp_path: Path) -> None:
    async with called("challenges_twofold", tmp_path), phone.call("600") as call:
        await call.answered(timeout=5)
    _, invite = requests(phone, call, "INVITE")
    (authorization,) = invite.headers.get_all("Authorization")
    sent = AuthHeader.parse(authorization)
    assert sent.parameters["algorithm"] == "SHA-256"
    assert (sent.parameters["nonce"], sent.parameters["nc"]) == ("twice", "00000001")
    assert sent.parameters["response"] == expected(sent, "sha256", "INVITE")
    (bye,) = requests(phone, call, "BYE")
    sent = AuthHeader.parse(bye.headers.get("Authorization") or "")
    assert sent.parameters["nc"] == "00000002"
    assert sent.parameters["response"] == expected(sent, "sha256", "BYE")
    assert sent.parameters["response"].encode() not in call.capture()


async def test_challenges_of_a_proxy_and_a_server_are_answered(
    phone: Phone, tmp_path: Path
) -> None:
    async with called("challenges_twice", tmp_path), phone.call("600") as call:
        await call.answered(timeout=5)
    last = requests(phone, call, "INVITE")[-1]
    for name, realm in (("Proxy-Authorization", "proxy"), ("Authorization", "server")):
        (value,) = last.headers.get_all(name)
        sent = AuthHeader.parse(value)
        assert sent.parameters["realm"] == realm
        assert sent.parameters["response"] == expected(sent, "md5", "INVITE")
    # The ACK for the 200 repeats them (RFC 3261 22.1).
    ack = requests(phone, call, "ACK")[-1]
    for name in ("Proxy-Authorization", "Authorization"):
        assert ack.headers.get(name) == last.headers.get(name)


# ---------------------------------------------------------------------- glare


async def test_our_reinvite_is_retried_after_glare(phone: Phone, tmp_path: Path) -> None:
    async with calling("glare", tmp_path, phone) as incoming, incoming.answer() as call:
        await until(lambda: "ACK" in messages(phone, call, sent=False))
        call.hold()
        await call.ended()
    tail = messages(phone, call, sent=True)
    assert tail[tail.index("INVITE") :] == [
        "INVITE",
        "491 INVITE",
        "ACK",
        "INVITE",
        "ACK",
        "200 BYE",
    ]
    assert "+ a=sendonly" in call.ladder()
