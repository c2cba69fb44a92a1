"""What the far end of a call asks for when it transfers us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from spech.errors import CallEnded
from spech.sip.call.transfer import Referral
from spech.sip.endpoint import Endpoint
from spech.sip.message.message import REASONS

if TYPE_CHECKING:
    from spech.phone.call import Call

#: Calls whom a referral names, as ``phone.call`` does.
Place = Callable[[Referral, Sequence[str] | None, str | None], "AbstractAsyncContextManager[Call]"]


class TransferRequest:
    """The far end asks us to talk to somebody else (RFC 5589). Follow it, or reject it.

    Made by :meth:`Call.transfers`. Who asked is told how it goes, and usually hangs up when the new
    call is answered.
    """

    def __init__(self, referral: Referral, place: Place, endpoint: Endpoint) -> None:
        self._referral = referral
        self._place = place
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return f"<TransferRequest to {self.target}>"

    @property
    def target(self) -> str:
        """The SIP URI of whom to call."""
        return str(self._referral.target)

    @property
    def referred_by(self) -> str | None:
        """Who asks, as they say themselves (RFC 3892); not proven."""
        return self._referral.referred_by

    def reject(self, status: int = 603) -> None:
        """Do not follow it; the present call goes on. Does nothing once it was followed."""
        with self._endpoint.command():
            self._referral.progress(status, REASONS.get(status, ""))

    @asynccontextmanager
    async def follow(
        self, codecs: Sequence[str] | None = None, *, caller: str | None = None
    ) -> AsyncIterator[Call]:
        """Call whom it names; leaving the block hangs that call up. The old call is not touched.

        Args:
            codecs: names in order of preference; the phone's own unless told otherwise.
            caller: a SIP URI to call from, in place of the account's.

        Raises:
            CallEnded: it was rejected, or nobody waits for it any more.
            ServerUnreachable: the host is unknown.
            PortsExhausted: no RTP port is free.
            CodecUnavailable: a name in ``codecs`` is unknown or lacks its library.
        """
        if self._referral.over:
            raise CallEnded("The transfer is over.")
        try:
            async with self._place(self._referral, codecs, caller) as call:
                yield call
        finally:
            self.reject(480)  # Who asked learns how it went at the latest now.
