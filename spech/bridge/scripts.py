"""What a program has done with a call, step by step, in place of one bot from beginning to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from spech.bridge.records import CarriedCall, ConversationOutcome
from spech.bridge.url import WebSocketUrl
from spech.phone.call import Call


class PlaceCallFrom(Protocol):
    """Calls a number or a SIP URI; see :meth:`spech.Phone.call`."""

    def __call__(
        self, target: str, *, caller: str | None = None
    ) -> AbstractAsyncContextManager[Call]: ...


@dataclass(frozen=True, slots=True, eq=False)
class ScriptedCall:
    """A call that a script decides about.

    Attributes:
        carried: the call; it has none inside while it rings.
        place: calls another party, if programs may call it.
        answer: answers the call, if it is not, and returns it. It raises
            :class:`~spech.CallEnded` where the caller has given up.
        talk: lets a bot talk in the call, until one of them ends that; the call is answered when
            the bot is connected. Arguments are its URL and what it is told as custom parameters. It
            raises :class:`LinkFailed <spech.bridge.link.LinkFailed>` where there is no bot.
        ended: waits until the call is over.
    """

    carried: CarriedCall
    place: PlaceCallFrom
    answer: Callable[[], Awaitable[Call]]
    talk: Callable[[WebSocketUrl, Mapping[str, str]], Awaitable[ConversationOutcome]]
    ended: Callable[[], Awaitable[None]]


CallScript = Callable[[ScriptedCall], Awaitable[ConversationOutcome]]
"""Decides about one call. Where it fails, bots that take its place are tried; when it returns, the
call ends. One that it has not answered is rejected, with the status of the outcome."""
