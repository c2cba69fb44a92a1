"""Offer and answer for one audio stream (RFC 3264), in plain values.

It knows encodings only by name; the media packages know the codecs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from spech.addresses import Address, numeric
from spech.agreement import Agreed, Direction, IceAgreement, ReceiveFormat, local_candidates
from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation, has_credentials
from spech.sip.description.media_security import MediaSecurity, audio_lines
from spech.sip.description.payload_types import (
    AudioFormat,
    PayloadTypes,
    best_event,
    best_format,
    events_of,
    format_of,
    noise_of,
)
from spech.sip.message.grammar import maybe_number

#: The packet length that nearly every format has (RFC 3551 4.2), in milliseconds.
_USUAL_PACKET_MS: Final = 20
#: The longest packet that a receiver should accept, in milliseconds (RFC 3551 4.2).
_LONGEST_PACKET_MS: Final = 200

#: Payload types that, with the marker bit, look like RTCP on the same port (RFC 5761 4).
_LIKE_RTCP: Final = range(64, 96)

#: The extended reports that we send and read (RFC 3611 section 5.1): the round-trip time of
#: receivers that do not send, and the VoIP metrics of a call.
_EXTENDED_REPORTS: Final = {"rcvr-rtt": "rcvr-rtt=all", "voip-metrics": "voip-metrics"}

#: The direction in our answer by the direction offered (RFC 3264 6.1).
_MIRROR: Final[dict[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class Negotiator:
    """Our side of the offer/answer exchanges of one session.

    We receive RTP at ``address`` and ``port``, and RTCP at the next port or at ``rtcp_port``. RTCP
    shares the port of RTP (RFC 5761) when the peer offers it; we offer it only with ``ice`` or
    DTLS-SRTP. ``security`` decides on encryption; without it RTP is plain.
    """

    def __init__(
        self,
        formats: Sequence[AudioFormat],
        address: str,
        port: int,
        session_id: int,
        *,
        rtcp_port: int | None = None,
        ice: IceNegotiation | None = None,
        security: MediaSecurity | None = None,
        comfort_noise: bool = False,
    ) -> None:
        self._formats = tuple(formats)
        #: The address at the start of the session. It identifies the session and never changes
        #: (RFC 3264 8).
        self._origin = address
        self._address = address
        self._port = port
        self._session_id = session_id
        self._rtcp_port = rtcp_port
        self._ice = ice
        self._mux = False
        self._security = security or MediaSecurity()
        self._version = 0
        self._described: tuple[sdp.MediaDescription, ...] = ()
        #: The media lines of our last description, and the index of the audio line.
        self._lines = [sdp.MediaDescription("audio", port, "RTP/AVP", ())]
        self._slot = 0
        #: The direction that we want: "sendrecv", or "sendonly" while the call is on hold.
        self.direction: Direction = "sendrecv"
        self._types = PayloadTypes(formats, comfort_noise=comfort_noise)

    @property
    def confidential(self) -> bool:
        """Whether our descriptions contain keys that only encrypted signalling may carry."""
        return self._security.confidential

    def offer(self) -> bytes:
        """A session description with all formats in order of preference and the direction wanted.

        In an established session it keeps the positions of the other media lines, which are
        rejected, and the agreed payload types (RFC 3264 8).
        """
        attributes: list[tuple[str, str | None]] = []
        numbers: list[str] = []
        for form, number in self._types.audio.items():
            numbers.append(str(number))
            attributes += _format_lines(number, form, form.fmtp)
        for rate, number in self._types.events.items():
            numbers.append(str(number))
            attributes += _event_lines(number, rate)
        for rate, number in self._types.noise.items():
            numbers.append(str(number))
            attributes.append(("rtpmap", f"{number} CN/{rate}"))
        if self._ice is not None:
            attributes += self._ice.offer()
            self._mux = self._mux or self._ice.offered
        attributes.append(("rtcp-xr", " ".join(_EXTENDED_REPORTS.values())))
        protocol, keys = self._security.offer()
        # With DTLS-SRTP, a shared port saves a second handshake.
        self._mux = self._mux or self._security.dtls_offered
        self._lines[self._slot] = self._audio_line(
            protocol, numbers, (*attributes, *keys), self.direction, self._formats[0].ptime_ms
        )
        return self._describe()

    def move(self, address: str, port: int) -> None:
        """Receive RTP at another address and port, from the next description on."""
        self._address, self._port, self._rtcp_port = address, port, None
        self._security.renew()
        if self._ice is not None:
            self._ice.move(local_candidates([(address, port), (address, port + 1)]))
        self._described = ()  # This counts as a change even if the media lines are the same.

    def receive_answer(self, body: bytes) -> Agreed:
        """The agreement that an answer to our offer makes.

        Raises:
            RemoteProtocolError: 400, when it is malformed; 488, when there is no codec in common.
        """
        description = sdp.read(body)
        media = next(iter(audio_lines(description)), None)
        if media is None:
            raise RemoteProtocolError("the answer has no audio", 488)
        maps, fmtps = self._explained(media), media.fmtps()
        common = [(number, form) for number in maps if (form := self._format_of(number, maps))]
        common = [(number, form) for number, form in common if form in self._types.audio]
        if not common:
            raise RemoteProtocolError("the answer has no codec that was offered", 488)
        number, form = common[0]
        agreed = self._agreed(description, media, number, form, mux=self._mux and media.muxed)
        security = self._security.receive_answer(description, media)
        event = best_event(maps, form.clock_rate)
        noise = noise_of(maps, form)
        ice = None
        if self._ice is not None:
            ice = self._ice.receive_answer(description, media, _ways(agreed))
        return replace(
            agreed,
            payload_type_send=number,
            payload_type_receive=self._types.audio[form],
            comfort_noise_send=noise,
            comfort_noise_receive=noise and self._types.noise.get(form.clock_rate),
            fmtp=fmtps.get(number),
            security=security,
            ice=ice,
            remote_name=None if ice else agreed.remote_name,
            receive_formats=tuple(
                ReceiveFormat(self._types.audio[one], one.name, fmtps.get(theirs))
                for theirs, one in common
            ),
            telephone_event_receive=self._types.events.get(event[1] if event else form.clock_rate),
            receive_events=tuple((ours, rate) for rate, ours in self._types.events.items()),
            telephone_event_send=event and event[0],
            telephone_event_clock=_other_clock(event, form),
        )

    def receive_offer(self, offer: bytes | sdp.SessionDescription) -> tuple[bytes, Agreed]:
        """Answer an offer, read or not, with its first codec that we support (RFC 3264 6.1).

        Raises:
            RemoteProtocolError: 400, when it is malformed; 488, when there is nothing in common.
        """
        description = sdp.read(offer) if isinstance(offer, bytes) else offer
        choice = self._security.choose(description, _common_lines(description, self._formats))
        media = choice.media
        maps, fmtps = media.rtpmaps(), media.fmtps()
        best = best_format(self._formats, maps)
        assert best is not None  # The line is one of those in common.
        number, form = best
        # We answer with the numbers of the offer, so that both directions use the same ones.
        event = best_event(maps, form.clock_rate)
        self._mux = (
            media.muxed
            and number not in _LIKE_RTCP
            and (event is None or event[0] not in _LIKE_RTCP)
        )
        agreed = self._agreed(description, media, number, form, mux=self._mux)
        keys, security = self._security.answer(choice)
        self._types.adopt(maps, set(_numbers(media)))
        offered_fmtp = fmtps.get(number)
        fmtp = form.fmtp if form.answer is None else form.answer(offered_fmtp)
        attributes = _format_lines(number, form, fmtp)
        numbers = [str(number)]
        if event is not None:
            numbers.append(str(event[0]))
            attributes += _event_lines(*event)
        noise = noise_of(maps, form)
        if noise is not None:
            numbers.append(str(noise))
            attributes.append(("rtpmap", f"{noise} CN/{form.clock_rate}"))
        if agreed.extended_reports:
            wanted = (
                text for name, text in _EXTENDED_REPORTS.items() if name in agreed.extended_reports
            )
            attributes.append(("rtcp-xr", " ".join(wanted)))
        ice: IceAgreement | None = None
        if self._ice is not None:
            lines, ice = self._ice.receive_offer(description, media, _ways(agreed))
            attributes += lines
        # Every m= line is answered in order; the rejected ones have port 0 (RFC 3264 6).
        self._slot = description.media.index(media)
        self._lines = [
            sdp.MediaDescription(theirs.kind, 0, theirs.protocol, theirs.formats)
            for theirs in description.media
        ]
        self._lines[self._slot] = self._audio_line(
            media.protocol, numbers, (*attributes, *keys), agreed.direction, form.ptime_ms
        )
        return self._describe(), replace(
            agreed,
            payload_type_send=number,
            payload_type_receive=number,
            comfort_noise_send=noise,
            comfort_noise_receive=noise,
            fmtp=offered_fmtp,
            security=security,
            ice=ice,
            remote_name=None if ice else agreed.remote_name,
            receive_formats=(ReceiveFormat(number, form.name, offered_fmtp),),
            telephone_event_receive=event and event[0],
            receive_events=events_of(maps),
            telephone_event_send=event and event[0],
            telephone_event_clock=_other_clock(event, form),
        )

    # ------------------------------------------------------------------ payload types

    def _format_of(self, number: int, maps: Mapping[int, sdp.Meaning]) -> AudioFormat | None:
        return format_of(self._formats, number, maps)

    def _explained(self, media: sdp.MediaDescription) -> dict[int, sdp.Meaning]:
        """The meaning of the numbers in an answer: by the answer, otherwise by our offer."""
        theirs, ours = media.rtpmaps(), self._types.meanings
        maps = {number: theirs.get(number) or ours.get(number) for number in _numbers(media)}
        return {number: meaning for number, meaning in maps.items() if meaning is not None}

    # ------------------------------------------------------------------ descriptions

    def _agreed(
        self,
        description: sdp.SessionDescription,
        media: sdp.MediaDescription,
        number: int,
        form: AudioFormat,
        *,
        mux: bool,
    ) -> Agreed:
        """The addresses, the direction and the length of packets, for the peer's ``number``.

        The caller fills in the payload types.
        """
        host = media.connection or description.connection or ""
        if not host:
            raise RemoteProtocolError("no address for the media", 488)
        name = None
        if numeric(host) is None:
            host, name = "0.0.0.0", host
        theirs = media.direction
        if host in ("0.0.0.0", "::") and name is None and not has_credentials(description, media):
            # Hold as in RFC 2543. With ICE it only means that candidates follow (RFC 8840 4.1.1).
            theirs = "inactive" if theirs in ("inactive", "recvonly") else "sendonly"
        direction = _MIRROR[theirs]
        if self.direction == "sendonly":  # On hold we never receive.
            direction = "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
        return Agreed(
            codec=form.name,
            payload_type_send=0,
            payload_type_receive=0,
            telephone_event_send=None,
            telephone_event_receive=None,
            remote=(host, media.port),
            remote_rtcp=(
                host,
                media.port if mux else media.rtcp_port or min(media.port + 1, 65_535),
            ),
            direction=direction,
            ptime_ms=_packet_length(media, number, form),
            extended_reports=_extended_reports(description, media),
            remote_name=name,
        )

    def _audio_line(
        self,
        protocol: str,
        numbers: list[str],
        attributes: sdp.Attributes,
        direction: Direction,
        ptime_ms: int,
    ) -> sdp.MediaDescription:
        if self._rtcp_port is not None:
            attributes = (*attributes, ("rtcp", str(self._rtcp_port)))
        if self._mux:
            attributes = (*attributes, ("rtcp-mux", None))
        return sdp.MediaDescription(
            kind="audio",
            port=self._port,
            protocol=protocol,
            formats=tuple(numbers),
            attributes=(*attributes, ("ptime", str(ptime_ms)), (direction, None)),
        )

    def _describe(self) -> bytes:
        described = tuple(self._lines)
        if described != self._described:
            self._version += 1  # Only a change increments it (RFC 3264 8).
            self._described = described
        description = sdp.SessionDescription(
            origin=sdp.Origin("-", str(self._session_id), str(self._version), self._origin),
            connection=self._address,
            media=described,
            attributes=() if self._ice is None else self._ice.session_lines,
        )
        return bytes(description)


def is_declined(body: bytes) -> bool:
    """Whether an answer rejects the audio: each audio line has port 0 (RFC 3264 6)."""
    try:
        lines = [media for media in sdp.read(body).media if media.kind == "audio"]
    except RemoteProtocolError:
        return False
    return bool(lines) and not any(media.port for media in lines)


def judge_offer(
    offer: sdp.SessionDescription, formats: Sequence[AudioFormat], security: MediaSecurity
) -> None:
    """Check that an offer can be answered, before the user is alerted. This changes no state.

    Raises:
        RemoteProtocolError: 488, when no audio line has a codec of ``formats`` and an encryption
            that ``security`` allows.
    """
    security.choose(offer, _common_lines(offer, formats))


def _common_lines(
    description: sdp.SessionDescription, formats: Sequence[AudioFormat]
) -> list[sdp.MediaDescription]:
    """The audio lines that have a codec in common with us.

    Raises:
        RemoteProtocolError: 488, when there are audio lines, but none has a codec in common.
    """
    lines = audio_lines(description)
    common = [media for media in lines if best_format(formats, media.rtpmaps()) is not None]
    if lines and not common:
        raise RemoteProtocolError("no codec in common", 488)
    return common


def _packet_length(media: sdp.MediaDescription, number: int, form: AudioFormat) -> int:
    """The length in milliseconds of the packets that we send to the peer.

    a=ptime is one value for all formats (RFC 8866 6.4), and peers give that of their first one. So
    it does not lengthen the packets of another one that we have shorter than usual: those of 20 ms
    may not fit into a packet of the network.
    """
    length = media.ptime or form.ptime_ms
    if form.ptime_ms < _USUAL_PACKET_MS and media.formats[0] != str(number):
        length = min(length, form.ptime_ms)
    return min(length, media.maxptime or _LONGEST_PACKET_MS)


def _other_clock(event: tuple[int, int] | None, form: AudioFormat) -> int | None:
    return event[1] if event and event[1] != form.clock_rate else None


def _ways(agreed: Agreed) -> tuple[Address, ...]:
    """The destination of RTP, and that of RTCP if it differs."""
    return tuple(dict.fromkeys((agreed.remote, agreed.remote_rtcp)))


def _extended_reports(
    description: sdp.SessionDescription, media: sdp.MediaDescription
) -> frozenset[str]:
    """The reports in ``a=rtcp-xr`` at the media or the session level (RFC 3611 section 5.1)."""
    value = media.attribute("rtcp-xr")
    if value is None:
        value = description.attribute("rtcp-xr")
    if not value:
        return frozenset()
    named = {part.partition("=")[0] for part in value.split()}
    return frozenset(named & _EXTENDED_REPORTS.keys())


def _numbers(media: sdp.MediaDescription) -> list[int]:
    """The payload types of a media line; formats that are not numbers are ignored."""
    numbers = [maybe_number(text, 127) for text in media.formats]
    return [number for number in numbers if number is not None]


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
