"""The calls that programs ask a bridge to place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from spech.errors import CallFailed

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Texts = Annotated[Mapping[Text, str], msgspec.Meta(max_length=64)]


class CallOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call to place, and the bot that talks in it.

    Attributes:
        to: whom to call: a number or name at the account's server, or a SIP URI.
        caller: a user at the account's server or a SIP URI to call from; by default the account.
        display_name: the name to show with it.
        headers: header fields of the INVITE, besides the usual ones.
        timeout: seconds until the call must be answered.
        websocket: the URL of the bot; by default what the routes say about ``to``.
        parameters: what the bot is told as custom parameters, besides those of the bridge.
    """

    to: Text
    caller: Text | None = None
    display_name: Text | None = None
    headers: Texts = {}
    timeout: Annotated[float, msgspec.Meta(ge=1, le=600)] = 60.0
    websocket: Text | None = None
    parameters: Texts = {}


class CallRefused(CallFailed):
    """The bridge itself does not place a call: the target may not be called (403), there are too
    many calls, or the bridge is to end (503)."""
