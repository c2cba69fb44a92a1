"""A call that rings while its bot decides whether to answer it."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from spech.bridge.audiosocket import AudioSocketLink
from spech.bridge.dialects.base import (
    AnswerCall,
    BotMessage,
    CallInfo,
    CommandRefused,
    ConversationEnded,
    Dialect,
    EndCall,
    Reply,
    StartEarlyMedia,
    Started,
)
from spech.bridge.link import BotLink
from spech.errors import RemoteProtocolError
from spech.phone.incoming import IncomingCall
from spech.scopes import open_scope


@dataclass(frozen=True, slots=True)
class Rejected:
    """The call is not answered: with ``status`` by the bot, or None where the caller gave up."""

    status: int | None


Decision = AnswerCall | StartEarlyMedia | Rejected
"""What becomes of a call that rings."""


class RingingCall:
    """Asks a bot whether to answer a call. Sound that it sends meanwhile is dropped.

    Args:
        incoming: the call.
        link: the WebSocket.
        dialect: what the bot speaks.
        info: what the bot is told about the call.
    """

    def __init__(
        self,
        incoming: IncomingCall,
        link: BotLink | AudioSocketLink,
        dialect: Dialect,
        info: CallInfo,
    ) -> None:
        self._incoming = incoming
        self._link = link
        self._dialect = dialect
        self._info = info
        self._decision: Decision | None = None
        self._scope = trio.CancelScope()

    async def decide(self) -> Decision:
        """Wait for the decision of the bot, or of the caller.

        Raises:
            LinkFailed: the WebSocket broke.
        """
        self._link.send(self._dialect.tell(Started(self._info)))
        self._link.hand_to(self._receive)
        async with open_scope() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._follow_caller)
            await self._link.run()
            self._decide(Rejected(603))  # The bot has closed the WebSocket.
        decision = self._decision
        assert decision is not None
        if isinstance(decision, Rejected):
            cause = "hangup" if decision.status is None else "bot"
            ended = ConversationEnded(cause, decision.status or 487, "the call was not answered")
            self._link.send(self._dialect.tell(ended))
        return decision

    def _decide(self, decision: Decision) -> None:
        if self._decision is None:
            self._decision = decision
            self._scope.cancel()

    async def _follow_caller(self) -> None:
        await self._incoming.ended()
        self._decide(Rejected(None))

    def _receive(self, message: BotMessage) -> None:
        try:
            commands = tuple(self._dialect.read(message))
        except RemoteProtocolError:
            return
        for command in commands:
            match command:
                case AnswerCall() | StartEarlyMedia():
                    self._decide(command)
                case EndCall(status):
                    refusal = status if status is not None and status >= 400 else 603
                    self._decide(Rejected(refusal))
                case Reply(message):
                    self._link.send((message,))
                case bytes():
                    pass
                case _:
                    refused = CommandRefused(command, "the call is not answered")
                    self._link.send(self._dialect.tell(refused))
