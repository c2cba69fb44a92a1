"""Deviations of servers and gateways in the field."""

from __future__ import annotations

import pytest

from spech.sip import events
from spech.sip.call.info import dtmf_digit
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.call.transfer import Transfer
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

from ..conftest import Pair, called, invite, media, within

SDP = "application/sdp"
CONTACT = ("Contact", "<sip:bob@10.0.0.2>")
DECLINED = (
    b"v=0\r\no=p 1 2 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"
    b"m=audio 0 RTP/AVP 0\r\na=inactive\r\n"
)


class Up(Pair):
    """A call by Alice; the test acts as Bob."""

    def __init__(self) -> None:
        super().__init__(FakeWire(seed=4), bob_agent=False)

    def dial(self) -> tuple[Session, Request]:
        session = self.call()
        self.wire.run(0.1)
        return session, self.request("INVITE")

    def request(self, kind: str) -> Request:
        request = self.bob.take(kind)
        assert isinstance(request, Request)
        return request

    def up(self, body: bytes, *headers: tuple[str, str]) -> tuple[Session, Request]:
        session, request = self.dial()
        self.respond(request, 200, *headers, body=body)
        self.bob.take("ACK")
        return session, request

    def respond(
        self,
        request: Request,
        status: int,
        *headers: tuple[str, str],
        tag: str | None = "b1",
        body: bytes = b"",
    ) -> None:
        response = response_to(
            request,
            status,
            to_tag=tag,
            headers=[CONTACT, *headers],
            body=body,
            content_type=SDP if body else None,
        )
        self.bob.send(response, self.alice)
        self.wire.run(0.1)

    def send(
        self, method: str, heard: Request, number: int, *headers: tuple[str, str], body: bytes = b""
    ) -> None:
        """A request by Bob in the dialog that ``heard`` created."""
        pairs = [
            ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{method}{number}"),
            ("Max-Forwards", "70"),
            ("From", f"{heard.headers.get('To')};tag=b1"),
            ("To", str(heard.from_)),
            ("Call-ID", heard.call_id),
            ("CSeq", f"{number} {method}"),
            *headers,
        ]
        request = Request(method, Uri.parse("sip:alice@10.0.0.1"), Headers(pairs), body)
        self.bob.send(request, self.alice)
        self.wire.run(0.1)

    def all(self, kind: type) -> list[events.Event]:
        return [event for event in self.alice.events if isinstance(event, kind)]


@pytest.fixture
def up() -> Up:
    return Up()


# ---------------------------------------------------------------------- responses without a To tag


@pytest.mark.parametrize("status", [180, 183])
@pytest.mark.parametrize("final_has_body", [True, False])
def test_early_media_works_without_a_to_tag(
    up: Up, sdp_answer: bytes, status: int, final_has_body: bool
) -> None:
    """The tag of an RFC 2543 peer is null (RFC 3261 12.1.2)."""
    session, request = up.dial()
    up.respond(request, status, tag=None, body=sdp_answer)
    (early,) = up.all(events.EarlyMedia)
    assert isinstance(early, events.EarlyMedia)
    assert (early.status, early.reason) == (
        status,
        "Ringing" if status == 180 else "Session Progress",
    )
    up.respond(request, 200, body=sdp_answer if final_has_body else b"")
    assert session.is_up
    up.bob.take("ACK")


def test_a_call_works_without_any_remote_tag(up: Up, sdp_answer: bytes) -> None:
    session, request = up.dial()
    up.respond(request, 200, tag=None, body=sdp_answer)
    assert session.is_up
    up.hang_up(up.alice, session)
    up.wire.run(0.1)
    assert up.request("BYE").to.tag is None


# ---------------------------------------------------------------------- answers that refuse


@pytest.mark.parametrize(
    "more", [b"", b"a=inactive\r\n", b"m=video 0 RTP/AVP 31\r\n"], ids=["bare", "inactive", "video"]
)
def test_a_hold_answered_with_port_0_keeps_the_call(up: Up, sdp_answer: bytes, more: bytes) -> None:
    session, _ = up.up(sdp_answer)
    session.hold(up.wire.now)
    up.wire.run(0.1)
    up.respond(up.request("INVITE"), 200, body=DECLINED + more)
    (changed,) = up.all(events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.direction == "inactive"
    assert session.is_up
    session.resume(up.wire.now)
    up.wire.run(0.1)
    again = up.request("INVITE")
    assert b"m=audio 4000" in again.body
    up.respond(again, 200, body=sdp_answer)
    latest = up.all(events.MediaChanged)[-1]
    assert isinstance(latest, events.MediaChanged)
    assert latest.agreed.direction == "sendrecv"


@pytest.mark.parametrize("command", ["hold", "resume"])
def test_an_answer_without_a_description_keeps_the_agreement(
    up: Up, sdp_answer: bytes, command: str
) -> None:
    session, _ = up.up(sdp_answer)
    if command == "resume":
        session.hold(up.wire.now)
        up.wire.run(0.1)
        up.respond(up.request("INVITE"), 200, body=sdp_answer)
        up.bob.take("ACK")
    getattr(session, command)(up.wire.now)
    up.wire.run(0.1)
    up.respond(up.request("INVITE"), 200)
    assert session.is_up
    up.bob.take("ACK")
    (refused,) = up.all(events.ChangeRefused)
    assert isinstance(refused, events.ChangeRefused)
    assert refused.direction == ("sendrecv" if command == "hold" else "sendonly")


def test_a_move_answered_without_a_description_keeps_the_call(up: Up, sdp_answer: bytes) -> None:
    session, _ = up.up(sdp_answer)
    session.move("10.0.0.5", ("10.0.0.5", 30000), up.wire.now)
    up.wire.run(0.1)
    request = up.request("INVITE")
    assert b"c=IN IP4 10.0.0.5" in request.body
    up.respond(request, 200)
    up.bob.take("ACK")
    assert session.is_up
    assert not up.all(events.MediaChanged)


# ---------------------------------------------------------------------- digits in INFO


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        (kind, form.format(number), digit)
        for kind, form in (
            ("application/dtmf-relay", "Signal={}\r\nDuration=160\r\n"),
            ("application/dtmf", "{}"),
        )
        for number, digit in zip(range(10, 16), "*#ABCD", strict=True)
    ],
)
def test_digits_in_info_may_be_event_numbers(kind: str, body: str, digit: str) -> None:
    headers = Headers([("Content-Type", kind)])
    request = Request("INFO", Uri.parse("sip:a@b"), headers, body.encode())
    assert dtmf_digit(request) == digit


@pytest.mark.parametrize("number", [16, 100, -1])
def test_other_event_numbers_are_not_digits(number: int) -> None:
    headers = Headers([("Content-Type", "application/dtmf")])
    request = Request("INFO", Uri.parse("sip:a@b"), headers, str(number).encode())
    assert dtmf_digit(request) is None


# ---------------------------------------------------------------------- transfers


def transfer(up: Up, sdp_answer: bytes) -> tuple[Transfer, Request]:
    session, request = up.up(sdp_answer)
    made = session.transfer(Uri.parse("sip:carol@10.0.0.3"), up.wire.now)
    up.wire.run(0.1)
    up.respond(up.request("REFER"), 202)
    return made, request


@pytest.mark.parametrize("reason", ["", ";reason=noresource", ";reason=timeout"])
@pytest.mark.parametrize("first", [True, False])
def test_a_refer_subscription_may_end_without_a_body(
    up: Up, sdp_answer: bytes, reason: str, first: bool
) -> None:
    made, request = transfer(up, sdp_answer)
    if not first:
        news = ("Content-Type", "message/sipfrag")
        state = ("Subscription-State", "active")
        up.send(
            "NOTIFY", request, 20, CONTACT, ("Event", "refer"), state, news, body=b"SIP/2.0 180 R"
        )
    state = ("Subscription-State", f"terminated{reason}")
    up.send("NOTIFY", request, 21, CONTACT, ("Event", "refer"), state)
    assert up.kinds(up.alice)[-1] == "200 NOTIFY"
    assert made.over
    assert (made.status, made.reason) == (408, "No outcome was reported")


@pytest.mark.parametrize(
    "number", ["<tel:+4930123456>", "tel:+4930123456", "Sales <tel:110;phone-context=+49>"]
)
def test_a_refer_may_name_a_tel_uri(up: Up, sdp_answer: bytes, number: str) -> None:
    session, request = up.up(sdp_answer)
    session.takes_transfers = True
    up.send("REFER", request, 20, CONTACT, ("Refer-To", number))
    (asked,) = up.all(events.TransferRequested)
    assert isinstance(asked, events.TransferRequested)
    assert asked.referral.target.scheme == "tel"
    assert asked.referral.target.user in ("+4930123456", "110")


# ---------------------------------------------------------------------- waiting for an answer


def test_early_media_keeps_an_unanswered_call(up: Up, sdp_answer: bytes) -> None:
    """An announcement may play for minutes after one 183."""
    session, request = up.dial()
    up.respond(request, 183, body=sdp_answer)
    for _ in range(8):
        up.wire.run(60)
        session.hear_early_media(up.wire.now)
    assert session.state is SessionState.RINGING
    up.wire.run(190)
    assert session.ended is not None  # Without sound the call ends as before.
    assert session.ended.status == 408


@pytest.mark.parametrize(("status", "described"), [(180, False), (180, True), (183, True)])
def test_a_bye_in_the_only_early_dialog_ends_the_call(
    up: Up, sdp_answer: bytes, status: int, described: bool
) -> None:
    session, request = up.dial()
    up.respond(request, status, body=sdp_answer if described else b"")
    up.send("BYE", request, 1)
    up.bob.take("200 BYE")
    assert session.ended is not None
    assert session.ended.by == "remote"
    up.bob.take("CANCEL")


def test_a_bye_in_one_of_two_early_dialogs_keeps_the_other(up: Up, sdp_answer: bytes) -> None:
    session, request = up.dial()
    up.respond(request, 180)
    up.respond(request, 180, tag="b2")
    up.send("BYE", request, 1)
    assert session.ended is None
    up.respond(request, 200, tag="b2", body=sdp_answer)
    assert session.is_up


# ---------------------------------------------------------------------- re-INVITEs


@pytest.mark.parametrize("direction", [b"sendrecv", b"sendonly", b"inactive"])
def test_a_reinvite_that_overtakes_the_ack_is_answered(scripted: Pair, direction: bytes) -> None:
    """It shows that our 2xx arrived (RFC 5407 3.1.4)."""
    pair = scripted
    body = media("10.0.0.2", 5000)(1).offer()
    request = invite(body=body)
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    again = within(request, "INVITE", 2, to, ("Content-Type", SDP)).replace(
        body=media("10.0.0.2", 5100)(1).offer().replace(b"sendrecv", direction)
    )
    pair.bob.send(again, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("200 INVITE")
    pair.bob.send(within(request, "ACK", 1, to), pair.alice)
    pair.bob.send(within(request, "ACK", 2, to), pair.alice)
    pair.wire.run(40)
    assert session.is_up
    assert len([e for e in pair.alice.events if isinstance(e, events.Confirmed)]) == 1


def test_a_reinvite_waits_if_the_ack_carries_the_answer(scripted: Pair) -> None:
    """Both would change the media at once (RFC 5407 3.1.5)."""
    pair = scripted
    request = invite()
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    again = within(request, "INVITE", 2, to, ("Content-Type", SDP)).replace(
        body=media("10.0.0.2", 5100)(1).offer()
    )
    pair.bob.send(again, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("500 INVITE")


@pytest.mark.parametrize("direction", ["sendonly", "inactive", "sendrecv"])
def test_a_reinvite_without_contact_keeps_the_target(scripted: Pair, direction: str) -> None:
    pair = scripted
    body = media("10.0.0.2", 5000)(1).offer()
    request = invite(body=body)
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    pair.bob.send(within(request, "ACK", 1, to), pair.alice)
    again = within(request, "INVITE", 2, to, ("Content-Type", SDP)).replace(
        body=body.replace(b"a=sendrecv", f"a={direction}".encode())
    )
    again = again.replace(headers=again.headers.remove("Contact"))
    assert session.dialog is not None
    target = session.dialog.target
    pair.bob.send(again, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("200 INVITE")
    assert session.dialog.target == target


# ---------------------------------------------------------------------- session timers


@pytest.mark.parametrize("status", [400, 403, 488, 405, 500, 501])
@pytest.mark.parametrize("final_has_body", [True, False])
def test_a_refused_update_is_followed_by_a_reinvite(
    up: Up, sdp_answer: bytes, status: int, final_has_body: bool
) -> None:
    timer = [
        ("Require", "timer"),
        ("Session-Expires", "90;refresher=uac"),
        ("Allow", "INVITE, ACK, BYE, UPDATE"),
    ]
    session, _ = up.up(sdp_answer, *timer)
    for _ in range(3):
        up.bob.inbox.clear()
        assert up.wire.run_until(lambda: bool(up.bob.inbox), 50)
        up.respond(up.request("UPDATE"), status)
        up.respond(up.request("INVITE"), 200, *timer, body=sdp_answer if final_has_body else b"")
        up.bob.take("ACK")
    assert session.is_up
    assert up.all(events.ChangeRefused) == []


def test_an_update_to_an_unknown_dialog_ends_the_call(up: Up, sdp_answer: bytes) -> None:
    timer = [("Session-Expires", "90;refresher=uac"), ("Allow", "INVITE, UPDATE")]
    session, _ = up.up(sdp_answer, *timer)
    up.wire.run(46)
    up.respond(up.request("UPDATE"), 481)
    assert session.ended is not None
