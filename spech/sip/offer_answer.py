"""Offer and answer for one audio stream (RFC 3264), in plain values.

Knows encodings by name only: what a codec is, the media floors know.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip import sdp
from spech.sip.flow import Address

#: The first dynamic payload type we hand out; 101 is left to telephone-event, as is usual.
_DYNAMIC: Final = 96
_TELEPHONE_EVENT: Final = 101

#: What we answer to each direction that is offered (RFC 3264 6.1).
_MIRROR: Final = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A codec as SDP sees it.

    ``name`` is what the media floors call it, the clock rate is in Hz. ``fmtp`` is offered;
    ``answer`` makes from the parameters that were offered those of the answer, and is ``fmtp``
    again unless it is given.
    """

    name: str
    encoding: str
    clock_rate: int
    payload_type: int | None = None
    fmtp: str | None = None
    channels: int = 1
    answer: Callable[[str | None], str | None] | None = field(default=None, compare=False)

    def matches(self, encoding: str, clock_rate: int, channels: int) -> bool:
        """Whether an rtpmap means this codec (names ignore case, RFC 4855)."""
        return (
            encoding.lower() == self.encoding.lower()
            and clock_rate == self.clock_rate
            and channels == self.channels
        )


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both ends agreed on for the audio stream, as seen by us; ``fmtp`` is theirs."""

    codec: str
    payload_type_send: int
    payload_type_receive: int
    telephone_event_send: int | None
    telephone_event_receive: int | None
    remote: Address
    remote_rtcp: Address
    direction: str
    ptime_ms: int
    fmtp: str | None = None


class Negotiator:
    """Our side of the offer/answer exchanges of one session.

    ``address`` and ``port`` are where we receive RTP (RTCP one above).
    """

    def __init__(
        self, formats: Sequence[AudioFormat], address: str, port: int, session_id: int
    ) -> None:
        self._formats = tuple(formats)
        self._address = address
        self._port = port
        self._session_id = session_id
        self._version = 0
        self._described: tuple[sdp.MediaDescription, ...] = ()
        #: What we want: "sendrecv", or "sendonly" while we hold the call.
        self.direction = "sendrecv"
        self._payload_types = self._assign()
        self._event_types = self._assign_events()
        self._agreed_format: AudioFormat | None = None

    def _assign(self) -> dict[AudioFormat, int]:
        taken: dict[AudioFormat, int] = {}
        dynamic = _DYNAMIC
        for form in self._formats:
            if form.payload_type is not None:
                taken[form] = form.payload_type
                continue
            taken[form] = dynamic
            dynamic += 1 if dynamic + 1 != _TELEPHONE_EVENT else 2
        return taken

    def _assign_events(self) -> dict[int, int]:
        # telephone-event runs on the clock of the codec beside it (RFC 4733 2.1), so each clock
        # rate among the codecs gets one.
        rates = dict.fromkeys(form.clock_rate for form in self._formats)
        used = set(self._payload_types.values())
        free = [_TELEPHONE_EVENT, *(n for n in range(127, 95, -1) if n != _TELEPHONE_EVENT)]
        free = [number for number in free if number not in used]
        return dict(zip(rates, free, strict=False))

    def offer(self) -> bytes:
        """A session description with every format, preferred first; hold is in its direction."""
        attributes: list[tuple[str, str | None]] = []
        numbers: list[str] = []
        for form in self._formats:
            number = self._payload_types[form]
            numbers.append(str(number))
            attributes += _format_lines(number, form, form.fmtp)
        for rate, number in self._event_types.items():
            numbers.append(str(number))
            attributes += _event_lines(number, rate)
        return self._describe(tuple(numbers), attributes, self.direction)

    def receive_answer(self, body: bytes) -> Agreed:
        """What their answer to our offer means.

        Raises:
            RemoteProtocolError: unreadable, or no codec in common (488).
        """
        description = sdp.parse(body)
        media = _audio(description)
        if media is None or media.port == 0:
            raise RemoteProtocolError("the answer has no audio", 488)
        maps = media.rtpmaps()
        for text in media.formats:
            number = _number(text)
            for form, ours in self._payload_types.items():
                if number == ours or (number in maps and form.matches(*maps[number])):
                    if number in maps and not form.matches(*maps[number]):
                        continue
                    self._agreed_format = form
                    return self._agreed(description, media, form, number, ours)
        raise RemoteProtocolError("the answer has no codec that was offered", 488)

    def receive_offer(self, body: bytes) -> tuple[bytes, Agreed]:
        """Answer their offer with its first codec that we have (RFC 3264 6.1).

        Raises:
            RemoteProtocolError: unreadable (400), or nothing in common (488).
        """
        description = sdp.parse(body)
        media = _audio(description)
        chosen = None if media is None or media.port == 0 else self._choose(media)
        if media is None or chosen is None:
            raise RemoteProtocolError("no codec in common", 488)
        number, form = chosen
        self._agreed_format = form
        # We answer with their numbers, so that both directions use the same ones.
        agreed = self._agreed(description, media, form, number, number)
        fmtp = form.fmtp if form.answer is None else form.answer(agreed.fmtp)
        attributes = _format_lines(number, form, fmtp)
        numbers = [str(number)]
        if agreed.telephone_event_send is not None:
            numbers.append(str(agreed.telephone_event_send))
            attributes += _event_lines(agreed.telephone_event_send, form.clock_rate)
        answer = self._describe(
            tuple(numbers), attributes, agreed.direction, offered=description.media
        )
        return answer, agreed

    def _choose(self, media: sdp.MediaDescription) -> tuple[int, AudioFormat] | None:
        maps = media.rtpmaps()
        for text in media.formats:
            number = _number(text)
            for form in self._formats:
                static = number not in maps and number == form.payload_type
                if static or (number in maps and form.matches(*maps[number])):
                    return number, form
        return None

    def _agreed(
        self,
        description: sdp.SessionDescription,
        media: sdp.MediaDescription,
        form: AudioFormat,
        send: int,
        receive: int,
    ) -> Agreed:
        host = media.connection or description.connection
        if host is None:
            raise RemoteProtocolError("no connection address in the session description", 488)
        theirs = media.direction
        try:
            ipaddress.ip_address(host)
        except ValueError:
            # A name would need DNS in the middle of a negotiation; nobody sends one in practice.
            raise RemoteProtocolError(f"{host!r} is not a numeric address", 488) from None
        if host in ("0.0.0.0", "::"):
            # The hold of RFC 2543; nothing can be sent there.
            theirs = "inactive" if theirs in ("inactive", "recvonly") else "sendonly"
        direction = _MIRROR[theirs]
        if self.direction == "sendonly":  # We hold: we never receive.
            direction = "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
        event = _event_number(media, form.clock_rate)
        ours = self._event_types.get(form.clock_rate)
        return Agreed(
            codec=form.name,
            payload_type_send=send,
            payload_type_receive=receive,
            telephone_event_send=event,
            telephone_event_receive=event if receive == send and event is not None else ours,
            remote=(host, media.port),
            remote_rtcp=(host, media.rtcp_port or media.port + 1),
            direction=direction,
            ptime_ms=media.ptime or 20,
            fmtp=media.fmtps().get(send),
        )

    def _describe(
        self,
        numbers: tuple[str, ...],
        attributes: list[tuple[str, str | None]],
        direction: str,
        offered: tuple[sdp.MediaDescription, ...] = (),
    ) -> bytes:
        audio = sdp.MediaDescription(
            kind="audio",
            port=self._port,
            protocol="RTP/AVP",
            formats=numbers,
            attributes=(*attributes, ("ptime", "20"), (direction, None)),
        )
        media: list[sdp.MediaDescription] = []
        placed = False
        for theirs in offered:
            # Every m= line is answered, in order; those we do not take get port 0 (RFC 3264 6).
            if theirs.kind == "audio" and theirs.port and not placed:
                media.append(audio)
                placed = True
            else:
                media.append(sdp.MediaDescription(theirs.kind, 0, theirs.protocol, theirs.formats))
        described = tuple(media) or (audio,)
        if described != self._described:
            self._version += 1  # Only a change counts (RFC 3264 8).
            self._described = described
        description = sdp.SessionDescription(
            origin=sdp.Origin("-", str(self._session_id), str(self._version), self._address),
            connection=self._address,
            media=described,
        )
        return bytes(description)


def _audio(description: sdp.SessionDescription) -> sdp.MediaDescription | None:
    for media in description.media:
        if media.kind == "audio" and media.port and media.protocol == "RTP/AVP":
            return media
    return None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _format_lines(number: int, form: AudioFormat, fmtp: str | None) -> list[tuple[str, str | None]]:
    suffix = f"/{form.channels}" if form.channels > 1 else ""
    lines: list[tuple[str, str | None]] = [
        ("rtpmap", f"{number} {form.encoding}/{form.clock_rate}{suffix}")
    ]
    if fmtp:
        lines.append(("fmtp", f"{number} {fmtp}"))
    return lines


def _event_lines(number: int, rate: int) -> list[tuple[str, str | None]]:
    return [("rtpmap", f"{number} telephone-event/{rate}"), ("fmtp", f"{number} 0-15")]


def _event_number(media: sdp.MediaDescription, rate: int) -> int | None:
    for number, (encoding, clock_rate, _) in media.rtpmaps().items():
        if (
            encoding.lower() == "telephone-event"
            and clock_rate == rate
            and str(number) in media.formats
        ):
            return number
    return None
