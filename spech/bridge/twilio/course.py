"""Does with one call what an application's documents say."""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar
from urllib.parse import urlsplit

import trio

from spech.bridge.dialects.base import ConversationEnded
from spech.bridge.link import LinkFailed
from spech.bridge.records import ConversationOutcome
from spech.bridge.scripts import CallScript, ScriptedCall
from spech.bridge.twilio.application import Application
from spech.bridge.twilio.dialling import Dialler
from spech.bridge.twilio.forms import STATUSES, call_form
from spech.bridge.twilio.twiml import (
    DialVerb,
    DocumentUrl,
    HangupVerb,
    PauseVerb,
    PlayVerb,
    PressVerb,
    RedirectVerb,
    RejectVerb,
    StreamVerb,
    TwimlDocument,
    TwimlVerb,
)
from spech.errors import CallEnded, LocalProtocolError, MediaError
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)

#: Documents that may be asked for within these seconds. More is a circle of redirections.
_MOST_DOCUMENTS: Final = 20
_DOCUMENTS_SECONDS: Final = 10.0
#: Characters of the suffix of a file.
_LONGEST_SUFFIX: Final = 8
_BUSY: Final = 486
_DECLINED: Final = 603
_AT_THE_END: Final = ConversationEnded("bot", 200, "the document has no further verb")

_Done = TypeVar("_Done")


@dataclass(frozen=True, slots=True)
class _Ask:
    """The next document is asked for; the application is told this in addition."""

    where: DocumentUrl
    form: dict[str, str] = field(default_factory=dict)


_Step = _Ask | ConversationOutcome | None
"""What follows a verb: another document, the end of the call, or the next verb."""


class Course:
    """One call that does what an application's documents say.

    Args:
        call: the call.
        application: where documents and sounds come from.
    """

    def __init__(self, call: ScriptedCall, application: Application) -> None:
        self._call = call
        self._application = application
        self._asked: deque[float] = deque(maxlen=_MOST_DOCUMENTS)
        #: How the conversation with the last bot ended, with what was lost of all of them.
        self._last = ConversationOutcome(_AT_THE_END)

    async def run(self, source: TwimlDocument | DocumentUrl) -> ConversationOutcome:
        """Until there is nothing more to do, or the call has ended.

        Where a document cannot be had, the outcome is a failure.

        Args:
            source: the first document, or where it is asked for.
        """
        try:
            while True:
                if isinstance(source, DocumentUrl):
                    source = await self._document(_Ask(source))
                step = await self._follow(source)
                if isinstance(step, ConversationOutcome):
                    return step
                source = await self._document(step)
        except LinkFailed as error:
            end = ConversationEnded("error", error.status, str(error))
            return replace(self._last, end=end, failed=True)
        except CallEnded:
            return self._ending(self._hung_up)

    def _ending(self, end: ConversationEnded) -> ConversationOutcome:
        return replace(self._last, end=end, failed=False)

    @property
    def _hung_up(self) -> ConversationEnded:
        call = self._call.carried.call
        if call is None:
            return ConversationEnded("hangup", 487, "they gave up")
        return ConversationEnded("hangup", call.status or 200, call.reason)

    def _warn(self, what: object) -> None:
        _log.warning("call %s: TwiML: %s", self._call.carried.info.call_id, what)

    async def _document(self, ask: _Ask) -> TwimlDocument:
        """The next document.

        Raises:
            LinkFailed: there is none.
            CallEnded: the call ended before.
        """
        now = trio.current_time()
        if len(self._asked) == _MOST_DOCUMENTS and now - self._asked[0] < _DOCUMENTS_SECONDS:
            raise LinkFailed("the documents redirect in a circle")
        self._asked.append(now)
        carried = self._call.carried
        status = STATUSES["ringing" if carried.call is None else "answered"]
        form = call_form(carried.info, status) | ask.form
        return await self._unless_over(self._application.document, ask.where, form)

    async def _unless_over(
        self, work: Callable[..., Awaitable[_Done]], *arguments: object
    ) -> _Done:
        """Do something as long as the call lasts.

        Raises:
            CallEnded: it ended before.
        """
        results: list[_Done] = []

        async def watch() -> None:
            await self._call.ended()
            nursery.cancel_scope.cancel()

        async with open_scope() as nursery:
            nursery.start_soon(watch)
            results.append(await work(*arguments))
            nursery.cancel_scope.cancel()
        if not results:
            raise CallEnded("they hung up")
        return results[0]

    # ------------------------------------------------------------------ verbs

    async def _follow(self, document: TwimlDocument) -> _Ask | ConversationOutcome:
        """Do what a document says. Returns what comes next, or how the call ends."""
        for warning in document.warnings:
            self._warn(warning)
        for verb in document.verbs:
            step = await self._do(verb)
            if step is not None:
                return step
        return self._last if self._last.failed else self._ending(_AT_THE_END)

    async def _do(self, verb: TwimlVerb) -> _Step:
        match verb:
            case StreamVerb():
                return await self._stream(verb)
            case DialVerb():
                return await self._dial(verb)
            case PlayVerb():
                await self._play(verb)
            case PressVerb(digits):
                await self._press(digits)
            case PauseVerb(seconds):
                await self._unless_over(trio.sleep, seconds)
            case RedirectVerb(to):
                return _Ask(to)
            case RejectVerb(busy):
                status = _BUSY if busy else _DECLINED
                return self._ending(ConversationEnded("bot", status, "rejected by the TwiML"))
            case HangupVerb():
                return self._ending(ConversationEnded("bot", 200, "the TwiML hung up"))
        return None

    async def _stream(self, verb: StreamVerb) -> _Step:
        try:
            outcome = await self._call.talk(verb.url, verb.parameters)
        except LinkFailed as error:
            self._warn(error)
            end = ConversationEnded("error", error.status, str(error))
            outcome = ConversationOutcome(end, failed=True)
        self._last = replace(
            outcome,
            untaken=self._last.untaken + outcome.untaken,
            lost_ms=self._last.lost_ms + outcome.lost_ms,
        )
        if outcome.end.cause in ("hangup", "transfer"):
            return self._last
        return None if verb.action is None else _Ask(verb.action)

    async def _dial(self, verb: DialVerb) -> _Step:
        if not verb.answer_on_bridge:
            await self._call.answer()
        dialler = Dialler(verb, self._call.place, self._call.answer, self._call.carried.call)
        outcome = await self._unless_over(dialler.run)
        return None if verb.action is None else _Ask(verb.action, outcome.form)

    async def _play(self, verb: PlayVerb) -> None:
        try:
            sound = await self._unless_over(self._application.sound, verb.url)
            call = await self._call.answer()
            # Nobody else can read the file, and it is deleted after the block.
            with tempfile.NamedTemporaryFile(suffix=_suffix(verb.url)) as file:
                await trio.Path(file.name).write_bytes(sound)
                for _ in range(verb.rounds or 1):
                    playback = call.play(Path(file.name), repeat=verb.rounds is None)
                    try:
                        await playback.played()
                    finally:
                        playback.flush()
        except (LinkFailed, MediaError) as error:
            self._warn(error)

    async def _press(self, digits: str) -> None:
        call = await self._call.answer()
        try:
            call.send_dtmf(digits)
            await call.played()
        except LocalProtocolError as error:
            self._warn(error)
        finally:
            call.flush()


def _suffix(url: str) -> str:
    """The suffix of a URL's file, by which sound without a header is recognized."""
    suffix = PurePosixPath(urlsplit(url).path).suffix
    return suffix if len(suffix) <= _LONGEST_SUFFIX else ""


def script_of(application: Application, source: TwimlDocument | DocumentUrl) -> CallScript:
    """A script that does what the documents of an application say.

    Args:
        application: where documents come from.
        source: the first one, or where it is asked for.
    """

    async def run(call: ScriptedCall) -> ConversationOutcome:
        return await Course(call, application).run(source)

    return run
