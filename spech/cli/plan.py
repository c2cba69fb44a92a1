"""What ``spech call`` and ``spech answer`` have in common: account, media and sound of a call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from spech import Account, Call, Phone
from spech.cli.failure import REGISTRATION_SECONDS
from spech.cli.options import (
    codec_option,
    encryption_option,
    ice_option,
    own_account_option,
    read_output,
    stun_option,
)
from spech.cli.output import Output
from spech.cli.sound import STREAM, SoundPlan, sound_options
from spech.cli.trace import write_private
from spech.sip.description.media_security import Policy


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who we are in a call, what it may use, what to say in it and what to keep of it.

    Attributes:
        account: None to call and to be called without one.
        codecs: names in order of preference, None for the usual ones.
        encryption: of the sound.
        stun: the server that reports our public addresses.
        ice: see :func:`spech.open_phone`.
        sound: what to say, and what to keep of the sound.
        trace: the file for the SIP messages.
    """

    account: Account | None = None
    codecs: tuple[str, ...] | None = None
    encryption: Policy = "off"
    stun: str | None = None
    ice: bool | None = None
    sound: SoundPlan = field(default_factory=SoundPlan)
    trace: Path | None = None

    def messages(self, output: Output) -> Output:
        """The output for messages: standard error, if standard output carries sound."""
        return output.on_stderr() if self.sound.record == STREAM else output

    async def register(self, phone: Phone, output: Output) -> None:
        """Wait until the account, if there is one, is registered, and say so.

        Raises:
            RegistrationFailed, ServerUnreachable: it is not.
        """
        if self.account is not None and self.account.register:
            await phone.registered(timeout=REGISTRATION_SECONDS)
            address = self.account.address
            output.tell(f"registered as {address}", event="registered", account=address)

    def keep_trace(self, phone: Phone, call: Call | None) -> None:
        """Write the SIP messages of the call, or of the registration where there is no call."""
        if self.trace is not None:
            capture = phone.capture_registration() if call is None else call.capture()
            write_private(self.trace, capture)


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a plan. The command gets ``plan``."""

    @functools.wraps(command)
    def collect(
        *,
        account: Account | None,
        codec_names: tuple[str, ...] | None,
        encryption: Policy,
        stun: str | None,
        ice: bool | None,
        sound: SoundPlan,
        trace: Path | None,
        **others: Any,
    ) -> None:
        plan = Plan(
            account=account,
            codecs=codec_names,
            encryption=encryption,
            stun=stun,
            ice=ice,
            sound=sound,
            trace=trace,
        )
        command(plan=plan, **others)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect


_OPTIONS: Final = (
    own_account_option,
    codec_option,
    encryption_option,
    stun_option,
    ice_option,
    sound_options,
    click.option(
        "--trace",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        callback=read_output,
        help="Packet capture of the call's SIP messages to write, or of the registration's where "
        "there is no call, for `spech trace` or Wireshark.",
    ),
)
