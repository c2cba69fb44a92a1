"""The registry: which codecs there are, which of them work here, and how to make one."""

from __future__ import annotations

from collections.abc import Callable

from spech.codecs.base import Codec, CodecInfo, Samples
from spech.codecs.g711 import pcma, pcmu
from spech.codecs.l16 import LinearCodec
from spech.codecs.resample import Resampler
from spech.errors import CodecUnavailable

__all__ = [
    "DEFAULT",
    "Codec",
    "CodecInfo",
    "Resampler",
    "Samples",
    "create",
    "describe",
    "names",
]

DEFAULT = ("PCMU", "PCMA")
"""What is offered when the program does not say."""

_LINEAR_RATES = (8000, 16000, 24000, 32000, 44100, 48000)
_ALIASES = {"L16": "L16/16000", "ULAW": "PCMU", "ALAW": "PCMA"}

_MAKERS: dict[str, tuple[Callable[[], Codec], CodecInfo]] = {
    "PCMU": (pcmu, CodecInfo("PCMU", 8000, 64000, available=True)),
    "PCMA": (pcma, CodecInfo("PCMA", 8000, 64000, available=True)),
}
for _rate in _LINEAR_RATES:
    _MAKERS[f"L16/{_rate}"] = (
        lambda rate=_rate: LinearCodec(rate),  # type: ignore[misc]
        CodecInfo(f"L16/{_rate}", _rate, _rate * 16, available=True),
    )


def create(name: str) -> Codec:
    """Make a codec for one call; ``name`` as in :func:`names`, in any case, ``L16`` for L16/16000.

    Raises:
        CodecUnavailable: the name is unknown.
    """
    wanted = name.strip().upper()
    try:
        maker, _ = _MAKERS[_ALIASES.get(wanted, wanted)]
    except KeyError:
        raise CodecUnavailable(f"unknown codec {name!r}; known are {', '.join(_MAKERS)}") from None
    return maker()


def names() -> tuple[str, ...]:
    """The names of all codecs that :func:`create` can make here."""
    return tuple(name for name, (_, info) in _MAKERS.items() if info.available)


def describe() -> tuple[CodecInfo, ...]:
    """Every codec that Spech knows, also those whose library is missing here."""
    return tuple(info for _, info in _MAKERS.values())
