"""Connects two calls with each other, and follows transfers of their far ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from spech.audio.room import Room
from spech.errors import CallEnded, LocalProtocolError, SpechError
from spech.phone.call import Call
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)
#: Seconds that the target of a transfer rings.
_PATIENCE: Final = 60.0


async def connect(
    one: Call,
    other: Call,
    *,
    callers: tuple[str | None, str | None] = (None, None),
    codecs: Sequence[str] | None = None,
) -> None:
    """Connect the far ends of two calls that are up, until one of them hangs up.

    Sound and digits go both ways. If one far end is put on hold by its user, the other is put on
    hold as well. If one asks for a transfer, its target is called and takes its place. The calls
    may have different codecs and belong to different phones. Neither is hung up here, and each has
    its own sound again after a cancellation.

        async with incoming.answer() as near, phone.call("601") as far:
            await far.answered(timeout=30)
            await connect(near, far)

    Args:
        one: a call; it leaves the room that it is in.
        other: another one.
        callers: who is on ``one`` and who on ``other``, as :meth:`Phone.call` takes it. The target
            of a transfer is shown the one who is connected with it; the account by default.
        codecs: see :func:`attend`.
    """

    async def carry_to_other(one: Call) -> None:
        await attend(other, lambda other: _carry(one, other), caller=callers[0], codecs=codecs)

    await attend(one, carry_to_other, caller=callers[1], codecs=codecs)


async def attend(
    call: Call,
    handler: Callable[[Call], Awaitable[object]],
    *,
    caller: str | None = None,
    codecs: Sequence[str] | None = None,
) -> None:
    """Run ``handler(call)``; after a transfer, run it again with the call to the target.

    It returns when the handler does. While a transfer is in progress the handler continues. When
    the target answers, the handler is cancelled and called with the new call, which is hung up when
    that returns. A transfer that fails is logged.

    Args:
        call: one that is up.
        handler: an async function. It should return when its call ends.
        caller: who calls the target of a transfer, as :meth:`Phone.call` takes it; the account by
            default.
        codecs: names to offer to the target after the codec in use; the phone's own by default.
    """
    requests = call.transfers()

    async def follow() -> None:
        async for request in requests:
            offered = codecs and list(dict.fromkeys([*filter(None, [call.codec]), *codecs]))
            try:
                async with request.follow(offered, caller=caller) as new:
                    await new.answered(timeout=_PATIENCE)
                    serving.cancel()
                    await attend(new, handler, caller=caller, codecs=codecs)
            except SpechError as error:
                _log.info("transfer to %s: %s", request.target, error)
            if serving.cancel_called:
                nursery.cancel_scope.cancel()  # The new call has taken the place of this one.

    async with open_scope() as nursery:
        with trio.CancelScope() as serving:
            nursery.start_soon(follow)
            await handler(call)
        if not serving.cancel_called and call.state != "ended":
            nursery.cancel_scope.cancel()  # The handler is done; a transfer may not be.


async def _carry(one: Call, other: Call) -> None:
    """Carry sound, digits and hold both ways until either call ends."""
    room = Room()
    with suppress(CallEnded):
        members = one.join(room), other.join(room)
        try:
            async with open_scope() as nursery:
                for source, target in ((one, other), (other, one)):
                    nursery.start_soon(_carry_digits, source, target)
                    nursery.start_soon(_carry_hold, source, target, nursery.cancel_scope)
        finally:
            for member in members:
                member.leave()


async def _carry_digits(source: Call, target: Call) -> None:
    with suppress(CallEnded):
        while True:
            digit = await source.collect_digits(1, terminator=None)
            with suppress(LocalProtocolError):  # It is on hold, or takes no digits.
                target.send_dtmf(digit)


async def _carry_hold(source: Call, target: Call, scope: trio.CancelScope) -> None:
    """Put ``target`` on hold while its partner is; cancel ``scope`` when ``source`` has ended."""
    with suppress(CallEnded):
        while source.state != "ended":
            if source.held is not target.on_hold:
                (target.hold if source.held else target.resume)()
            await source.changed()
    scope.cancel()
