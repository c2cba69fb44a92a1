"""Which bots a call may have, and the connection to the first of them that can be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from spech.bridge.access import Access
from spech.bridge.audiosocket import AudioSocketLink, open_audiosocket
from spech.bridge.dialects import find
from spech.bridge.dialects.base import CallInfo, Dialect
from spech.bridge.link import BotLink, LinkFailed, open_link
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.errors import LocalProtocolError

Reached = tuple[BotLink | AudioSocketLink, Dialect]
"""An open connection to a bot, and what the bot speaks."""


class Bots:
    """The bots of a bridge.

    Args:
        routes: the URL of the first bot of each call.
        others: those to try in turn after it.
        protocol: the name of the dialect that they speak.
        access: what is shown to their servers, and asked from them.

    Raises:
        LocalProtocolError: the protocol is unknown, or not that of a URL.
    """

    def __init__(
        self, routes: Routes, others: Sequence[WebSocketUrl], protocol: str, access: Access
    ) -> None:
        self._routes = routes
        self._others = tuple(others)
        self._make: Final[Callable[[], Dialect]] = find(protocol)
        self._audiosocket = protocol.startswith("audiosocket")
        self._access = access
        for bot in (*routes.bots, *others):
            self._check(bot)
        self._servers = {bot.server for bot in (*routes.bots, *others)}

    def _check(self, bot: WebSocketUrl) -> None:
        if bot.audiosocket != self._audiosocket:
            raise LocalProtocolError(
                "audiosocket needs tcp://host:port, and no other protocol has it"
            )

    def choose(self, number: str, url: str | None = None) -> WebSocketUrl:
        """The first bot of a call.

        Args:
            number: by which the routes choose.
            url: the bot that a program names, in place of what the routes say.

        Raises:
            LocalProtocolError: the URL is none, or not one for the protocol.
            LinkFailed: there is no bot for the number.
        """
        if url is not None:
            bot = WebSocketUrl.parse(url)
            self._check(bot)
            return bot
        found = self._routes.find(number)
        if found is None:
            raise LinkFailed("there is no route for it", 404)
        return found

    def of(self, call: CallInfo, first: WebSocketUrl | None = None) -> Targets:
        """The bots that a call may have, with the values of the call in their URLs.

        Args:
            call: the call.
            first: the one to try first; None where there are only those that take its place.

        Raises:
            LinkFailed: they do not fit.
        """
        return self._filled(call, self._others if first is None else (first, *self._others))

    def only(self, call: CallInfo, bot: WebSocketUrl) -> Targets:
        """One bot that nothing takes the place of.

        Raises:
            LinkFailed: values of the call do not fit.
        """
        return self._filled(call, (bot,))

    def _filled(self, call: CallInfo, bots: Iterable[WebSocketUrl]) -> Targets:
        try:
            filled = [bot.fill(call.called, call.caller, call.headers) for bot in bots]
        except LocalProtocolError as error:
            raise LinkFailed(str(error), 404) from error
        return Targets(filled, self._make, self._open)

    def _open(
        self, bot: WebSocketUrl, dialect: Dialect
    ) -> AbstractAsyncContextManager[BotLink | AudioSocketLink]:
        if bot.audiosocket:
            return open_audiosocket(bot)
        # The operator has not told secrets to servers that only a program names.
        access = self._access if bot.server in self._servers else self._access.public
        return open_link(bot, dialect.subprotocol, access)


class Targets:
    """The bots to try for one call, in turn. It is false when all have been tried.

    Made by :meth:`Bots.of`.
    """

    def __init__(
        self,
        bots: Sequence[WebSocketUrl],
        make: Callable[[], Dialect],
        open_bot: Callable[
            [WebSocketUrl, Dialect], AbstractAsyncContextManager[BotLink | AudioSocketLink]
        ],
    ) -> None:
        self._bots = deque(bots)
        self._make = make
        self._open_bot = open_bot

    def __bool__(self) -> bool:
        return bool(self._bots)

    @asynccontextmanager
    async def reach(self) -> AsyncIterator[Reached]:
        """Connect to the first bot that can be reached; those tried are not tried again.

        Raises:
            LinkFailed: none can be reached.
        """
        if not self._bots:
            raise LinkFailed("no bot is left")
        while True:
            dialect = self._make()
            async with AsyncExitStack() as stack:
                try:
                    opened = self._open_bot(self._bots.popleft(), dialect)
                    link = await stack.enter_async_context(opened)
                except LinkFailed:
                    if not self._bots:
                        raise
                    continue
                yield link, dialect
                return
