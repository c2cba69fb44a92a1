"""The registry of dialects: what servers of bots speak, and how to make one for a call.

Other packages add dialects by an entry point of the group ``spech.dialects``, whose name is that of
the dialect and whose value is called without arguments for each call::

    [project.entry-points."spech.dialects"]
    mine = "my_package.my_dialect:MyDialect"
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Final

from spech.bridge.dialects.asterisk import AsteriskDialect, AsteriskText
from spech.bridge.dialects.audiosocket import AudioSocket
from spech.bridge.dialects.base import Dialect
from spech.bridge.dialects.exotel import Exotel
from spech.bridge.dialects.jambonz import Jambonz
from spech.bridge.dialects.plivo import Plivo
from spech.bridge.dialects.raw import Raw
from spech.bridge.dialects.telnyx import Telnyx
from spech.bridge.dialects.twilio import Twilio
from spech.bridge.dialects.vonage import Vonage
from spech.errors import LocalProtocolError

DIALECT_ENTRY_POINTS: Final = "spech.dialects"
"""The group of entry points by which other packages bring dialects."""

_OWN: Final[dict[str, Callable[[], Dialect]]] = {
    "raw": Raw,
    "twilio": Twilio,
    "asterisk": AsteriskDialect,
    "asterisk-text": AsteriskText,
    "telnyx": Telnyx,
    "plivo": Plivo,
    "exotel": Exotel,
    "vonage": Vonage,
    "jambonz": Jambonz,
    "audiosocket": AudioSocket,
    "audiosocket-slin16": partial(AudioSocket, 16000),
    "audiosocket-slin24": partial(AudioSocket, 24000),
}

#: Those of our own in which a bot can answer a call.
_ANSWERING: Final = frozenset({"raw", "asterisk", "asterisk-text"})


def find(name: str) -> Callable[[], Dialect]:
    """What makes a dialect for each call.

    Raises:
        LocalProtocolError: the name is unknown, or what another package brings cannot be loaded.
    """
    if name in _OWN:
        return _OWN[name]
    for entry in entry_points(group=DIALECT_ENTRY_POINTS, name=name):
        try:
            maker: Callable[[], Dialect] = entry.load()
        except Exception as error:
            raise LocalProtocolError(f"{entry.value} cannot be loaded: {error}") from error
        return maker
    raise LocalProtocolError(f"unknown protocol {name!r}; known are {', '.join(names())}")


def can_answer(name: str) -> bool:
    """Whether a bot can answer a call that rings. What other packages bring is not known."""
    return name in _ANSWERING or name not in _OWN


def names() -> tuple[str, ...]:
    """The names of all dialects, our own first."""
    brought = (entry.name for entry in entry_points(group=DIALECT_ENTRY_POINTS))
    return tuple(dict.fromkeys((*_OWN, *brought)))
