"""The options of ``spech bridge`` about programs that watch and control it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from spech import LocalProtocolError, Phone
from spech.bridge.access import Access, read_secret
from spech.bridge.bridge import Bridge
from spech.bridge.records import CallRecord
from spech.bridge.routes import compile_pattern
from spech.cli.failure import bridge_extra
from spech.cli.options import read_address
from spech.cli.output import Output
from spech.sip.transaction.flow import host_port
from spech.web.auth import is_loopback

if TYPE_CHECKING:
    from spech.bridge.api.metrics import BridgeMetrics
    from spech.bridge.twilio.application import Application


@dataclass(frozen=True)
class ControlPlane:
    """What tells programs about the calls of a bridge, and takes their orders.

    Attributes:
        address: where HTTP is served, None for nowhere.
        token: what requests must show.
        sounds: the folder with sounds to play.
        webhook: a URL to which is sent what becomes of calls, None for none.
        metrics: what is counted; None where nothing is served.
    """

    address: tuple[str, int] | None
    token: str | None
    sounds: Path | None
    webhook: str | None
    metrics: BridgeMetrics | None

    @asynccontextmanager
    async def watching(self, access: Access) -> AsyncIterator[Callable[[CallRecord], None]]:
        """For the time of a block, a function that takes records at each change of a call."""
        metrics = self.metrics

        def count(record: CallRecord) -> None:
            if metrics is not None and record.state == "ended":
                metrics.note(record)

        if self.webhook is None:
            yield count
            return
        from spech.bridge.webhooks import open_webhooks

        on_outcome = _ignore if metrics is None else metrics.note_webhook
        async with open_webhooks(self.webhook, access, on_outcome) as webhooks:

            def note(record: CallRecord) -> None:
                count(record)
                webhooks.note(record)

            yield note

    async def serve(
        self,
        bridge: Bridge,
        phone: Phone,
        output: Output,
        application: Application | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve HTTP until cancelled, if there is an address for it.

        Args:
            bridge: whose calls there are.
            phone: that of the bridge.
            application: the server that calls over Twilio's interface ask; None not to serve that.
            task_status: tells when it is served.
        """
        if self.metrics is not None:
            from spech.bridge.api.app import serve_api

            listener = await self.listen(output)
            task_status.started()
            await serve_api(
                bridge, phone, self.metrics, listener, self.token, self.sounds, application
            )
        task_status.started()

    async def listen(self, output: Output) -> trio.SocketListener:
        """Listen for HTTP, and tell where.

        Raises:
            OSError: that is not possible.
        """
        from spech.web.http import bind

        assert self.address is not None
        listener = await bind(*self.address)
        at = host_port(listener.socket.getsockname()[:2])
        output.tell(f"control plane at http://{at}/", event="serving", url=f"http://{at}/")
        return listener


def _ignore(taken: bool) -> None:
    """Nobody counts."""


def read_patterns(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Any, ...]:
    """Regular expressions, compiled."""
    try:
        return tuple(compile_pattern(value) for value in values)
    except LocalProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def read_webhook(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """``http://…`` or ``https://…``"""
    if value is not None:
        with bridge_extra("--webhook"):
            from spech.bridge.webhooks import check_webhook
        try:
            check_webhook(value)
        except LocalProtocolError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


def control_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options about programs. The command gets ``control``, ``callable_targets`` and
    ``show_digits``."""

    @functools.wraps(command)
    def collect(
        *,
        api: tuple[str, int] | None,
        api_token_file: Path | None,
        sounds: Path | None,
        webhook: str | None,
        **others: Any,
    ) -> None:
        if api is not None and api_token_file is None and not is_loopback(api[0]):
            raise click.UsageError("--api beyond loopback needs --api-token-file FILE")
        if api is None and sounds is not None:
            raise click.UsageError("--sounds is for what --api plays; give --api too")
        try:
            token = None if api_token_file is None else read_secret(api_token_file)
        except LocalProtocolError as error:
            raise click.UsageError(f"{error}.") from error
        metrics = None
        if api is not None:
            with bridge_extra("--api"):
                import spech.bridge.api.app  # noqa: F401
                from spech.bridge.api.metrics import BridgeMetrics

                metrics = BridgeMetrics()
        command(control=ControlPlane(api, token, sounds, webhook, metrics), **others)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect


_OPTIONS: Final = (
    click.option(
        "--show-digits",
        is_flag=True,
        help="Show the digits that people press in records and webhooks; they are masked "
        "otherwise.",
    ),
    click.option(
        "--webhook",
        metavar="HTTPS://…",
        callback=read_webhook,
        help="Send what becomes of each call there, signed with --signing-key if that is given.",
    ),
    click.option(
        "--api",
        metavar="HOST:PORT",
        callback=read_address,
        help="Serve the control plane over HTTP there: calls, health and metrics; beyond loopback "
        "--api-token-file is required.",
    ),
    click.option(
        "--api-token-file",
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        help="File with the token that requests must show as Authorization: Bearer.",
    ),
    click.option(
        "--sounds",
        type=click.Path(file_okay=False, exists=True, path_type=Path),
        help="The folder with the sounds that the control plane can play.",
    ),
    click.option(
        "--originate",
        "callable_targets",
        multiple=True,
        metavar="REGEX",
        callback=read_patterns,
        help="What the control plane and bots may call or transfer to: numbers or SIP URIs that "
        "this expression matches as a whole. Can be repeated.  [default: anything]",
    ),
)
