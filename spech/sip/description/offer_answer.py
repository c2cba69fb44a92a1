"""Offer and answer for one audio stream (RFC 3264), in plain values.

Knows encodings by name only: what a codec is, the media floors know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from spech.addresses import Address, numeric
from spech.agreement import Agreed, IceAgreement, local_candidates
from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation
from spech.sip.description.media_security import MediaSecurity, audio_lines
from spech.sip.message.grammar import maybe_number

#: The first dynamic payload type we hand out; 101 is left to telephone-event, as is usual.
_DYNAMIC: Final = 96
_TELEPHONE_EVENT: Final = 101
#: Comfort noise at 8 kHz (RFC 3389 4); at other rates it has a dynamic number.
_COMFORT_NOISE: Final = 13
_COMFORT_NOISE_CLOCK: Final = 8000

#: The most that an RTP packet should hold (RFC 3551 4.2).
_LONGEST_PACKET_MS: Final = 200

#: Numbers that an RTP packet with the marker shares with RTCP on the same port (RFC 5761 4).
_LIKE_RTCP: Final = range(64, 96)

#: The extended reports that we write and read (RFC 3611 section 5.1): the round trip of those who
#: only listen, and how a call sounds.
_EXTENDED_REPORTS: Final = {"rcvr-rtt": "rcvr-rtt=all", "voip-metrics": "voip-metrics"}

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
    again unless it is given. ``ptime_ms`` is the length of a packet that we ask for.
    """

    name: str
    encoding: str
    clock_rate: int
    payload_type: int | None = None
    fmtp: str | None = None
    channels: int = 1
    answer: Callable[[str | None], str | None] | None = field(default=None, compare=False)
    #: Whether comfort noise (RFC 3389) may stand beside it: it describes no pauses by itself.
    comfort_noise: bool = False
    ptime_ms: int = 20

    def matches(self, encoding: str, clock_rate: int, channels: int) -> bool:
        """Whether an rtpmap means this codec (names ignore case, RFC 4855)."""
        return (
            encoding.lower() == self.encoding.lower()
            and clock_rate == self.clock_rate
            and channels == self.channels
        )


class Negotiator:
    """Our side of the offer/answer exchanges of one session.

    ``address`` and ``port`` are where RTP reaches us, and RTCP one above or at ``rtcp_port``. RTCP
    shares the port of RTP (RFC 5761) where they offer that; we do together with ``ice`` alone.
    ``security`` decides on encryption; without it the sound is plain.
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
        #: Where the session began; it names the session and stays (RFC 3264 8).
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
        #: The media lines as last described, and which of them is ours.
        self._lines = [sdp.MediaDescription("audio", port, "RTP/AVP", ())]
        self._slot = 0
        #: What we want: "sendrecv", or "sendonly" while we hold the call.
        self.direction = "sendrecv"
        self._payload_types: dict[AudioFormat, int] = {}
        self._event_types: dict[int, int] = {}
        self._noise_types: dict[int, int] = {}
        for form in self._formats:
            number = form.payload_type
            self._payload_types[form] = (
                self._free_number([_TELEPHONE_EVENT]) if number is None else number
            )
        # telephone-event runs on the clock of the codec beside it (RFC 4733 2.1), so each clock
        # rate among the codecs gets one.
        for rate in dict.fromkeys(form.clock_rate for form in self._formats):
            first = not self._event_types
            self._event_types[rate] = _TELEPHONE_EVENT if first else self._free_number()
        if comfort_noise:
            for rate in dict.fromkeys(
                form.clock_rate for form in self._formats if form.comfort_noise
            ):
                static = rate == _COMFORT_NOISE_CLOCK
                self._noise_types[rate] = _COMFORT_NOISE if static else self._free_number()

    @property
    def confidential(self) -> bool:
        """Whether our descriptions hold keys that only encrypted signalling may carry."""
        return self._security.confidential

    def offer(self) -> bytes:
        """A session description with every format, preferred first; hold is in its direction.

        In a running session it keeps the other media lines where they are, rejected, and the
        payload types that have been agreed on (RFC 3264 8).
        """
        attributes: list[tuple[str, str | None]] = []
        numbers: list[str] = []
        for form in self._formats:
            number = self._payload_types[form]
            numbers.append(str(number))
            attributes += _format_lines(number, form, form.fmtp)
        for rate, number in self._event_types.items():
            numbers.append(str(number))
            attributes += _event_lines(number, rate)
        for rate, number in self._noise_types.items():
            numbers.append(str(number))
            attributes.append(("rtpmap", f"{number} CN/{rate}"))
        if self._ice is not None:
            attributes += self._ice.offer()
            self._mux = self._mux or self._ice.offered
        attributes.append(("rtcp-xr", " ".join(_EXTENDED_REPORTS.values())))
        protocol, keys = self._security.offer()
        # With DTLS-SRTP it saves a second handshake.
        self._mux = self._mux or self._security.dtls_offered
        self._lines[self._slot] = self._audio_line(
            protocol, numbers, (*attributes, *keys), self.direction, self._formats[0].ptime_ms
        )
        return self._describe()

    def move(self, address: str, port: int) -> None:
        """RTP is received elsewhere from the next description on."""
        self._address, self._port, self._rtcp_port = address, port, None
        self._security.renew()
        if self._ice is not None:
            self._ice.move(local_candidates([(address, port), (address, port + 1)]))
        self._described = ()  # A change, whatever the media lines say.

    def receive_answer(self, body: bytes) -> Agreed:
        """What their answer to our offer means.

        Raises:
            RemoteProtocolError: unreadable, or no codec in common (488).
        """
        description = sdp.parse(body)
        media = next(iter(audio_lines(description)), None)
        if media is None:
            raise RemoteProtocolError("the answer has no audio", 488)
        for text in media.formats:
            number = _number(text)
            form = self._form_of(number, media)
            if form is None and number not in media.rtpmaps():
                # An answer that does not explain a number means what we offered by it.
                form = next(
                    (one for one, ours in self._payload_types.items() if ours == number), None
                )
            if form is not None:
                agreed = self._agreed(description, media, form, mux=self._mux and media.muxed)
                security = self._security.receive_answer(description, media)
                event = _event_number(media, form.clock_rate)
                noise = _noise_number(media, form)
                return replace(
                    agreed,
                    payload_type_send=number,
                    payload_type_receive=self._payload_types[form],
                    telephone_event_send=event,
                    telephone_event_receive=self._event_types.get(form.clock_rate),
                    comfort_noise_send=noise,
                    comfort_noise_receive=noise and self._noise_types.get(form.clock_rate),
                    fmtp=media.fmtps().get(number),
                    security=security,
                    ice=None
                    if self._ice is None
                    else self._ice.receive_answer(description, media, _ways(agreed)),
                )
        raise RemoteProtocolError("the answer has no codec that was offered", 488)

    def receive_offer(self, body: bytes) -> tuple[bytes, Agreed]:
        """Answer their offer with its first codec that we have (RFC 3264 6.1).

        Raises:
            RemoteProtocolError: unreadable (400), or nothing in common (488).
        """
        description = sdp.parse(body)
        choice = self._security.choose(description)
        media = choice.media
        forms = ((_number(text), self._form_of(_number(text), media)) for text in media.formats)
        number, form = next((pair for pair in forms if pair[1] is not None), (0, None))
        if form is None:
            raise RemoteProtocolError("no codec in common", 488)
        # We answer with their numbers, so that both directions use the same ones.
        event = _event_number(media, form.clock_rate)
        self._mux = media.muxed and number not in _LIKE_RTCP and event not in _LIKE_RTCP
        agreed = self._agreed(description, media, form, mux=self._mux)
        keys, security = self._security.answer(choice)
        self._adopt(media)
        offered_fmtp = media.fmtps().get(number)
        fmtp = form.fmtp if form.answer is None else form.answer(offered_fmtp)
        attributes = _format_lines(number, form, fmtp)
        numbers = [str(number)]
        if event is not None:
            numbers.append(str(event))
            attributes += _event_lines(event, form.clock_rate)
        noise = _noise_number(media, form)
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
        # Every m= line is answered, in order; those that we do not take get port 0 (RFC 3264 6).
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
            telephone_event_send=event,
            telephone_event_receive=event,
            comfort_noise_send=noise,
            comfort_noise_receive=noise,
            fmtp=offered_fmtp,
            security=security,
            ice=ice,
        )

    # ------------------------------------------------------------------ payload types

    def _form_of(self, number: int, media: sdp.MediaDescription) -> AudioFormat | None:
        """Which of our formats a number in their description means."""
        means = media.rtpmaps().get(number)
        for form in self._formats:
            if form.matches(*means) if means else number == form.payload_type:
                return form
        return None

    def _adopt(self, media: sdp.MediaDescription) -> None:
        """Use their numbers from now on, also in our offers: a number never changes its meaning."""
        maps = media.rtpmaps()
        theirs = {number for text in media.formats if (number := _number(text)) >= 0} | set(maps)
        for form, ours in tuple(self._payload_types.items()):
            known = next((one for one in maps if form.matches(*maps[one])), None)
            if known is not None and str(known) in media.formats:
                self._payload_types[form] = known
            elif form.payload_type is None and ours in theirs:
                self._payload_types[form] = self._free_number(theirs)
        for rate, ours in tuple(self._event_types.items()):
            event = _event_number(media, rate)
            if event is not None:
                self._event_types[rate] = event
            elif ours in theirs or ours in self._payload_types.values():
                self._event_types[rate] = self._free_number(theirs)
        for rate, ours in tuple(self._noise_types.items()):
            noise = _type_number(media, "CN", rate)
            if noise is not None:
                self._noise_types[rate] = noise
            elif rate != _COMFORT_NOISE_CLOCK and ours in theirs:
                self._noise_types[rate] = self._free_number(theirs)

    def _free_number(self, taken: Collection[int] = ()) -> int:
        used = {
            *self._payload_types.values(),
            *self._event_types.values(),
            *self._noise_types.values(),
            *taken,
        }
        return next(number for number in range(_DYNAMIC, 128) if number not in used)

    # ------------------------------------------------------------------ descriptions

    def _agreed(
        self,
        description: sdp.SessionDescription,
        media: sdp.MediaDescription,
        form: AudioFormat,
        *,
        mux: bool,
    ) -> Agreed:
        """Addresses and direction. The numbers differ between offerer and answerer."""
        host = media.connection or description.connection or ""
        if numeric(host) is None:
            # A name would need DNS in the middle of a negotiation; nobody sends one in practice.
            raise RemoteProtocolError(f"{host!r} is not a numeric address", 488)
        theirs = media.direction
        if host in ("0.0.0.0", "::"):
            # The hold of RFC 2543; nothing can be sent there.
            theirs = "inactive" if theirs in ("inactive", "recvonly") else "sendonly"
        direction = _MIRROR[theirs]
        if self.direction == "sendonly":  # We hold: we never receive.
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
            ptime_ms=min(media.ptime or form.ptime_ms, media.maxptime or _LONGEST_PACKET_MS),
            extended_reports=_extended_reports(description, media),
        )

    def _audio_line(
        self,
        protocol: str,
        numbers: list[str],
        attributes: sdp.Attributes,
        direction: str,
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
            self._version += 1  # Only a change counts (RFC 3264 8).
            self._described = described
        description = sdp.SessionDescription(
            origin=sdp.Origin("-", str(self._session_id), str(self._version), self._origin),
            connection=self._address,
            media=described,
            attributes=() if self._ice is None else self._ice.session_lines,
        )
        return bytes(description)


def _ways(agreed: Agreed) -> tuple[Address, ...]:
    """Where RTP goes, and RTCP unless it goes there too."""
    return tuple(dict.fromkeys((agreed.remote, agreed.remote_rtcp)))


def _extended_reports(
    description: sdp.SessionDescription, media: sdp.MediaDescription
) -> frozenset[str]:
    """Those of ``a=rtcp-xr``, which may stand at either level (RFC 3611 section 5.1)."""
    value = media.attribute("rtcp-xr")
    if value is None:
        value = description.attribute("rtcp-xr")
    named = {part.partition("=")[0] for part in (value or "").split()}
    return frozenset(named & _EXTENDED_REPORTS.keys())


def _number(text: str) -> int:
    number = maybe_number(text, 127)
    return -1 if number is None else number


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
    return _type_number(media, "telephone-event", rate)


def _noise_number(media: sdp.MediaDescription, form: AudioFormat) -> int | None:
    """The number of comfort noise on the clock of a codec, where it may stand beside it."""
    if not form.comfort_noise:
        return None
    number = _type_number(media, "CN", form.clock_rate)
    static = str(_COMFORT_NOISE)
    if number is None and form.clock_rate == _COMFORT_NOISE_CLOCK and static in media.formats:
        return None if _COMFORT_NOISE in media.rtpmaps() else _COMFORT_NOISE
    return number


def _type_number(media: sdp.MediaDescription, encoding: str, rate: int) -> int | None:
    for number, (name, clock_rate, _) in media.rtpmaps().items():
        if name.lower() == encoding.lower() and clock_rate == rate and str(number) in media.formats:
            return number
    return None
