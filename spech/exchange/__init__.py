"""A small exchange for trying the phone: accounts, extensions, calls between users, transfers.

    async with open_exchange(("127.0.0.1", 5060), {"alice": "secret"}) as exchange:
        ...register as sip:alice@127.0.0.1 and dial 600...

It is an ordinary program on Spech's library, and meant as a first example of its use.
"""

from __future__ import annotations

from spech.exchange.exchange import Exchange, open_exchange
from spech.exchange.extensions import EXTENSIONS, SERVICES, Extension, announcement
from spech.exchange.registrar import Registrar

__all__ = [
    "EXTENSIONS",
    "SERVICES",
    "Exchange",
    "Extension",
    "Registrar",
    "announcement",
    "open_exchange",
]
