"""Transfers: the far end is asked to call a number, or the far end of another call (RFC 5589)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spech.errors import CallEnded, CallFailed, LocalProtocolError
from spech.web.messages.calls import TransferState
from spech.web.texts import explain, explain_refer

if TYPE_CHECKING:
    from spech import Call


class PageTransfer:
    """One transfer that a page asked for, and its progress.

    Args:
        target: the number or the address that the far end is asked to call.
        to: the call whose far end is the target, in an attended transfer.
    """

    def __init__(self, target: str, to: Call | None = None) -> None:
        self._target = target
        self._to = to
        self._call: Call | None = None
        self._fault: tuple[int, str] | None = None
        #: Whether no further progress will come.
        self.over = False

    @property
    def done(self) -> bool:
        """Whether the far end talks to the target now."""
        return 200 <= self._progress[0] < 300

    @property
    def state(self) -> TransferState:
        """The ``transfer`` of the state feed."""
        status, text = self._fault or (self._progress[0], "")
        return TransferState(self._target, status, text, self.over)

    @property
    def _progress(self) -> tuple[int, str]:
        return (self._call.transfer_progress if self._call else None) or (100, "Trying")

    async def run(self, call: Call, notify: Callable[[], None]) -> None:
        """Carry out the transfer. If it fails, the call continues. Cancelling stops the waiting."""
        try:
            if self._to is None:
                transfer = call.transfer(self._target)
            else:
                transfer = call.transfer_to(self._to)
            self._call = call
            await transfer
        except CallFailed as error:
            text = explain(error.status, error.reason)
            if not call.transfer_accepted:
                text = explain_refer(error.status, error.reason)
            self._fault = error.status, text
        except LocalProtocolError:
            self._fault = 0, "This is neither a number nor a SIP address."
        except CallEnded:
            self._fault = None if self.done else (0, "This call is over.")
        finally:
            self.over = True
            notify()
