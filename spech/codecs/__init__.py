"""The registry of codecs: which exist, which work here, and how to make one.

Other packages add codecs by an entry point of the group ``spech.codecs`` that names a
:class:`CodecMaker`, or a sequence of them::

    [project.entry-points."spech.codecs"]
    mine = "my_package.my_codec:MAKER"

A codec name may be followed by settings, in the syntax of SIP parameters:
``opus;bitrate=24000;complexity=8``. Every codec has ``ptime``, the milliseconds of a packet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from spech.codecs.base import (
    BaseCodec,
    Codec,
    CodecInfo,
    CodecMaker,
    Impairment,
    Samples,
    band_of,
)
from spech.codecs.resample import Resampler
from spech.errors import CodecUnavailable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "DEFAULT",
    "ENTRY_POINTS",
    "BaseCodec",
    "Codec",
    "CodecInfo",
    "CodecMaker",
    "Impairment",
    "Resampler",
    "Samples",
    "clock_rate",
    "create",
    "describe",
    "impairment",
    "names",
]

_log: Final = logging.getLogger(__name__)

DEFAULT = ("PCMU", "PCMA")
"""The codecs that are offered by default."""

ENTRY_POINTS = "spech.codecs"
"""The group of entry points by which other packages bring codecs."""

_PTIMES = range(10, 201)
_UNKNOWN = Impairment(10.0, 10.0)
_ALIASES = {"l16": "l16/16000", "ilbc": "ilbc/20", "ulaw": "pcmu", "alaw": "pcma"}


def create(name: str) -> Codec:
    """Make a codec for one call; ``name`` as in :func:`names`, in any case, ``L16`` for L16/16000.

    Settings may follow: ``opus;bitrate=24000;complexity=8``, ``PCMU;ptime=40``.

    Raises:
        CodecUnavailable: the name is unknown, the codec's library is not installed, or it has no
            such setting.
    """
    plain, *settings = name.split(";")
    wanted = plain.strip().lower()
    known = _makers()
    maker = known.get(_ALIASES.get(wanted, wanted))
    if maker is None:
        listed = ", ".join(maker.info.name for maker in known.values())
        raise CodecUnavailable(f"unknown codec {name!r}; known are {listed}")
    if not maker.info.available:
        package = maker.info.package
        raise CodecUnavailable(f"{maker.info.name} needs the package {package}, not installed here")
    chosen = dict(_setting(maker, text) for text in settings)
    ptime = chosen.pop("ptime", None)
    codec = maker.make(**chosen)
    if ptime is not None:
        codec.ptime_ms = ptime
    return codec


@lru_cache(maxsize=256)
def clock_rate(name: str) -> int:
    """The RTP clock of a codec in Hz; ``name`` and errors as for :func:`create`."""
    return create(name).clock_rate


def _setting(maker: CodecMaker, text: str) -> tuple[str, int]:
    """One ``name=number`` behind the name of a codec."""
    known = {**maker.settings, "ptime": _PTIMES}
    name, _, value = (part.strip() for part in text.partition("="))
    name = name.lower()
    if name not in known:
        listed = " and ".join(known)
        raise CodecUnavailable(f"{maker.info.name} has no setting {name!r}, only {listed}")
    allowed = known[name]
    # int() would take spaces, signs, underscores and the digits of other scripts too.
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) in allowed):
        raise CodecUnavailable(
            f"{name} of {maker.info.name} is a number from {allowed[0]} to {allowed[-1]}, "
            f"not {value!r}"
        )
    return name, int(value)


def names() -> tuple[str, ...]:
    """The names of all codecs that :func:`create` can make here."""
    return tuple(info.name for info in describe() if info.available)


def describe() -> tuple[CodecInfo, ...]:
    """Every codec that Spech knows, also those whose library is missing here."""
    return tuple(maker.info for maker in _makers().values())


def impairment(name: str) -> Impairment:
    """The impairment of a codec in the E-model; an estimate for one that does not state it.

    The estimate is that of a good speech codec with some concealment, on the scale of its rate.
    """
    maker = _makers().get(name.lower())
    if maker is None:
        return _UNKNOWN
    return maker.info.impairment or replace(_UNKNOWN, band=band_of(maker.info.rate))


@cache
def _makers() -> dict[str, CodecMaker]:
    """By name in lower case: our own, and then those of other packages."""
    # Loaded here, because that takes a while: some codecs look for libraries of the system.
    from importlib.metadata import entry_points

    from spech.codecs import g711, g722, g729, gsm, ilbc, l16, opus, speex

    modules = (g711, g722, opus, g729, gsm, ilbc, speex, l16)
    makers = {maker.info.name.lower(): maker for module in modules for maker in module.MAKERS}
    for entry in entry_points(group=ENTRY_POINTS):
        for maker in _brought_by(entry):
            if makers.setdefault(maker.info.name.lower(), maker) is not maker:
                _log.warning("%s brings %s, which is there already", entry.value, maker.info.name)
    return makers


def _brought_by(entry: EntryPoint) -> Iterator[CodecMaker]:
    """What an entry point names. One that fails takes no other codec with it."""
    try:
        loaded = entry.load()
    except Exception:
        _log.exception("the codecs of %s could not be loaded", entry.value)
        return
    yield from (loaded,) if isinstance(loaded, CodecMaker) else loaded
