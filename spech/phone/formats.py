"""From the names of codecs to what a session description says of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from spech import codecs
from spech.errors import CodecUnavailable
from spech.sip.description.payload_types import AudioFormat


def audio_formats(names: Sequence[str]) -> list[AudioFormat]:
    """The formats to negotiate, in the order of ``names``.

    Raises:
        CodecUnavailable: a codec is unknown or lacks its library, or there is none at all.
        TypeError: ``names`` is one name in place of several.
    """
    if isinstance(names, str):
        raise TypeError(f"codecs must be a list of names, such as [{names!r}], not {names!r}")
    if not names:
        raise CodecUnavailable("a call needs a codec, and none is named")
    return [_audio_format(name) for name in names]


@cache
def _audio_format(name: str) -> AudioFormat:
    codec = codecs.create(name)
    _, mark, settings = name.partition(";")
    return AudioFormat(
        codec.name + mark + settings,
        codec.encoding,
        codec.clock_rate,
        codec.payload_type,
        codec.fmtp,
        codec.channels,
        codec.answer,
        comfort_noise=not codec.dtx,
        ptime_ms=codec.ptime_ms,
    )
