"""The services of RFC 5359, as far as a user agent takes part in them.

Not covered are services of a server (forwarding on busy and on no answer 2.8 and 2.9, find-me
2.12, screening 2.13 and 2.14, park 2.15), those that a program can build from others (automatic
redial 2.17: dialog events, then a call), transfer to instant messaging (2.6), and conferences
(2.10, 2.11). Each test is named after its section.
"""

from __future__ import annotations

from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Outgoing
from spech.testing.wire import FakeWire, Packet

from ..conftest import Pair, invite, media
from .conftest import Three, attended, referred


def directions(pair: Pair, who: str) -> list[str]:
    """The media directions that one end agreed on, in order."""
    peer = {"alice": pair.alice, "bob": pair.bob}[who]
    changes = [event for event in peer.events if isinstance(event, events.MediaChanged)]
    return [event.agreed.direction for event in changes]


def test_2_1_call_hold(pair: Pair) -> None:
    ours, theirs = pair.established()
    theirs.hold(pair.wire.now)
    pair.wire.run(1)
    assert directions(pair, "bob") == ["sendonly"]
    assert directions(pair, "alice") == ["recvonly"]
    theirs.resume(pair.wire.now)
    pair.wire.run(1)
    assert directions(pair, "alice")[-1] == "sendrecv"
    # The version of the description grew, its session ID did not change (RFC 3264 8).
    bobs = [packet for packet in pair.wire.log if packet.source == pair.bob.address]
    offers = [packet.message.body for packet in bobs if packet.kind == "INVITE"]
    origins = [offer.split(b"\r\n")[1].split() for offer in offers]
    assert len({origin[1] for origin in origins}) == 1
    assert int(origins[1][2]) == int(origins[0][2]) + 1
    pair.hang_up(pair.alice, ours)
    pair.quiet()


def test_2_2_consultation_hold() -> None:
    """Alice holds Bob, calls Carol, hangs up that call and resumes Bob's."""
    three = Three(FakeWire(seed=52))
    ours, theirs = three.established()
    ours.hold(three.wire.now)
    three.wire.run(1)
    second = three.alice.agent.invite(
        ours.identity,
        Uri.parse("sip:carol@10.0.0.3"),
        [three.alice.flow_to(three.carol)],
        media("10.0.0.1", 4002),
        three.wire.now,
    )
    three.wire.run(0.1)
    three.carol_answers()
    assert second.state is SessionState.CONFIRMED
    assert directions(three, "bob") == ["recvonly"]
    three.hang_up(three.alice, second)
    three.wire.run(1)
    ours.resume(three.wire.now)
    three.wire.run(1)
    assert directions(three, "bob") == ["recvonly", "sendrecv"]
    assert theirs.state is SessionState.CONFIRMED


def test_2_3_music_on_hold(pair: Pair) -> None:
    """The holder keeps sending, which carries the music (from the media, not from a server)."""
    ours, _ = pair.established()
    ours.hold(pair.wire.now)
    pair.wire.run(1)
    assert directions(pair, "alice") == ["sendonly"]
    assert directions(pair, "bob") == ["recvonly"]


def test_2_4_transfer_unattended() -> None:
    three = Three(FakeWire(seed=54))
    ours, theirs = referred(three)
    new = three.follow()
    three.carol_answers()
    three.hang_up(three.alice, ours)
    three.wire.run(1)
    refer = [line for line in three.wire.ladder() if line.endswith(("REFER", "NOTIFY", "BYE"))]
    assert refer == [
        "10.0.0.1 REFER",
        "10.0.0.2 202 REFER",
        "10.0.0.2 NOTIFY",
        "10.0.0.1 200 NOTIFY",
        "10.0.0.2 NOTIFY",
        "10.0.0.1 200 NOTIFY",
        "10.0.0.1 BYE",
        "10.0.0.2 200 BYE",
    ]
    assert theirs.state is SessionState.ENDED
    assert new.state is SessionState.CONFIRMED
    assert three.progress() == [100, 200]


def test_2_5_transfer_attended() -> None:
    three = Three(FakeWire(seed=55))
    ours, _, second, carols = attended(three)
    three.carol_answers()
    three.hang_up(three.alice, ours)
    three.wire.run(1)
    replacing = three.at_carol().invited_by
    assert replacing is not None
    assert replacing.headers.get("Replaces") is not None
    assert replacing.headers.get("Require") == "replaces"
    assert carols.state is SessionState.ENDED
    assert second.state is SessionState.ENDED
    assert three.at_carol().state is SessionState.CONFIRMED
    byes = [p.source[0] for p in three.wire.log if p.kind == "BYE"]
    assert byes == ["10.0.0.3", "10.0.0.1"]


def test_2_7_call_forwarding_unconditional() -> None:
    """For the caller, without a proxy: a 302 is followed."""
    wire = FakeWire(seed=57)
    pair = Pair(wire, bob_agent=False)
    carol = wire.peer("10.0.0.3")
    session = pair.call()
    wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [("Contact", "<sip:carol@10.0.0.3>")]
    pair.bob.send(response_to(request, 302, to_tag="b", headers=headers), pair.alice)
    wire.run(0.1)
    event = pair.find(pair.alice, events.Redirected)
    assert isinstance(event, events.Redirected)
    session.redirect(event.targets[0], [pair.alice.flow_to(carol)], wire.now)
    wire.run(0.1)
    arrived = pair.find(carol, events.InviteReceived)
    assert isinstance(arrived, events.InviteReceived)
    arrived.session.answer(media("10.0.0.3", 6000), wire.now)
    wire.run(1)
    assert session.state is SessionState.CONFIRMED


def test_2_16_call_pickup() -> None:
    """Carol takes the call that Alice has ringing at Bob's: Replaces for an early dialog."""
    three = Three(FakeWire(seed=66))
    ours = three.call()
    theirs = three.incoming()
    three.ring(theirs)
    three.wire.run(0.5)
    early = ours.dialogs[0]
    # What Carol learned from Bob's dialog events, from Alice's point of view.
    value = f"{ours.call_id};to-tag={ours.local_tag};from-tag={early.remote.tag};early-only"
    request = invite(("Replaces", value), body=media("10.0.0.3", 6000)(1).offer())
    three.wire.carry(Outgoing(bytes(request), three.carol.flow_to(three.alice)))
    three.wire.run(0.5)
    arrived = three.find(three.alice, events.InviteReceived)
    assert isinstance(arrived, events.InviteReceived)
    assert arrived.session.replaces is ours
    arrived.session.answer(media("10.0.0.1", 4004), three.wire.now)
    three.wire.run(1)
    assert "200 INVITE" in three.kinds(three.alice)
    assert ours.state is SessionState.ENDED
    assert theirs.state is SessionState.ENDED
    assert "487 INVITE" in three.kinds(three.bob)


def test_2_18_click_to_dial() -> None:
    """A program makes a phone call a number: REFER within the program's call to the phone."""
    three = Three(FakeWire(seed=68))
    ours, _ = referred(three)
    three.follow()
    three.carol_answers()
    three.hang_up(three.alice, ours)
    assert three.find(three.carol, events.Answered) is not None


def test_2_4_over_a_line_that_loses_each_kind_once() -> None:
    lost: set[str] = set()

    def drop(packet: Packet) -> bool:
        if packet.kind in lost or not packet.kind.endswith(("REFER", "NOTIFY")):
            return False
        lost.add(packet.kind)
        return True

    three = Three(FakeWire(seed=74))
    three.wire.drop = drop
    referred(three)
    three.wire.run(5)
    three.follow()
    three.carol_answers()
    three.wire.run(10)
    assert lost == {"REFER", "202 REFER", "NOTIFY", "200 NOTIFY"}
    last = [e for e in three.alice.events if isinstance(e, events.TransferProgress)][-1]
    assert (last.transfer.status, last.transfer.over) == (200, True)
