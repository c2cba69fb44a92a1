"""The place of a worker at the front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from spech.front.channel import Channel
from spech.front.messages import ApiAnswer, ApiHeaders, ApiRequest, ToFront, ToWorker

#: Seconds that the control plane of a worker has for an answer.
_ANSWER_SECONDS: Final = 60.0


class Seat:
    """The place of one worker, which outlives the process.

    Attributes:
        index: its number, from 0.
        ready: whether its process takes calls.
        used: whether one of its processes did.
        answers: whether its process has answered the last :class:`Ping`.
        overrun: whether messages for its process were dropped, because it did not keep up.
        kill: ends its process, None where there is none.
        orders: calls that it is asked to place and has no record of yet.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.ready = self.used = self.answers = self.overrun = False
        self.kill: Callable[[], None] | None = None
        self.orders = 0
        self.channel: Channel[ToFront] | None = None
        self._asked: dict[int, trio.MemorySendChannel[ApiAnswer]] = {}
        self._number = 0

    def send(self, message: ToWorker) -> bool:
        """Tell its process; False where there is none."""
        if self.channel is None:
            return False
        self.channel.send(message)
        return True

    @property
    def behind(self) -> bool:
        """Whether its process does not keep up with what it is told."""
        return self.channel is not None and self.channel.behind

    async def ask(
        self, method: str, path: str, query: bytes, headers: ApiHeaders, body: bytes
    ) -> ApiAnswer | None:
        """The answer of its control plane; None if it gives none in time, or ends before that."""
        if not self.ready:
            return None
        self._number = number = self._number + 1
        answer_in, answer = trio.open_memory_channel[ApiAnswer](1)
        self._asked[number] = answer_in
        try:
            self.send(ApiRequest(number, method, path, query, headers, body))
            with trio.move_on_after(_ANSWER_SECONDS):
                return await answer.receive()
        except trio.EndOfChannel:
            pass
        finally:
            self._asked.pop(number, None)
        return None

    def receive_answer(self, answer: ApiAnswer) -> None:
        """Its control plane has answered."""
        waiting = self._asked.get(answer.number)
        if waiting is not None:
            waiting.send_nowait(answer)

    def clear(self) -> None:
        """Its process has ended."""
        self.ready = self.overrun = False
        self.channel = None
        for waiting in self._asked.values():
            waiting.close()
