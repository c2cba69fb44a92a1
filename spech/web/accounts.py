"""The accounts: kept in the vault, changed only for what a registrar has accepted."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
import trio

from spech.errors import VaultError
from spech.phone.checkup import open_checkup
from spech.web.lines import Lines, no_such_account
from spech.web.messages.accounts import VaultState
from spech.web.messages.command import Refused
from spech.web.store import ADMINISTRATOR, Store, StoredAccount
from spech.web.trial import PATIENCE, StepReport, library_account, try_account

_log: Final = logging.getLogger(__name__)

#: Accounts that may be set up.
ACCOUNT_LIMIT = 8


class Accounts:
    """The accounts of a person in ``store``, and the lines that go by them.

    Args:
        store: where the accounts are kept.
        person: the id of the person.
        lines: follow each change.
        codecs: the names that an account may choose.
        host: the local address from which an account is tried.
    """

    def __init__(
        self, store: Store, person: str, lines: Lines, codecs: frozenset[str], host: str
    ) -> None:
        self._store = store
        self._person = person
        self._lines = lines
        self._codecs = codecs
        self._host = host
        self._stored: tuple[StoredAccount, ...] | None = None
        self._fault = ""
        self._saving = trio.Lock()

    @property
    def vault(self) -> VaultState:
        """The vault's part of the state feed."""
        if self._fault:
            return VaultState("damaged", self._fault)
        return VaultState("empty" if self._stored is None else "open", "")

    async def load(self) -> None:
        """Read the vault. One that cannot be opened is reported to pages and never changed."""
        try:
            self._stored = await trio.to_thread.run_sync(self._store.load_accounts, self._person)
            self._fault = ""
        except VaultError as error:
            _log.error("%s", error)
            self._fault = str(error)
        self._lines.set_accounts(self._all)

    async def save(
        self,
        account: StoredAccount,
        report: StepReport | None = None,
        *,
        keep_password: bool = False,
    ) -> str:
        """Try the account with a real REGISTER; store and use it only after a 200.

        Args:
            account: takes the place of the one with its id; without an id it is a further one.
            report: is told the steps of the trial.
            keep_password: take the stored password, which must be for the same user and server:
                it is not shown to another one.

        Returns:
            The account's id.

        Raises:
            Refused: with the codes of docs/protocol.md; then nothing was stored.
        """
        async with self._saving:
            await self._open_vault()
            stored = self._find(account.id) if account.id else None
            if keep_password:
                account = _with_password(account, stored)
            self._judge(account, [each for each in self._all if each is not stored])
            self._refuse_during_calls(account.id)
            discreet = self._person != ADMINISTRATOR
            await try_account(account, self._host, report, discreet=discreet)
            self._refuse_during_calls(account.id)
            if stored is None:
                account = msgspec.structs.replace(account, id=self._free_id())
                await self._keep((*self._all, account))
            else:
                await self._keep(tuple(account if each is stored else each for each in self._all))
            return account.id

    async def forget(self, id: str) -> None:
        """Take an account out of the vault, end its calls and close its phone.

        Raises:
            Refused: ``no_such_account``, ``vault_damaged``.
        """
        async with self._saving:
            await self._open_vault()
            gone = self._find(id)
            await self._keep(tuple(each for each in self._all if each is not gone))

    async def check(self, id: str, echo: str | None, report: StepReport) -> None:
        """Check the settings of an account step by step, with its own registration.

        Args:
            id: of the account.
            echo: a number to call in the last step, None for no call.
            report: is told the steps.

        Raises:
            Refused: ``no_such_account``, or ``no_account`` if its phone is not open.
        """
        line = self._lines.choose(id)
        if line.phone is None:
            raise line.not_ready()
        account = library_account(line.account)
        async with open_checkup(account, echo=echo, phone=line.phone, patience=PATIENCE) as steps:
            async for step in steps:
                report(step)

    @property
    def _all(self) -> tuple[StoredAccount, ...]:
        return self._stored or ()

    def _find(self, id: str) -> StoredAccount:
        for account in self._all:
            if account.id == id:
                return account
        raise no_such_account()

    def _free_id(self) -> str:
        numbers = [int(account.id[1:]) for account in self._all]
        return f"a{max(numbers, default=0) + 1}"

    def _judge(self, account: StoredAccount, others: list[StoredAccount]) -> None:
        fault = account.fault(self._codecs)
        if fault is not None:
            raise Refused("bad_settings", fault)
        if account.registration_key in [other.registration_key for other in others]:
            raise Refused("bad_settings", "This account is set up already.")
        if len(others) == ACCOUNT_LIMIT:
            raise Refused(
                "account_limit",
                f"{ACCOUNT_LIMIT} accounts are set up already.",
                "Remove one of them first.",
            )

    def _refuse_during_calls(self, id: str) -> None:
        line = self._lines.get(id)
        if line is not None and line.calls:
            raise Refused(
                "bad_settings", "The account cannot be changed during a call.", "Hang up first."
            )

    async def _keep(self, accounts: tuple[StoredAccount, ...]) -> None:
        # Shielded: the file and the running phones must not end up with different accounts.
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(self._store.save_accounts, self._person, accounts)
            except VaultError as error:
                raise Refused("vault_damaged", str(error)) from error
        self._stored = accounts
        self._lines.set_accounts(accounts)

    async def _open_vault(self) -> None:
        """Read a damaged vault again: it may have been repaired since."""
        if self._fault:
            await self.load()
        if self._fault:
            raise Refused("vault_damaged", self._fault)


def _with_password(account: StoredAccount, stored: StoredAccount | None) -> StoredAccount:
    if stored is None or stored.password_key != account.password_key:
        raise Refused(
            "bad_settings",
            "The password is missing.",
            "Enter it again: a stored password is used for its own server and user only.",
        )
    return msgspec.structs.replace(account, password=stored.password)
