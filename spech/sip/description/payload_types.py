"""Audio formats as SDP describes them, and the payload types of our descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from spech.sip.description.sdp import Meaning

_Key = TypeVar("_Key")

#: Dynamic payload types in order of preference: those of RFC 3551 6, then those that are unassigned
#: there and do not conflict with RTCP (RFC 5761 4).
_DYNAMIC: Final = (*range(96, 128), *range(35, 64))
#: The usual number of the first telephone-event.
_TELEPHONE_EVENT: Final = 101
#: Comfort noise at 8 kHz (RFC 3389 4); at other rates it has a dynamic number.
_COMFORT_NOISE: Final = 13
_COMFORT_NOISE_CLOCK: Final = 8000

#: Encodings with one clock rate and one number of channels, whatever an rtpmap says
#: (RFC 7587 4.1, RFC 3551 4.5.2): peers send ``opus/48000`` and ``G722/16000``.
_KNOWN_BY_NAME: Final = frozenset({"opus", "g722"})

_EVENT: Final = "telephone-event"
_NOISE: Final = "CN"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A codec as SDP describes it.

    ``name`` is the codec's name in the registry, the clock rate is in Hz. ``fmtp`` has the
    parameters that we offer; ``answer`` returns those of our answer to the parameters offered,
    None means ``fmtp``. ``ptime_ms`` is the packet length in milliseconds that we request.
    """

    name: str
    encoding: str
    clock_rate: int
    payload_type: int | None = None
    fmtp: str | None = None
    channels: int = 1
    answer: Callable[[str | None], str | None] | None = field(default=None, compare=False)
    #: Whether comfort noise (RFC 3389) may be used: the codec has no silence suppression.
    comfort_noise: bool = False
    ptime_ms: int = 20

    def matches(self, encoding: str, clock_rate: int, channels: int) -> bool:
        """Whether an rtpmap means this codec (names are case-insensitive, RFC 4855)."""
        name = encoding.lower()
        return name == self.encoding.lower() and (
            name in _KNOWN_BY_NAME or (clock_rate, channels) == (self.clock_rate, self.channels)
        )


class PayloadTypes:
    """The payload types of our offers in one session.

    A number never changes its meaning within a session (RFC 3264 8.3.2). A format for which no
    number is free is not offered.

    Attributes:
        audio: the number of each format.
        events: the number of telephone-event by clock rate. It runs on the clock of the codec
            (RFC 4733 2.1), so each clock rate among the formats has one.
        noise: the number of comfort noise by clock rate.
    """

    def __init__(self, formats: Sequence[AudioFormat], *, comfort_noise: bool) -> None:
        self._formats = tuple(formats)
        self.audio: dict[AudioFormat, int] = {}
        self.events: dict[int, int] = {}
        self.noise: dict[int, int] = {}
        for form in self._formats:
            number = form.payload_type
            _put(self.audio, form, self._free({_TELEPHONE_EVENT}) if number is None else number)
        self._event_rates = tuple(dict.fromkeys([form.clock_rate for form in self._formats]))
        for rate in self._event_rates:
            first = not self.events
            _put(self.events, rate, _TELEPHONE_EVENT if first else self._free())
        rates = [form.clock_rate for form in self._formats if form.comfort_noise and comfort_noise]
        self._noise_rates = tuple(dict.fromkeys(rates))
        for rate in self._noise_rates:
            _put(self.noise, rate, self._noise_number(rate))

    @property
    def meanings(self) -> dict[int, Meaning]:
        """The meaning of each number, in the form of :meth:`MediaDescription.rtpmaps`."""
        return {
            **{
                number: (form.encoding, form.clock_rate, form.channels)
                for form, number in self.audio.items()
            },
            **{number: (_EVENT, rate, 1) for rate, number in self.events.items()},
            **{number: (_NOISE, rate, 1) for rate, number in self.noise.items()},
        }

    def adopt(self, maps: Mapping[int, Meaning], numbers: set[int]) -> None:
        """Use the peer's numbers in our later offers.

        Args:
            maps: the meaning of the numbers in the peer's offer.
            numbers: all numbers in the peer's offer, including unknown ones.
        """
        for form in self._formats:
            before = self.audio.pop(form, form.payload_type)
            number = _number_of_format(maps, form)
            if number is None and (before not in numbers or form.payload_type is not None):
                number = before
            _put(self.audio, form, self._free(numbers) if number is None else number)
        for rate in self._event_rates:
            before = self.events.pop(rate, None)
            number = number_of(maps, _EVENT, rate)
            if number is None and before not in numbers | {*self.audio.values()}:
                number = before
            _put(self.events, rate, self._free(numbers) if number is None else number)
        for rate in self._noise_rates:
            before = self.noise.pop(rate, None)
            number = number_of(maps, _NOISE, rate)
            if number is None and before not in numbers:
                number = before
            _put(self.noise, rate, self._noise_number(rate, numbers) if number is None else number)

    def _noise_number(self, rate: int, taken: set[int] | None = None) -> int | None:
        return _COMFORT_NOISE if rate == _COMFORT_NOISE_CLOCK else self._free(taken)

    def _free(self, taken: set[int] | None = None) -> int | None:
        used = {*self.audio.values(), *self.events.values(), *self.noise.values(), *(taken or ())}
        return next((number for number in _DYNAMIC if number not in used), None)


def _put(numbers: dict[_Key, int], key: _Key, number: int | None) -> None:
    if number is not None:
        numbers[key] = number


def format_of(
    formats: Sequence[AudioFormat], number: int, maps: Mapping[int, Meaning]
) -> AudioFormat | None:
    """The one of ``formats`` that a payload type means; None when there is none."""
    meaning = maps.get(number)
    if meaning is not None:
        for form in formats:
            if form.matches(*meaning):
                return form
    return None


def best_format(
    formats: Sequence[AudioFormat], maps: Mapping[int, Meaning]
) -> tuple[int, AudioFormat] | None:
    """The first payload type that means one of ``formats``, and that one; None without any."""
    for number in maps:
        form = format_of(formats, number, maps)
        if form is not None:
            return number, form
    return None


def _number_of_format(maps: Mapping[int, Meaning], form: AudioFormat) -> int | None:
    for number, meaning in maps.items():
        if form.matches(*meaning):
            return number
    return None


def number_of(maps: Mapping[int, Meaning], encoding: str, rate: int) -> int | None:
    """The first payload type of an encoding at a clock rate in Hz."""
    wanted = encoding.lower()
    for number, (name, clock_rate, _) in maps.items():
        if clock_rate == rate and name.lower() == wanted:
            return number
    return None


def events_of(maps: Mapping[int, Meaning]) -> tuple[tuple[int, int], ...]:
    """Payload type and clock rate in Hz of each telephone-event."""
    return tuple(
        [(number, rate) for number, (name, rate, _) in maps.items() if name.lower() == _EVENT]
    )


def best_event(maps: Mapping[int, Meaning], rate: int) -> tuple[int, int] | None:
    """Payload type and clock rate in Hz of the telephone-event to send with a codec.

    It is the one at the codec's clock rate, as RFC 4733 2.1 requires, otherwise the one at 8 kHz,
    which many phones use with every codec, otherwise the first.
    """
    found = events_of(maps)
    for wanted in (rate, 8000):
        for event in found:
            if event[1] == wanted:
                return event
    return found[0] if found else None


def noise_of(maps: Mapping[int, Meaning], form: AudioFormat) -> int | None:
    """The payload type of comfort noise for a codec; None when it must not be used."""
    return number_of(maps, _NOISE, form.clock_rate) if form.comfort_noise else None
