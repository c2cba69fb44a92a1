"""Credentials in calls: where they are sent, where not, and stale nonces."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from spech import Account, CallFailed, open_phone
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

from ..conftest import Pair, invite, media, within


class Accounted(Pair):
    """Alice has an account; the test acts as its server at Bob's address."""

    def __init__(self) -> None:
        super().__init__(FakeWire(seed=3), bob_agent=False)
        self.identity = Identity(
            NameAddr(Uri.parse("sip:alice@10.0.0.2")), "alice", "secret", self.alice.agent.rng
        )
        self._nonces = 0

    def dial(self) -> Session:
        session = self.alice.agent.invite(
            self.identity,
            Uri.parse("sip:x@10.0.0.2"),
            [self.alice.flow_to(self.bob)],
            media("10.0.0.1"),
            self.wire.now,
        )
        self.wire.run(0.02)
        return session

    def challenge(self, request: Request | Response, *, stale: bool = False) -> None:
        assert isinstance(request, Request)
        self._nonces += 1
        value = f'Digest realm="r", nonce="n{self._nonces}", algorithm=MD5, qop="auth"'
        if stale:
            value += ", stale=true"
        headers = [("WWW-Authenticate", value)]
        response = response_to(request, 401, to_tag="c", headers=headers)
        self.bob.send(response, self.alice)
        self.wire.run(0.02)

    def answered_to(self, request: Request | Response) -> str | None:
        return request.headers.get("Authorization")


@pytest.fixture
def accounted() -> Accounted:
    return Accounted()


def test_cancel_after_credentials_waits_for_a_provisional_response(accounted: Accounted) -> None:
    pair = accounted
    session = pair.dial()
    first = pair.bob.take("INVITE")
    pair.reply(first, 100)
    pair.wire.run(0.1)
    pair.challenge(first)
    second = pair.bob.take("INVITE")
    assert session.state is SessionState.CALLING
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    assert "CANCEL" not in pair.kinds(pair.alice)  # RFC 3261 9.1
    pair.reply(second, 180)
    pair.wire.run(0.1)
    cancel = pair.bob.take("CANCEL")
    assert cancel.cseq.number == second.cseq.number
    assert cancel.via.branch == second.via.branch
    pair.reply(cancel, 200)
    pair.reply(second, 487)
    pair.quiet()


def test_an_ack_repeats_the_credentials_of_its_invite(
    accounted: Accounted, sdp_answer: bytes
) -> None:
    pair = accounted
    session = pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    request = pair.bob.take("INVITE")
    assert pair.answered_to(request)
    pair.reply(request, 200, body=sdp_answer)
    pair.wire.run(0.1)
    pair.bob.take("ACK")  # Of the 401.
    ack = pair.bob.take("ACK")
    assert pair.answered_to(ack) == pair.answered_to(request)  # RFC 3261 22.1
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    pair.challenge(pair.bob.take("INVITE"), stale=True)
    pair.bob.take("ACK")
    request = pair.bob.take("INVITE")
    pair.reply(request, 200, body=sdp_answer)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    assert pair.answered_to(ack) == pair.answered_to(request)
    assert 'nonce="n2"' in (pair.answered_to(ack) or "")


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("calls", [2, 6])
def test_simultaneous_calls_on_a_stale_nonce_succeed(
    accounted: Accounted, calls: int, stale: bool
) -> None:
    """Each gets its own new nonce, which does not mean a wrong password."""
    pair = accounted
    pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    pair.reply(pair.bob.take("INVITE"), 486)
    pair.wire.run(0.1)
    sessions = [pair.dial() for _ in range(calls)]
    requests = [pair.bob.take("INVITE") for _ in sessions]
    assert all(pair.answered_to(request) for request in requests)
    for request in requests:
        pair.challenge(request, stale=stale)
    again = [pair.bob.take("INVITE") for _ in sessions]
    assert len({request.call_id for request in again}) == calls
    assert [session.ended for session in sessions] == [None] * calls


def test_a_call_refused_with_403_for_a_used_nonce_is_made_again_without_it(
    accounted: Accounted,
) -> None:
    pair = accounted
    pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    pair.reply(pair.bob.take("INVITE"), 486)
    pair.wire.run(0.1)
    session = pair.dial()
    used = pair.bob.take("INVITE")
    assert pair.answered_to(used)
    pair.reply(used, 403)
    pair.wire.run(0.1)
    bare = pair.bob.take("INVITE")
    assert pair.answered_to(bare) is None
    pair.challenge(bare)
    again = pair.bob.take("INVITE")
    assert 'nonce="n2"' in (pair.answered_to(again) or "")
    pair.reply(again, 403)  # That is meant.
    pair.wire.run(1)
    assert session.ended is not None
    assert session.ended.status == 403


@pytest.mark.parametrize("challenged", [False, True])
def test_a_403_to_a_first_call_is_final(accounted: Accounted, challenged: bool) -> None:
    pair = accounted
    session = pair.dial()
    if challenged:
        pair.challenge(pair.bob.take("INVITE"))
    pair.reply(pair.bob.take("INVITE"), 403)
    pair.wire.run(1)
    assert session.ended is not None
    assert session.ended.status == 403
    assert pair.kinds(pair.alice).count("INVITE") == 1 + challenged


def test_a_redirection_to_a_stranger_carries_no_credentials(accounted: Accounted) -> None:
    pair = accounted
    stranger = pair.wire.peer("10.0.0.66", agent=False)
    session = pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    contacts = [("Contact", "<sip:x@10.0.0.66>")]
    pair.bob.send(response_to(request, 302, to_tag="b", headers=contacts), pair.alice)
    pair.wire.run(0.1)
    target = Uri.parse("sip:x@10.0.0.66")
    flows = [pair.alice.flow_to(stranger)]
    session.redirect(target, flows, pair.wire.now)
    pair.wire.run(0.1)
    request = stranger.take("INVITE")
    assert isinstance(request, Request)
    assert pair.answered_to(request) is None
    challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="evil", algorithm=MD5')]
    stranger.send(response_to(request, 401, to_tag="e", headers=challenge), pair.alice)
    pair.wire.run(0.1)
    assert stranger.take("ACK")
    assert stranger.inbox == []
    assert session.ended is not None
    assert session.ended.status == 401


def test_a_registration_removed_while_it_is_being_made(accounted: Accounted) -> None:
    pair = accounted
    registrar = Uri.parse("sip:10.0.0.2")
    flows = [pair.alice.flow_to(pair.bob)]
    pair.alice.agent.register(pair.identity, registrar, flows, pair.wire.now)
    pair.alice.flush()
    pair.alice.agent.close(pair.wire.now)
    pair.wire.run(0.1)
    request = pair.bob.take("REGISTER")
    assert isinstance(request, Request)
    assert request.expires != 0
    assert not pair.alice.agent.idle
    assert pair.find(pair.alice, events.RegistrationChanged) is None
    contact = [("Contact", f"{request.headers.get('Contact')};expires=300")]
    pair.bob.send(response_to(request, 200, headers=contact), pair.alice)
    pair.wire.run(0.1)
    request = pair.bob.take("REGISTER")
    assert isinstance(request, Request)
    assert request.expires == 0  # RFC 3261 10.2.2
    pair.bob.send(response_to(request, 200), pair.alice)
    pair.quiet()
    assert pair.find(pair.alice, events.RegistrationChanged) is not None


def test_a_registration_removed_while_it_is_being_challenged(accounted: Accounted) -> None:
    pair = accounted
    flows = [pair.alice.flow_to(pair.bob)]
    pair.alice.agent.register(pair.identity, Uri.parse("sip:10.0.0.2"), flows, pair.wire.now)
    pair.alice.flush()
    pair.alice.agent.close(pair.wire.now)
    pair.wire.run(0.1)
    pair.challenge(pair.bob.take("REGISTER"))
    request = pair.bob.take("REGISTER")
    assert isinstance(request, Request)
    assert request.expires == 0
    assert pair.answered_to(request)
    pair.bob.send(response_to(request, 200), pair.alice)
    pair.quiet()


# ---------------------------------------------------------------------- a phone and a stranger


class Played:
    """A SIP server on loopback that the test acts for."""

    def __init__(self, udp: trio.socket.SocketType) -> None:
        self._socket = udp
        self.address: tuple[str, int] = udp.getsockname()
        self.heard: list[Request] = []

    async def next(self, method: str) -> Request:
        """The next request of that method; earlier ones are kept in ``heard``."""
        while True:
            data, self._peer = await self._socket.recvfrom(65_535)
            message = parse(data)
            if isinstance(message, Request):
                self.heard.append(message)
                if message.method == method:
                    return message

    async def reply(self, request: Request, status: int, *headers: tuple[str, str]) -> None:
        response = response_to(request, status, to_tag="t", headers=headers)
        await self._socket.sendto(bytes(response), self._peer)


@asynccontextmanager
async def played(host: str) -> AsyncIterator[Played]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        await udp.bind((host, 0))
        yield Played(udp)


def digest(nonce: str) -> tuple[str, str]:
    return ("WWW-Authenticate", f'Digest realm="home", nonce="{nonce}", algorithm=MD5, qop="auth"')


@pytest.mark.parametrize("way", ["called", "redirected"])
async def test_a_stranger_never_sees_our_credentials(way: str) -> None:
    async with played("127.0.0.1") as home, played("127.0.0.2") as stranger:
        account = Account(f"sip:alice@127.0.0.1:{home.address[1]}", password="secret")
        async with (
            open_phone(account, listen=("127.0.0.1", 0), drain=0.0) as phone,
            trio.open_nursery() as nursery,
        ):
            await home.reply(await home.next("REGISTER"), 401, digest("n1"))
            request = await home.next("REGISTER")
            assert "Authorization" in request.headers
            contact = request.headers.get("Contact") or ""
            await home.reply(request, 200, ("Contact", f"{contact};expires=300"))
            away = f"sip:x@127.0.0.2:{stranger.address[1]}"

            async def ask() -> None:
                if way == "redirected":
                    request = await home.next("INVITE")
                    assert "Authorization" in request.headers
                    await home.reply(request, 302, ("Contact", f"<{away}>"))
                # The realm of our own server, which any peer can claim.
                await stranger.reply(await stranger.next("INVITE"), 401, digest("n2"))
                await stranger.next("ACK")

            nursery.start_soon(ask)
            with trio.fail_after(10), pytest.raises(CallFailed) as failed:
                async with phone.call(away if way == "called" else "600") as call:
                    await call.answered()
            assert failed.value.status == 401
            assert len(stranger.heard) >= 2
            assert not any("Authorization" in request.headers for request in stranger.heard)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("home", [True, False])
def test_within_an_incoming_call_only_our_own_server_gets_credentials(
    accounted: Accounted, home: bool
) -> None:
    pair = accounted
    agent, flow = pair.alice.agent, pair.alice.flow_to(pair.bob)
    server = pair.bob if home else pair.wire.peer("10.0.0.66", agent=False)
    registration = agent.register(
        pair.identity, Uri.parse("sip:10.0.0.2"), [flow], pair.wire.now, expires=300
    )
    pair.wire.run(0.1)
    register = pair.bob.take("REGISTER")
    assert isinstance(register, Request)
    headers = [("Contact", f"{register.headers.get('Contact')};expires=300")]
    pair.bob.send(response_to(register, 200, to_tag="r", headers=headers), pair.alice)
    pair.wire.run(0.1)
    assert registration.expires_at is not None

    request = invite(body=media("10.0.0.2")(1).offer())
    host = server.address[0]
    changed = request.headers.set("Contact", f"<sip:bob@{host}>")
    changed = changed.set("Via", f"SIP/2.0/UDP {host}:5060;branch=z9hG4bKhome")
    request = request.replace(headers=changed)
    server.send(request, pair.alice)
    pair.wire.run(0.1)
    event = pair.find(pair.alice, events.InviteReceived)
    assert isinstance(event, events.InviteReceived)
    event.session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(server.take("200 INVITE").to)
    server.send(within(request, "ACK", 1, to), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, event.session)
    pair.wire.run(0.1)
    bye = server.take("BYE")
    assert isinstance(bye, Request)
    assert "Proxy-Authorization" not in bye.headers
    challenge = [("Proxy-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')]
    server.send(response_to(bye, 407, headers=challenge), pair.alice)
    pair.wire.run(0.1)
    again = [message for message in server.inbox if isinstance(message, Request)]
    assert [message.method for message in again] == (["BYE"] if home else [])
    assert all("Proxy-Authorization" in message.headers for message in again)


# ---------------------------------------------------------------------- strangers who ask


PROVIDER = "10.0.0.2"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("sip:600@10.0.0.2;maddr=10.0.0.66", "10.0.0.66"),
        ("sip:600@10.0.0.66", "10.0.0.66"),
        ("sip:600@10.0.0.2:6666", "10.0.0.2:6666"),
    ],
)
def test_credentials_depend_on_where_a_redirection_leads(
    accounted: Accounted, target: str, host: str
) -> None:
    """The flow decides, not the host in the URI."""
    pair = accounted
    address, _, port = host.partition(":")
    stranger = pair.wire.peer(address, int(port or 5060), agent=False)
    session = pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    moved = response_to(request, 302, to_tag="c", headers=[("Contact", f"<{target}>")])
    pair.bob.send(moved, pair.alice)
    pair.wire.run(0.1)
    session.redirect(Uri.parse(target), [pair.alice.flow_to(stranger)], pair.wire.now)
    pair.wire.run(0.1)
    invited = stranger.take("INVITE")
    assert isinstance(invited, Request)
    assert "Authorization" not in invited.headers
    for status, name in ((401, "WWW-Authenticate"), (407, "Proxy-Authenticate")):
        challenge = [(name, 'Digest realm="r", nonce="x", qop="auth"')]
        stranger.send(response_to(invited, status, to_tag="s", headers=challenge), pair.alice)
        pair.wire.run(0.1)
    assert "INVITE" not in [m.method for m in stranger.inbox if isinstance(m, Request)]
    assert session.ended is not None


@pytest.mark.parametrize("realm", ["r", "evil"])
@pytest.mark.parametrize("routed", [False, True])
def test_a_far_end_that_challenges_our_bye_gets_no_credentials(
    accounted: Accounted, sdp_answer: bytes, realm: str, routed: bool
) -> None:
    """It reaches us directly, or through our proxy, which forwards a challenge."""
    pair = accounted
    far = pair.wire.peer("10.0.0.66", agent=False)
    session = pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [("Contact", "<sip:far@10.0.0.66>")]
    if routed:
        headers.append(("Record-Route", f"<sip:{PROVIDER};lr>"))
    response = response_to(
        request,
        200,
        to_tag="f",
        headers=headers,
        body=sdp_answer,
        content_type="application/sdp",
    )
    pair.bob.send(response, pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    seen = pair.bob if routed else far
    bye = seen.take("BYE")
    assert isinstance(bye, Request)
    assert ("Authorization" in bye.headers) is routed
    challenge = [("WWW-Authenticate", f'Digest realm="{realm}", nonce="x", qop="auth"')]
    seen.send(response_to(bye, 401, headers=challenge), pair.alice)
    pair.wire.run(0.1)
    answered = [m for m in far.inbox if isinstance(m, Request) and "Authorization" in m.headers]
    assert answered == []
    if realm == "evil":
        told = [
            p.data for p in pair.wire.log if b'realm="evil"' in p.data and p.source[0] == "10.0.0.1"
        ]
        assert told == []


def test_after_a_registration_challenges_with_another_realm_are_ignored(
    accounted: Accounted,
) -> None:
    pair = accounted
    flow = pair.alice.flow_to(pair.bob)
    pair.alice.agent.register(pair.identity, Uri.parse("sip:10.0.0.2"), [flow], pair.wire.now)
    pair.wire.run(0.1)
    pair.challenge(pair.bob.take("REGISTER"))
    assert pair.answered_to(pair.bob.take("REGISTER"))
    session = pair.dial()
    invite = pair.bob.take("INVITE")
    assert isinstance(invite, Request)
    challenge = [("WWW-Authenticate", 'Digest realm="evil", nonce="x", qop="auth"')]
    pair.bob.send(response_to(invite, 401, to_tag="c", headers=challenge), pair.alice)
    pair.wire.run(0.1)
    assert session.ended is not None
    assert session.ended.status == 401


def test_a_challenge_on_an_unknown_flow_is_answered_through_our_server(
    accounted: Accounted, sdp_answer: bytes
) -> None:
    """A proxy may use another address of the provider in Record-Route; the BYE succeeds."""
    pair = accounted
    other = pair.wire.peer("10.0.0.8", agent=False)
    session = pair.dial()
    pair.challenge(pair.bob.take("INVITE"))
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    response = response_to(
        request,
        200,
        to_tag="f",
        headers=[("Contact", "<sip:far@10.0.0.66>"), ("Record-Route", "<sip:10.0.0.8;lr>")],
        body=sdp_answer,
        content_type="application/sdp",
    )
    pair.bob.send(response, pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    bye = other.take("BYE")
    assert isinstance(bye, Request)
    assert "Authorization" not in bye.headers
    challenge = [("Proxy-Authenticate", 'Digest realm="r", nonce="x", qop="auth"')]
    other.send(response_to(bye, 407, headers=challenge), pair.alice)
    pair.wire.run(0.1)
    bye = pair.bob.take("BYE")
    assert pair.answered_to(bye)
    pair.reply(bye, 200)
    pair.wire.run(0.1)
    assert session.state is SessionState.ENDED


@pytest.mark.parametrize("within", [False, True], ids=["invite", "bye"])
def test_a_far_end_behind_our_proxy_gets_no_answer_to_a_401_in_its_realm(
    accounted: Accounted, sdp_answer: bytes, within: bool
) -> None:
    """The registrar asks with 401 and the proxy with 407, in one realm, as providers do."""
    pair = accounted
    flow = pair.alice.flow_to(pair.bob)
    pair.alice.agent.register(pair.identity, Uri.parse("sip:10.0.0.2"), [flow], pair.wire.now)
    pair.wire.run(0.1)
    pair.challenge(pair.bob.take("REGISTER"))
    assert pair.answered_to(pair.bob.take("REGISTER"))
    session = pair.dial()
    challenge = [("Proxy-Authenticate", 'Digest realm="r", nonce="p", qop="auth"')]
    asked = pair.bob.take("INVITE")
    assert isinstance(asked, Request)
    pair.bob.send(response_to(asked, 407, to_tag="p", headers=challenge), pair.alice)
    pair.wire.run(0.1)
    asked = pair.bob.take("INVITE")
    assert isinstance(asked, Request)
    if within:
        route = [("Contact", "<sip:far@10.0.0.66>"), ("Record-Route", f"<sip:{PROVIDER};lr>")]
        kind = "application/sdp"
        answer = response_to(
            asked, 200, to_tag="f", headers=route, body=sdp_answer, content_type=kind
        )
        pair.bob.send(answer, pair.alice)
        pair.wire.run(0.1)
        pair.hang_up(pair.alice, session)
        pair.wire.run(0.1)
        asked = pair.bob.take("BYE")
        assert isinstance(asked, Request)
    assert "Proxy-Authorization" in asked.headers
    assert "Authorization" not in asked.headers
    forged = [("WWW-Authenticate", 'Digest realm="r", nonce="evil", qop="auth"')]
    pair.bob.send(response_to(asked, 401, to_tag="f", headers=forged), pair.alice)
    pair.wire.run(1)
    assert not any(b'nonce="evil"' in p.data for p in pair.wire.log if p.source[0] == "10.0.0.1")
    assert session.is_over
