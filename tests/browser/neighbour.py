"""A far end that the page can call without a PBX: a phone of the library in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType

import trio

from spech import Call, Phone, open_phone
from spech.testing.waiting import wait

from ..inside import session_of


class Neighbour:
    """Answers one call, and controls it as a test commands. Runs inside a ``with`` block."""

    def __init__(self, codecs: Sequence[str] = ("PCMU", "PCMA")) -> None:
        self._codecs = codecs
        self._ready = Event()
        self._phone: Phone | None = None
        self._call: Call | None = None
        self._scope: trio.CancelScope | None = None
        self._thread = Thread(target=lambda: trio.run(self._run), name="neighbour")

    def __enter__(self) -> Neighbour:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope = self._scope
        assert scope is not None
        with suppress(trio.RunFinishedError):  # The page has already ended the call.
            self._token.run_sync_soon(scope.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def address(self) -> str:
        """The address to dial."""
        assert self._phone is not None
        return f"sip:neighbour@127.0.0.1:{self._phone.address[1]}"

    def hold(self) -> None:
        self._do(Call.hold)

    def resume(self) -> None:
        self._do(Call.resume)

    def pass_on(self, target: str) -> None:
        """Transfer the page to that SIP URI."""
        self._token.run_sync_soon(self._targets.send_nowait, target)

    def _do(self, what: Callable[[Call], None]) -> None:
        wait(lambda: self._call is not None and session_of(self._call).is_up)
        call = self._call
        assert call is not None
        trio.from_thread.run_sync(what, call, trio_token=self._token)

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._targets, targets = trio.open_memory_channel[str](1)
        with trio.CancelScope() as self._scope:
            async with open_phone(
                listen=("127.0.0.1", 0), codecs=self._codecs, drain=1
            ) as self._phone:
                incoming_calls = self._phone.incoming_calls()
                self._ready.set()
                async with (await anext(incoming_calls)).answer() as self._call:
                    await self._call.transfer(await targets.receive())
                    await self._call.ended()
