"""The SIP accounts of a person."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from spech.phone.checkup import Step
from spech.phone.numbering import NumberFormat
from spech.sip.description.media_security import Policy
from spech.web.messages.command import AccountId, PageCommand, Short

RegistrationPhase = Literal["registering", "registered", "failed"]


class AccountOutcome(msgspec.Struct, frozen=True):
    account: str


class SaveAccount(PageCommand, frozen=True, tag="save_account"):
    outcome = AccountOutcome

    server: Short
    port: int | None
    transport: Short
    user: Short
    password: str | None
    codecs: Annotated[tuple[Short, ...], msgspec.Meta(max_length=64)]
    encryption: Policy = "off"
    account: AccountId | None = None
    name: Short = ""
    auth_user: Short = ""
    display_name: Short = ""
    proxy: Short = ""
    stun: Short = ""
    country: Short = ""
    number_format: NumberFormat = "typed"
    prefix: Short = ""
    voicemail: Short = ""

    def __repr__(self) -> str:
        return f"SaveAccount({self.user!r} at {self.server!r}, password=…)"


class ProveAccount(PageCommand, frozen=True, tag="check_account"):
    account: AccountId
    echo: Short | None = None


class ForgetAccount(PageCommand, frozen=True, tag="forget_account"):
    account: AccountId


AccountCommand = SaveAccount | ProveAccount | ForgetAccount


class StepMessage(msgspec.Struct, frozen=True, tag_field="type", tag="step"):
    """A step that the command with this id has made; it is sent before the command's answer."""

    id: int | str
    step: Step


class AccountRegistration(msgspec.Struct, frozen=True):
    state: RegistrationPhase
    status: int | None
    reason: str


class VoicemailState(msgspec.Struct, frozen=True):
    """The mailbox of an account. ``number`` is what to call for it, empty if that is not known."""

    waiting: bool
    new: int
    old: int
    number: str


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    server: str
    port: int | None
    transport: str
    user: str
    codecs: tuple[str, ...]
    encryption: Policy
    auth_user: str
    display_name: str
    proxy: str
    stun: str
    country: str
    number_format: NumberFormat
    prefix: str
    voicemail: str
    registration: AccountRegistration
    mailbox: VoicemailState | None


class VaultState(msgspec.Struct, frozen=True):
    state: Literal["empty", "open", "damaged"]
    message: str
