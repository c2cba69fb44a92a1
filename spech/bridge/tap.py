"""A listener that hears a call of a bot, both sides, on a WebSocket of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from spech.bridge.access import Access
from spech.bridge.dialects.base import BotMessage, CallInfo, compact
from spech.bridge.dialects.raw import introduce
from spech.bridge.link import LinkFailed, open_link
from spech.bridge.url import WebSocketUrl
from spech.codecs.base import Samples
from spech.phone.call import Call
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def tapped(
    call: Call,
    describe: Callable[[int], CallInfo],
    target: WebSocketUrl,
    access: Access,
) -> AsyncIterator[None]:
    """Let a listener hear a call for a block. Where it fails, that is logged, and the call goes on.

    Args:
        call: the call.
        describe: what the listener is told about the call, from the rate of the PCM in Hz.
        target: the listener.
        access: what its server is shown, and what TLS trusts.
    """
    async with open_scope() as nursery:
        nursery.start_soon(_serve, call, describe, target, access)
        yield
        nursery.cancel_scope.cancel()


async def _serve(
    call: Call,
    describe: Callable[[int], CallInfo],
    target: WebSocketUrl,
    access: Access,
) -> None:
    try:
        async with open_link(target, None, access) as link:

            def hear(pcm: Samples) -> None:
                link.send_pcm(pcm.astype("<i2", copy=False).tobytes())

            link.hand_to(_ignore)
            with call.tap(hear) as tap:
                link.send((compact(introduce(describe(tap.rate)) | {"channels": 2}),))
                try:
                    await link.run()
                finally:
                    link.send((compact({"event": "end"}),))
    except LinkFailed as error:
        _log.warning("call %s goes on without its listener: %s", call.call_id, error)


def _ignore(message: BotMessage) -> None:
    """A listener has nothing to say."""
