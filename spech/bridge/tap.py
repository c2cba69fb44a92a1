"""A listener that hears a call of a bot, both sides, on a WebSocket of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from spech.bridge.access import Access
from spech.bridge.dialects.base import BotMessage, CallInfo, compact
from spech.bridge.dialects.raw import introduce
from spech.bridge.link import LinkFailed, open_link
from spech.bridge.url import WebSocketUrl
from spech.codecs.base import Samples
from spech.errors import LocalProtocolError
from spech.phone.call import Call
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def tapped(
    call: Call,
    info: CallInfo,
    target: WebSocketUrl,
    access: Access,
) -> AsyncIterator[None]:
    """Let a listener hear a call for a block. Where it fails, that is logged, and the call goes on.

    Args:
        call: the call.
        info: what the listener is told about the call.
        target: the listener.
        access: what its server is shown, and what TLS trusts.
    """
    async with open_scope() as nursery:
        nursery.start_soon(_serve, call, info, target, access)
        yield
        nursery.cancel_scope.cancel()


async def _serve(
    call: Call,
    info: CallInfo,
    target: WebSocketUrl,
    access: Access,
) -> None:
    try:
        filled = target.fill(info.called, info.caller, info.headers)
        async with open_link(filled, None, access) as link:

            def hear(pcm: Samples) -> None:
                link.send_pcm(pcm.astype("<i2", copy=False).tobytes())

            link.hand_to(_ignore)
            with call.tap(hear) as tap:
                told = introduce(info.sounding(call.codec, tap.rate)) | {"channels": 2}
                link.send((compact(told),))
                try:
                    await link.run()
                finally:
                    link.send((compact({"event": "end"}),))
    except (LinkFailed, LocalProtocolError) as error:
        _log.warning("call %s goes on without its listener: %s", call.call_id, error)


def _ignore(message: BotMessage) -> None:
    """A listener has nothing to say."""
