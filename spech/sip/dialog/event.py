"""The base of everything that the SIP stack reports to the program."""

from __future__ import annotations


class Event:
    """Something that happened: a frozen value, defined beside the object that it is about.

    :mod:`spech.sip.events` lists all of them.
    """

    __slots__ = ()
