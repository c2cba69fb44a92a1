"""What each command of a page does."""

from __future__ import annotations

from io import StringIO

import msgspec
import trio

from spech.errors import SpechError, VaultError
from spech.web.audio import Grant, Tickets
from spech.web.contact_files import LONGEST_FILE, ContactFileFault, read_contacts
from spech.web.handset import read_target
from spech.web.messages import (
    accounts,
    calls,
    chats,
    contacts,
    history,
    people,
    quality,
    recordings,
)
from spech.web.messages.call_settings import ChangeCallSettings
from spech.web.messages.channel import Command
from spech.web.messages.command import Nothing, Refused
from spech.web.people import People
from spech.web.sessions import PageSession
from spech.web.store import ADMINISTRATOR, StoredAccount
from spech.web.switchboard import Switchboard
from spech.web.trial import StepReport


class Commands:
    """Carries out the commands of one session, on the switchboard of its person."""

    def __init__(
        self, everyone: People, switchboard: Switchboard, session: PageSession, tickets: Tickets
    ) -> None:
        self._everyone = everyone
        self._switchboard = switchboard
        self._session = session
        self._tickets = tickets
        #: A file with contacts, as far as it has come.
        self._file = StringIO()

    async def run(self, command: Command, report: StepReport) -> msgspec.Struct:
        """Carry out a command, and return the ``ok`` of its answer.

        Args:
            command: what to do.
            report: is told the steps of a check-up.

        Raises:
            Refused: it cannot be done.
        """
        match command:
            case accounts.SaveAccount() | accounts.ProveAccount() | accounts.ForgetAccount():
                return await self._run_account(command, report)
            case (
                history.ShowHistory()
                | history.TellHistory()
                | history.SeeHistory()
                | history.ForgetEntry()
                | history.ForgetHistory()
                | history.KeepHistory()
            ):
                return await self._run_history(command)
            case (
                contacts.FindContacts()
                | contacts.SaveContact()
                | contacts.ForgetContact()
                | contacts.ImportContacts()
                | contacts.SaveAddressBook()
                | contacts.ReadAddressBook()
                | contacts.ForgetAddressBook()
            ):
                return await self._run_contact(command)
            case recordings.ListRecordings() | recordings.DeleteRecording():
                return await self._run_recording(command)
            case (
                people.ShowPeople()
                | people.InvitePerson()
                | people.ResetPassword()
                | people.DismissPerson()
            ):
                return await self._run_person(command)
            case (
                chats.ShowChats()
                | chats.ShowMessages()
                | chats.SendText()
                | chats.SeeChat()
                | chats.ForgetChat()
            ):
                return await self._run_chat(command)
            case ChangeCallSettings(changes=changes):
                await self._switchboard.change_call_settings(changes)
                return Nothing()
            case quality.QualityHistory(call=call):
                return quality.QualityOutcome(self._switchboard.calls.find(call).quality_history)
            case _:
                return await self._run_call(command)

    async def _run_call(self, command: calls.CallCommand) -> msgspec.Struct:
        switchboard = self._switchboard
        handset = switchboard.handset
        match command:
            case calls.Dial(target=target, account=account, confirmed=confirmed):
                appearance = switchboard.dial(target, account, confirmed=confirmed)
                return calls.CallOutcome(appearance.id)
            case calls.Answer(call=call):
                switchboard.answer(call)
            case calls.Decline(call=call):
                switchboard.decline(call)
            case calls.HangUp(call=call):
                switchboard.hang_up(call)
            case calls.Dismiss(call=call):
                switchboard.dismiss(call)
            case calls.Dtmf(call=call, digits=digits):
                handset.dtmf(call, digits)
            case calls.Press(call=call, digit=digit):
                handset.press(call, digit)
            case calls.Release(call=call, digit=digit):
                handset.release(call, digit)
            case calls.Mute(call=call, muted=muted):
                handset.mute(call, muted)
            case calls.Hold(call=call, held=held):
                handset.hold(call, held)
            case calls.Merge(calls=members):
                return calls.ConferenceOutcome(handset.merge(members))
            case calls.Split(call=call):
                handset.split(call)
            case calls.AdjustMember(call=call, gain=gain, muted=muted):
                handset.set_member(call, gain, muted)
            case calls.Record(call=call, format=format, stereo=stereo):
                return calls.RecordingOutcome(await handset.record(call, format, stereo=stereo))
            case calls.PauseRecord(call=call, paused=paused):
                handset.pause_record(call, paused)
            case calls.StopRecord(call=call):
                await handset.stop_record(call)
            case calls.BlindTransfer(call=call, target=target):
                handset.transfer(call, target)
            case calls.Connect(call=call, other=other):
                handset.connect(call, other)
            case calls.Follow(call=call, accepted=accepted):
                return switchboard.follow(call, accepted)
            case calls.GetTimeline(call=call):
                return calls.TimelineOutcome(switchboard.calls.find_kept(call).story())
            case calls.AudioTicket(call=call):
                grant = Grant(switchboard.calls.find_live(call).id, switchboard, self._session)
                ticket = self._tickets.issue(grant, trio.current_time())
                return calls.TicketOutcome(ticket, switchboard.audio_port)
        return Nothing()

    async def _run_account(
        self, command: accounts.AccountCommand, report: StepReport
    ) -> msgspec.Struct:
        switchboard = self._switchboard
        match command:
            case accounts.SaveAccount():
                id = await switchboard.accounts.save(
                    StoredAccount(
                        id=command.account or "",
                        name=command.name.strip(),
                        server=command.server.strip(),
                        port=command.port,
                        transport=command.transport,
                        user=command.user.strip(),
                        password=command.password or "",
                        codecs=command.codecs,
                        encryption=command.encryption,
                        auth_user=command.auth_user.strip(),
                        display_name=command.display_name.strip(),
                        proxy=command.proxy.strip(),
                        stun=command.stun.strip(),
                        country=command.country,
                        number_format=command.number_format,
                        prefix=command.prefix.strip(),
                        voicemail=command.voicemail.strip(),
                    ),
                    report,
                    keep_password=command.password is None,
                )
                return accounts.AccountOutcome(id)
            case accounts.ProveAccount(account=id, echo=echo):
                number = None if echo is None else read_target(echo)
                await switchboard.accounts.check(id, number, report)
            case accounts.ForgetAccount(account=id):
                await switchboard.accounts.forget(id)
        return Nothing()

    async def _run_chat(self, command: chats.ChatCommand) -> msgspec.Struct:
        kept = self._switchboard.chats
        if isinstance(command, chats.ShowChats):
            known = self._switchboard.contacts.directory
            named = (
                msgspec.structs.replace(each, name=known.name_of(each.remote) or each.name)
                for each in kept.chats()
            )
            return chats.ChatsOutcome(tuple(named))
        account = self._switchboard.lines.choose(command.account).account
        remote = read_target(command.remote)
        match command:
            case chats.ShowMessages(limit=limit):
                return chats.MessagesOutcome(kept.messages(account, remote, limit))
            case chats.SendText(text=text):
                return chats.TextOutcome(await kept.send(account, remote, text))
            case chats.SeeChat():
                await kept.see(account, remote)
            case chats.ForgetChat():
                await kept.forget(account, remote)
        return Nothing()

    async def _run_recording(self, command: recordings.RecordingCommand) -> msgspec.Struct:
        folder = self._switchboard.recordings
        match command:
            case recordings.ListRecordings():
                return recordings.RecordingsOutcome(await trio.to_thread.run_sync(folder.stored))
            case recordings.DeleteRecording(name=name):
                await trio.to_thread.run_sync(folder.delete, name)
        return Nothing()

    async def _run_history(self, command: history.HistoryCommand) -> msgspec.Struct:
        kept = self._switchboard.history
        match command:
            case history.ShowHistory(search=search, missed=missed, before=before, limit=limit):
                known = self._switchboard.contacts.directory
                found = await kept.find(
                    search,
                    missed=missed,
                    before=before,
                    limit=limit,
                    also=await trio.to_thread.run_sync(known.numbers_of, search),
                )
                named = (
                    msgspec.structs.replace(each, contact=known.name_of(each.remote))
                    for each in found.entries
                )
                return history.HistoryOutcome(tuple(named), found.more)
            case history.TellHistory(entry=entry):
                return await kept.tell(entry)
            case history.SeeHistory():
                await kept.see()
            case history.ForgetEntry(entry=entry):
                await kept.forget(entry)
            case history.ForgetHistory():
                await kept.clear()
            case history.KeepHistory(days=days):
                await kept.keep(days)
        return Nothing()

    async def _run_contact(self, command: contacts.ContactCommand) -> msgspec.Struct:
        known, subscriber = self._switchboard.contacts, self._switchboard.subscriber
        match command:
            case contacts.FindContacts(search=search, after=after, limit=limit):
                return await trio.to_thread.run_sync(known.directory.find, search, after, limit)
            case contacts.SaveContact(contact=contact):
                return contacts.ContactOutcome(await known.save(contact))
            case contacts.ForgetContact(contact=id):
                await known.forget(id)
            case contacts.ImportContacts(text=text, more=more):
                return await self._import(text, more=more)
            case contacts.SaveAddressBook(url=url, user=user, password=password):
                return await subscriber.save(url.strip(), user.strip(), password)
            case contacts.ReadAddressBook():
                return await subscriber.read()
            case contacts.ForgetAddressBook():
                await subscriber.forget()
        return Nothing()

    async def _import(self, text: str, *, more: bool) -> contacts.ImportOutcome:
        """Take a part of a file; with the last one, take its contacts."""
        self._file.write(text)
        too_large = self._file.tell() > LONGEST_FILE
        if more and not too_large:
            return contacts.ImportOutcome(0, 0)
        file, self._file = self._file, StringIO()
        if too_large:
            raise Refused("bad_file", "The file is too large.")
        try:
            found = await trio.to_thread.run_sync(read_contacts, file.getvalue())
        except ContactFileFault as error:
            raise Refused("bad_file", str(error)) from error
        return await self._switchboard.contacts.add(found)

    async def _run_person(self, command: people.PeopleCommand) -> msgspec.Struct:
        if self._session.person != ADMINISTRATOR:
            raise Refused("not_administrator", "Only the administrator may do this.")
        everyone = self._everyone
        try:
            match command:
                case people.ShowPeople():
                    names = [person.name for person, _ in everyone]
                    return people.PeopleOutcome(tuple(names[1:]))
                case people.InvitePerson(name=name):
                    return people.PasswordOutcome(await everyone.add(name.strip()))
                case people.ResetPassword(name=name):
                    return people.PasswordOutcome(await everyone.reset(name))
                case people.DismissPerson(name=name):
                    await everyone.remove(name)
        except VaultError as error:
            raise Refused("vault_damaged", str(error)) from error
        except SpechError as error:
            raise Refused("bad_person", str(error)) from error
        return Nothing()
