"""Who may use the phone: the person at the page, and what the administrator asks."""

from __future__ import annotations

import msgspec

from spech.web.messages.command import PageCommand, Short


class PersonState(msgspec.Struct, frozen=True):
    """Who has signed in."""

    name: str
    administrator: bool


class PeopleOutcome(msgspec.Struct, frozen=True):
    """The names of everyone but the administrator."""

    people: tuple[str, ...]


class PasswordOutcome(msgspec.Struct, frozen=True):
    """A person's new password, which is told once."""

    password: str


class ShowPeople(PageCommand, frozen=True, tag="people"):
    outcome = PeopleOutcome


class InvitePerson(PageCommand, frozen=True, tag="add_person"):
    outcome = PasswordOutcome
    name: Short


class ResetPassword(PageCommand, frozen=True, tag="reset_person"):
    outcome = PasswordOutcome
    name: Short


class DismissPerson(PageCommand, frozen=True, tag="remove_person"):
    name: Short


PeopleCommand = ShowPeople | InvitePerson | ResetPassword | DismissPerson
