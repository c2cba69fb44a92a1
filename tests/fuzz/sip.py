"""Feeds the SIP stack with coverage-guided mutations. Not a test: run it manually.

    pip install '.[dev]'
    python tests/fuzz/sip.py -max_total_time=600 FOLDER tests/sip/data

``FOLDER`` collects the inputs that reach new code; ``tests/sip/data`` is where mutation begins. The
options are those of libFuzzer. An input that makes it fail is written to a file, and is run again
with ``python tests/fuzz/sip.py FILE``.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["spech"]):
    from spech.errors import RemoteProtocolError
    from spech.sip import events
    from spech.sip.agent import UserAgent
    from spech.sip.description.offer_answer import Negotiator
    from spech.sip.description.payload_types import AudioFormat
    from spech.sip.dialog.identity import Identity
    from spech.sip.message.framing import StreamFramer
    from spech.sip.message.headers import NameAddr
    from spech.sip.message.message import Request, Response, response_to
    from spech.sip.message.parser import parse
    from spech.sip.message.uri import Uri
    from spech.sip.timeline import ladder, to_pcap
    from spech.sip.transaction.flow import Flow

_DATAGRAM = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.200", 5060))
_STREAM = Flow("tcp", ("192.0.2.100", 5060), ("192.0.2.200", 5060))


def _media(number: int) -> Negotiator:
    formats = [AudioFormat("PCMU", "PCMU", 8000, 0)]
    return Negotiator(formats, "192.0.2.100", 4000, number)


class Trial:
    """An agent that places a call, answers every call, and receives the input."""

    def __init__(self) -> None:
        self.agent = UserAgent(random.Random(1))
        self.now = 0.0
        address = NameAddr(Uri.parse("sip:alice@192.0.2.200"))
        identity = Identity(address, "alice", "secret", self.agent.rng)
        target = Uri.parse("sip:bob@192.0.2.200")
        self.agent.invite(identity, target, [_DATAGRAM], _media, self.now)
        (outgoing,) = self.agent.to_send(self.now)
        invite = parse(outgoing.data)
        assert isinstance(invite, Request)
        self.invite = invite

    def hear(self, data: bytes, flow: Flow) -> None:
        """A message, and what the program does about it."""
        self.agent.receive_message(data, flow, self.now)
        while (event := self.agent.next_event()) is not None:
            if isinstance(event, events.InviteReceived):
                event.session.ring(self.now)
                try:
                    event.session.answer(_media, self.now)
                except RemoteProtocolError:
                    continue
        for outgoing in self.agent.to_send(self.now):
            parse(outgoing.data)

    def addressed(self, data: bytes) -> bytes:
        """``data``, if it is a response, as a response to our call."""
        try:
            message = parse(data)
            if not isinstance(message, Response):
                return data
        except RemoteProtocolError:
            return data
        named = {"Via", "From", "To", "Call-ID", "CSeq", "Content-Length"}
        more = [pair for pair in message.headers if pair[0] not in named]
        answer = response_to(
            self.invite, message.status, to_tag="b", headers=more, body=message.body
        )
        return bytes(answer)

    def end(self) -> None:
        """End all calls; nothing may be left."""
        self.agent.close(self.now)
        for _ in range(1000):
            self.agent.to_send(self.now)
            at = self.agent.get_timer()
            if at is None:
                break
            self.now = max(self.now, at)
            self.agent.handle_timer(self.now)
        assert len(self.agent.layer) == 0, "a transaction is left"
        assert not self.agent.sessions, "a session is left"


def one_input(data: bytes) -> None:
    """One run: as datagrams, as a stream, and into the timeline's readers."""
    trial = Trial()
    for piece in data.split(b"\0\n\0"):
        trial.hear(trial.addressed(piece), _DATAGRAM)
    framer = StreamFramer()
    try:
        for start in range(0, len(data), 101):
            for message in framer.receive_data(data[start : start + 101]):
                trial.hear(message, _STREAM)
    except RemoteProtocolError:
        pass
    for session in trial.agent.sessions:
        entries = trial.agent.timeline.entries(session.call_id)
        ladder(entries)
        to_pcap(entries, 0.0)
    trial.end()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
