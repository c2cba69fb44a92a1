"""Three user agents on a wire, for transfers."""

from __future__ import annotations

import pytest

from spech.sip import events
from spech.sip.call.replaces import Replaces
from spech.sip.call.session import Session
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire, Peer

from ..conftest import Pair, media

CAROL = Uri.parse("sip:carol@10.0.0.3")


class Three(Pair):
    """Alice has a call to Bob, who follows transfers; Carol is the third party."""

    def __init__(self, wire: FakeWire, *, bob_agent: bool = True) -> None:
        super().__init__(wire, bob_agent=bob_agent)
        self.carol = wire.peer("10.0.0.3")
        # Each may replace the calls of the others.
        for peer in (self.alice, self.bob, self.carol) if bob_agent else (self.alice, self.carol):
            peer.agent.is_known_peer = lambda host: host.startswith("10.0.0.")

    def refer(self, session: Session, target: Uri = CAROL) -> None:
        session.transfer(target, self.wire.now)
        self.alice.flush()

    def follow(self) -> Session:
        """Bob follows the transfer."""
        event = self.find(self.bob, events.TransferRequested)
        assert isinstance(event, events.TransferRequested)
        session = self.bob.agent.invite(
            event.session.identity,
            event.referral.target,
            [self.bob.flow_to(self.carol)],
            media("10.0.0.2", 5002),
            self.wire.now,
            referral=event.referral,
        )
        self.bob.flush()
        self.wire.run(0.1)
        return session

    def at_carol(self) -> Session:
        event = self.find(self.carol, events.InviteReceived)
        assert isinstance(event, events.InviteReceived)
        return event.session

    def carol_answers(self) -> None:
        self.at_carol().answer(media("10.0.0.3", 6000), self.wire.now)
        self.wire.run(0.5)

    def progress(self) -> list[int]:
        """The progress that Alice received."""
        statuses: list[int] = []
        for packet in self.wire.log:
            if packet.kind == "NOTIFY" and packet.destination == self.alice.address:
                statuses.append(int(packet.message.body.split()[1]))
        return statuses

    def nothing_left(self, *peers: Peer) -> None:
        self.wire.run(200)
        for peer in peers or (self.alice, self.bob, self.carol):
            assert peer.agent.sessions == ()
            assert peer.agent.idle
            assert peer.agent.get_timer() is None


@pytest.fixture
def three() -> Three:
    return Three(FakeWire(seed=11))


def referred(three: Three) -> tuple[Session, Session]:
    ours, theirs = three.established()
    theirs.takes_transfers = True
    three.refer(ours)
    three.wire.run(0.5)
    return ours, theirs


def attended(three: Three) -> tuple[Session, Session, Session, Session]:
    """Alice has calls to Bob and Carol, and has Bob replace her call to Carol."""
    ours, theirs = three.established()
    theirs.takes_transfers = True
    identity = three.alice.agent.sessions[0].identity
    second = three.alice.agent.invite(
        identity, CAROL, [three.alice.flow_to(three.carol)], media("10.0.0.1"), three.wire.now
    )
    three.wire.run(0.1)
    carols = three.at_carol()
    three.carol_answers()
    assert second.dialog is not None
    three.carol.events.clear()
    three.refer(ours, Replaces.of(second).within(second.dialog.target))
    three.wire.run(0.5)
    three.follow()
    return ours, theirs, second, carols
