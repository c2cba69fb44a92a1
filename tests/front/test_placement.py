"""One address, several user agents behind it: each message reaches the one that has its call."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from spech.front.placement import PlacedSession, Placement
from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.call.replaces import Replaces
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire, Peer

from ..sip.conftest import media

BRIDGE = ("10.0.0.9", 5060)
TARGET = Uri.parse("sip:bot@10.0.0.9")


class Fronted(Peer):
    """A host whose messages go to several user agents."""

    def __init__(self, wire: FakeWire, workers: int) -> None:
        super().__init__(wire, BRIDGE, None)
        self.placement = Placement()
        self.workers = [UserAgent(random.Random(number)) for number in range(workers)]
        self.arrived: list[list[Event]] = [[] for _ in self.workers]
        #: Messages that were nobody's.
        self.stray: list[str] = []
        for number, agent in enumerate(self.workers):
            agent.is_known_peer = lambda host: host.startswith("10.0.0.")
            agent.on_session_changed = self.noting(number)
        wire.add(self)

    def noting(self, worker: int) -> Callable[[Session], None]:
        def note(session: Session) -> None:
            if session.state is SessionState.ENDED:
                self.placement.end_session(session.call_id, session.local_tag)
                return
            flow = None if session.dialog is None else session.dialog.flow
            found = PlacedSession(worker, flow, session.is_up)
            self.placement.note_session(session.call_id, session.local_tag, found)
            self.placement.note_call(session.call_id)

        return note

    def load(self, worker: int) -> int:
        awaited = self.placement.awaited(self._wire.now)[worker]
        return awaited + len(self.workers[worker].sessions)

    def receive_datagram(self, data: bytes, source: tuple[str, int], now: float) -> None:
        message = parse(data)
        worker = self.placement.owner(message)
        if isinstance(message, Request) and message.method == "INVITE" and not message.to.tag:
            if worker is None:
                loads = {number: self.load(number) for number in range(len(self.workers))}
                worker = self.placement.place(message, loads)
            self.placement.expect(message, worker, now)
        if worker is None:
            self.stray.append(message.summary())
        else:
            self.workers[worker].receive_message(data, Flow("udp", BRIDGE, source), now)

    def get_timer(self) -> float | None:
        times = [at for agent in self.workers if (at := agent.get_timer()) is not None]
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        for agent in self.workers:
            agent.handle_timer(now)

    def flush(self) -> None:
        for number, agent in enumerate(self.workers):
            for outgoing in agent.to_send(self._wire.now):
                self.placement.note_sent(number, outgoing.data)
                self._wire.carry(outgoing)
            while (event := agent.next_event()) is not None:
                self.arrived[number].append(event)
                if isinstance(event, events.InviteReceived):
                    event.session.takes_transfers = True
                    event.session.answer(media(BRIDGE[0], 5000), self._wire.now)
                    self.flush()

    def has(self, session: Session) -> int:
        """The worker of the other end of a call."""
        (found,) = [
            number
            for number, agent in enumerate(self.workers)
            if session.call_id in [one.call_id for one in agent.sessions]
        ]
        return found


def identity(peer: Peer) -> Identity:
    return Identity(NameAddr(Uri("sip", "x", *peer.address)), "x", None, peer.agent.rng)


def call(wire: FakeWire, peer: Peer, target: Uri = TARGET, to: tuple[str, int] = BRIDGE) -> Session:
    flows = [Flow("udp", peer.address, to)]
    session = peer.agent.invite(identity(peer), target, flows, media(peer.address[0]), wire.now)
    peer.flush()
    return session


def caller(wire: FakeWire, host: str = "10.0.0.1") -> Peer:
    peer = wire.peer(host)
    peer.agent.is_known_peer = lambda host: host.startswith("10.0.0.")
    return peer


def test_calls_are_spread_evenly_on_a_line_that_loses_and_repeats_and_reorders() -> None:
    wire = FakeWire(seed=3, loss=0.2, duplication=0.2, delay=(0.01, 0.2))
    bridge, alice = Fronted(wire, 3), caller(wire)
    calls = []
    for _ in range(30):
        calls.append(call(wire, alice))
        wire.run(1)
    wire.run(20)
    assert all(session.is_up for session in calls)
    assert Counter(bridge.has(session) for session in calls) == {0: 10, 1: 10, 2: 10}
    assert bridge.placement.talks_with("10.0.0.1")
    assert bridge.placement.flows == {Flow("udp", BRIDGE, alice.address)}
    # Either side may hang up.
    for number, session in enumerate(calls):
        if number % 2:
            session.hang_up(wire.now)
        else:
            agent = bridge.workers[bridge.has(session)]
            theirs = next(one for one in agent.sessions if one.call_id == session.call_id)
            theirs.hang_up(wire.now)
    wire.run(100)
    assert all(session.ended for session in calls)
    assert [agent.sessions for agent in bridge.workers] == [(), (), ()]
    assert not bridge.placement.flows
    assert not bridge.placement.talks_with("10.0.0.1")
    assert bridge.placement.awaited(wire.now).total() == 0
    assert bridge.stray == []


def test_a_call_replaces_one_of_another_worker() -> None:
    """Alice has Bob, whom she talks with, take over her call to the bridge."""
    wire = FakeWire(seed=5)
    bridge, alice, bob = Fronted(wire, 2), caller(wire), caller(wire, "10.0.0.2")
    first, second = call(wire, alice), call(wire, alice)
    wire.run(1)
    assert {bridge.has(first), bridge.has(second)} == {0, 1}
    # The worker with fewer calls would get the next one.
    other = call(wire, bob)
    wire.run(1)
    busy = bridge.has(other)
    old = next(one for one in (first, second) if bridge.has(one) == busy)
    new = bob.agent.invite(
        identity(bob),
        TARGET,
        [Flow("udp", bob.address, BRIDGE)],
        media("10.0.0.2"),
        wire.now,
        headers=(("Replaces", str(Replaces.of(old))), ("Require", "replaces")),
    )
    wire.run(2)
    assert new.is_up
    assert bridge.has(new) == busy
    assert old.ended is not None
    assert old.ended.by == "remote"


def test_a_refer_names_the_call_of_another_worker() -> None:
    """Alice has two calls to the bridge, in two workers, and connects them with each other."""
    wire = FakeWire(seed=7)
    bridge, alice = Fronted(wire, 2), caller(wire)
    first, second = call(wire, alice), call(wire, alice)
    wire.run(1)
    referred, named = bridge.has(first), bridge.has(second)
    assert referred != named
    first.transfer(Replaces.of(second).within(TARGET), wire.now)
    wire.run(1)
    (asked,) = [
        one for one in bridge.arrived[referred] if isinstance(one, events.TransferRequested)
    ]
    new = bridge.workers[referred].invite(
        asked.session.identity,
        asked.referral.target,
        [Flow("udp", BRIDGE, BRIDGE)],  # It leaves through the front, and comes back there.
        media(BRIDGE[0], 5002),
        wire.now,
        referral=asked.referral,
    )
    wire.run(2)
    # The ends of one call in two workers: what they send each other reaches the other one.
    assert new.is_up
    (theirs,) = [one for one in bridge.workers[named].sessions if one.call_id == new.call_id]
    assert theirs.is_up
    assert second.ended is not None
    for ours in (new, theirs):
        assert not ours.is_over
    new.hang_up(wire.now)
    wire.run(40)
    assert theirs.ended is not None
    assert theirs.ended.by == "remote"
    assert bridge.stray == []


def test_what_is_nobodys_call_is_left_to_the_front() -> None:
    wire = FakeWire(seed=1)
    bridge, alice = Fronted(wire, 2), wire.peer("10.0.0.1", agent=False)
    lines = [("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1"), ("From", "<sip:a@10.0.0.1>;tag=a")]
    for method, to in (("OPTIONS", ""), ("BYE", ";tag=b"), ("CANCEL", ""), ("INVITE", ";tag=b")):
        headers = Headers(
            [*lines, ("To", f"<{TARGET}>{to}"), ("Call-ID", "x"), ("CSeq", f"1 {method}")]
        )
        alice.send(Request(method, TARGET, headers), bridge)
    wire.run(1)
    assert [line.split()[0] for line in bridge.stray] == ["OPTIONS", "BYE", "CANCEL", "INVITE"]


@pytest.mark.parametrize("loads", [{0: 4, 1: 3, 2: 5}, {0: 7, 1: 7}])
def test_the_worker_with_the_fewest_calls_gets_the_next(loads: dict[int, int]) -> None:
    placement = Placement()
    counts = Counter(loads)
    for number in range(12):
        headers = Headers([("Call-ID", f"call{number}")])
        counts[placement.place(Request("INVITE", TARGET, headers), counts)] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_worker_that_has_ended_has_no_calls() -> None:
    placement = Placement()
    flow = Flow("udp", BRIDGE, ("10.0.0.1", 5060))
    for worker in (0, 1):
        placement.note_session(f"call{worker}", "ours", PlacedSession(worker, flow, True))
        headers = Headers([("Call-ID", f"new{worker}")])
        placement.expect(Request("INVITE", TARGET, headers), worker, 0.0)
    placement.forget(1)
    assert placement.flows == {flow}
    assert placement.awaited(1.0) == Counter({0: 1, 1: 0})
    placement.end_session("call0", "ours")
    assert not placement.talks_with("10.0.0.1")
    # An INVITE that nobody has answered counts for as long as its transaction would last.
    assert placement.awaited(33.0).total() == 0


def test_a_worker_that_hangs_is_known_by_its_silence() -> None:
    placement = Placement()
    for second, worker in enumerate((1, 0, 1, 0)):
        headers = Headers([("Call-ID", f"call{second}")])
        placement.expect(Request("INVITE", TARGET, headers), worker, float(second))
    placement.note_call("call1")
    assert placement.silent(1.9) == set()
    assert placement.silent(2.0) == {1}
    assert placement.silent(4.9) == {1}
    assert placement.silent(5.0) == {0, 1}
    placement.note_sent(0, b"SIP/2.0 486 Busy Here\r\nCall-ID: call3\r\n\r\n")
    assert placement.silent(5.0) == {1}


def test_call_ids_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.front.placement._REMEMBERED", 3)
    placement = Placement()
    invites = [Request("INVITE", TARGET, Headers([("Call-ID", f"c{n}")])) for n in range(5)]
    for invite in invites[:3]:
        placement.expect(invite, 0, 0.0)
    placement.expect(invites[0], 0, 0.0)  # It comes again.
    for invite in invites[3:]:
        placement.expect(invite, 0, 0.0)
    lines = [("From", "<sip:a@b>;tag=a"), ("To", "<sip:a@b>;tag=z"), ("CSeq", "1 BYE")]
    known = [
        placement.owner(Request("BYE", TARGET, Headers([*lines, ("Call-ID", f"c{n}")])))
        for n in range(5)
    ]
    assert known == [0, None, None, 0, 0]


def test_long_call_ids_take_little_memory() -> None:
    placement = Placement()
    tracemalloc.start()
    try:
        for number in range(1000):
            long = f"{number}".rjust(8000, "x")
            placement.expect(Request("INVITE", TARGET, Headers([("Call-ID", long)])), 0, 0.0)
            placement.note_sent(0, f"BYE sip:a@b SIP/2.0\r\nCall-ID: {long}\r\n\r\n".encode())
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


def an_invite(call_id: str, tag: str = "a", cseq: int = 1) -> Request:
    lines = [("From", f"<sip:a@b>;tag={tag}"), ("To", "<sip:a@b>"), ("CSeq", f"{cseq} INVITE")]
    return Request("INVITE", TARGET, Headers([*lines, ("Call-ID", call_id)]))


def test_only_copies_and_replacements_add_no_call() -> None:
    placement = Placement()
    assert not placement.adds_none(an_invite("x"))
    name = placement.expect(an_invite("x"), 1, 0.0)
    assert name
    assert placement.adds_none(an_invite("x"))
    assert placement.expect(an_invite("x"), 1, 1.0) == b""
    for other in (an_invite("x", "b"), an_invite("x", cseq=2)):
        assert not placement.adds_none(other)
        # It goes where the first one went, and counts.
        assert placement.place(other, {0: 0, 1: 9}) == 1
        assert placement.expect(other, 1, 2.0) not in (b"", name)
    assert placement.awaited(2.0)[1] == 3
    assert placement.place(an_invite("x", "b"), {0: 5}) == 0
    replacing = an_invite("y")
    headers = replacing.headers.add("Replaces", "r;to-tag=ours;from-tag=theirs")
    replacing = replacing.replace(headers=headers)
    assert not placement.adds_none(replacing)
    placement.note_session("r", "ours", PlacedSession(0, None, True))
    assert placement.adds_none(replacing)


def test_an_invite_that_begins_no_call_is_awaited_no_longer() -> None:
    placement = Placement()
    dropped, ringing, unread = (
        placement.expect(an_invite(call_id), 0, 0.0) for call_id in ("dropped", "ringing", "unread")
    )
    placement.note_handled(dropped, begun=False)
    placement.note_handled(ringing, begun=True)
    assert placement.awaited(1.0) == Counter({0: 2})
    assert placement.silent(3.0) == {0}
    placement.note_handled(unread, begun=True)
    assert placement.silent(3.0) == set()
    placement.note_call("ringing")
    placement.note_call("unread")
    assert placement.awaited(1.0).total() == 0
    placement.note_handled(unread, begun=False)  # It is late.


def test_a_worker_that_reads_nothing_gets_so_many_invites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.front.placement._MOST_UNREAD", 2)
    placement = Placement()
    first = placement.expect(an_invite("c0"), 0, 0.0)
    placement.expect(an_invite("c1"), 0, 0.0)
    assert not placement.has_room(0)
    assert placement.has_room(1)
    placement.note_handled(first, begun=True)
    assert placement.has_room(0)
    # One that it had not read is new to the next process in its place.
    placement.forget(0)
    assert not placement.adds_none(an_invite("c1"))
    assert placement.awaited(0.0).total() == 0
