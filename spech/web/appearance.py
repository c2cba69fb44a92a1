"""One call as pages see it, from the command or the INVITE that begins it until it is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import trio

from spech.sip.message.display import displayable
from spech.sip.timeline import Entry, ladder, to_pcap
from spech.web.audio_frames import FrameReader
from spech.web.conference import Membership
from spech.web.keys import Keys
from spech.web.messages.calls import By, CallState, Ended, Progress, ReferralState, TimelineStep
from spech.web.messages.history import CallEntry
from spech.web.messages.quality import Meters, Quality
from spech.web.quality import PageMonitor, quality
from spech.web.recordings import shown
from spech.web.story import tell
from spech.web.texts import explain
from spech.web.transfer import PageTransfer
from spech.websocket.frames import FrameStream
from spech.websocket.tls import SecureStream

if TYPE_CHECKING:
    from spech import AudioPort, Call, QualitySample, Recording, TransferRequest

SILENCE_DBFS = -100.0
#: Characters of a number or an address that are shown. It must stay one that can be called.
LONGEST_ADDRESS = 256
_PROGRESS: dict[str, Progress] = {
    "trying": "trying",
    "ringing": "ringing",
    "early": "early",
    "answered": "answered",
}


class Attachment:
    """The one audio connection that a call has at a time.

    ``port`` is None until the call is answered or has early media. ``code`` and ``reason`` are
    those of the WebSocket's close frame. ``stream`` is the TCP or TLS connection, None if it is
    that of a proxy, which says nothing about the page's. ``frames`` are the WebSocket frames, and
    ``reader`` takes those of the client apart.
    """

    def __init__(
        self,
        stream: trio.SocketStream | SecureStream | None,
        frames: FrameStream,
        reader: FrameReader,
    ) -> None:
        self.scope = trio.CancelScope()
        self.stream = stream
        self.frames = frames
        self.reader = reader
        self.port: AudioPort | None = None
        self.code = 1000
        self.reason = "the call has ended"

    def close(self, code: int, reason: str) -> None:
        """End the connection with another code than a normal end."""
        self.code = code
        self.reason = reason
        self.scope.cancel()


class Appearance:
    """A call appearance (RFC 7463): the library's call, and what is before and after it.

    An incoming call has no `Call` until it is answered, an outgoing one none until it is placed,
    and pages still show one that has ended. The appearance lives through all of that.
    """

    def __init__(
        self,
        id: str,
        account: str,
        direction: Literal["incoming", "outgoing"],
        remote: str,
        display_name: str | None,
        began_at: float,
    ) -> None:
        self.id = id
        self.account = account
        self.direction = direction
        self.remote = remote
        self.display_name = display_name
        self.began_at = began_at
        self.ended: Ended | None = None
        self.ended_at: float | None = None
        #: Set when the person (or the grace period) wants the call over.
        self.hung_up = False
        #: Around the placing of an outgoing call, which may wait for DNS.
        self.scope = trio.CancelScope()
        #: Set when an incoming call was answered (``accepted``) or declined (not).
        self.decided = trio.Event()
        self.accepted = False
        self.decline_status = 603
        #: Set when there is a call to attach audio to, or when there never will be one.
        self.ready = trio.Event()
        self.attachment: Attachment | None = None
        #: Says what happened to it so far, from its first message on.
        self.timeline: Callable[[], Sequence[Entry]] = tuple
        #: The latest transfer that was asked for, and those that are still to be carried out.
        self.transfer: PageTransfer | None = None
        self._transfers, self.transfers = trio.open_memory_channel[PageTransfer](1)
        #: Set while the far end asks us to call another party, and which. It may outlive the call.
        self.referral: TransferRequest | None = None
        self.referred_to = ""
        self.keys = Keys()
        #: Another call whose far end is being connected with ours.
        self.connected_by: Appearance | None = None
        #: Set while the call is in a conference.
        self.membership: Membership | None = None
        #: The latest recording of it.
        self.recording: Recording | None = None
        #: The names of all recordings of it.
        self.recordings: list[str] = []
        #: What was last noted of it in the history.
        self.entry: CallEntry | None = None
        self._named = remote
        #: Frames that the page numbered and never sent.
        self.skipped = 0
        self._call: Call | None = None
        self._state: Progress = "ringing" if direction == "incoming" else "trying"
        self._was_answered = False
        self._muted = False
        self._farewell: str | None = None
        self._attached: list[tuple[AudioPort, FrameStream]] = []
        self._page = PageMonitor()
        #: Frames that audio connections which are closed now have dropped.
        self._microphone_dropped = self._speaker_dropped = 0

    @property
    def live(self) -> bool:
        return self.ended is None

    @property
    def call(self) -> Call | None:
        return self._call

    @property
    def answered(self) -> bool:
        return self.live and self._call is not None and self._call.state == "answered"

    @property
    def was_answered(self) -> bool:
        """Whether it is answered, or was before it ended."""
        return self._was_answered

    @property
    def muted(self) -> bool:
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._muted = muted
        if self._call is not None:
            # A far end on hold must not hear us either.
            self._call.muted = muted or self._call.on_hold

    @property
    def on_hold(self) -> bool:
        """Whether we hold the far end."""
        return self._call is not None and self._call.on_hold

    def hold(self, held: bool) -> None:
        """Hold an answered call, or talk on."""
        if self.answered and self._call is not None and held != self._call.on_hold:
            (self._call.hold if held else self._call.resume)()
            self._call.muted = self._muted or held
            self.apply_membership()

    def apply_membership(self) -> None:
        """Join the room of the conference, or leave it. A call on hold is not in the room."""
        call, membership = self._call, self.membership
        if call is None or not self.answered:
            return
        if membership is None or call.on_hold:
            call.leave()
            return
        room = membership.conference.room
        member = call.member
        if member is None or member.room is not room:
            member = call.join(room)
        member.gain, member.muted = membership.gain, membership.muted

    def start_transfer(self, transfer: PageTransfer) -> None:
        """Have the call passed on, by the call's own task."""
        self.transfer = transfer
        self._transfers.send_nowait(transfer)

    def connect(self, call: Call) -> None:
        """The library has a call now: pass on what was wanted before."""
        self._call = call
        self.timeline = lambda: call.timeline
        call.muted = self._muted
        self.ready.set()
        if self.hung_up:
            call.hang_up()

    def notice(self) -> None:
        """Follow the library's call; its last state before the end decides on the words."""
        state = None if self._call is None else _PROGRESS.get(self._call.state)
        if state is not None and not (self.direction == "incoming" and state == "trying"):
            self._state = state
            self._was_answered = self._was_answered or state == "answered"
        if self._call is not None and self._call.muted != (self._muted or self._call.on_hold):
            self.muted = self._muted  # The far end refused to be held.
            self.apply_membership()
        if self._call is not None and self._call.remote != self._named:
            # The far end transferred the call to another party.
            self._named = self._call.remote
            self.remote = displayable(self._named, LONGEST_ADDRESS)
            self.display_name = None

    def accept(self) -> None:
        """Answer an incoming call; nothing happens when it was decided before."""
        if not self.decided.is_set():
            self.accepted = True
            self.decided.set()

    def hang_up(self, *, text: str | None = None, decline_status: int = 603) -> None:
        """End the call in whatever state it is. Synchronous, idempotent.

        ``text`` replaces the words for the person, ``decline_status`` is the SIP status for an
        incoming call that was not answered.
        """
        if self.hung_up or not self.live:
            return
        self.hung_up = True
        self._farewell = text
        if self._call is not None:
            self._call.hang_up()
        elif self.direction == "outgoing":
            self.scope.cancel()
        elif not self.decided.is_set():
            self.decline_status = decline_status
            self.decided.set()

    def end(
        self, by: By, status: int | None, text: str, now: float, *, elsewhere: bool = False
    ) -> None:
        """The call is over; only the first end counts."""
        if self.ended is None:
            self.ended = Ended(by, status, self._farewell or text, elsewhere)
            self.ended_at = now
            self.ready.set()
            if self.membership is not None:
                self.membership.conference.remove(self)

    def end_with_call(self, now: float) -> None:
        """The library's call has ended: put its end in words."""
        call = self._call
        assert call is not None
        by: By = "local" if call.ended_by == "local" else "remote"
        if self._transferred:
            by, text = "local", "You transferred the call."
        elif self._was_answered:
            text = "You hung up." if by == "local" else "The other side hung up."
        elif by == "local":
            text = "You ended the call before it was answered."
        else:
            text = explain(call.status or 408, call.reason)
        self.end(by, call.status, text, now)

    def ask(self, referral: TransferRequest, target: str) -> None:
        """The far end asks us to call ``target``; only its latest wish counts."""
        self.decline_referral()
        self.referral, self.referred_to = referral, target

    def decline_referral(self) -> None:
        """Stay; nothing happens when nothing was asked."""
        if self.referral is not None:
            self.referral.reject()
            self.referral = None

    @property
    def _transferred(self) -> bool:
        begun = self.connected_by or self
        return begun.transfer is not None and begun.transfer.done

    def story(self) -> tuple[TimelineStep, ...]:
        """What happened so far, for people to read."""
        return tell(self.timeline(), _wall())

    def ladder(self) -> str:
        """The same as text."""
        return ladder(self.timeline(), wall=_wall())

    def capture(self) -> bytes:
        """Its messages as a packet capture (pcap), credentials masked."""
        return to_pcap(self.timeline(), _wall())

    @contextmanager
    def count_drops(self, port: AudioPort, frames: FrameStream) -> Iterator[None]:
        """Count the frames of an audio connection that are dropped in either direction."""
        attached = port, frames
        self._attached.append(attached)
        try:
            yield
        finally:
            self._attached.remove(attached)
            self._microphone_dropped += port.dropped
            self._speaker_dropped += frames.dropped

    @property
    def meters(self) -> Meters:
        """The present levels; an unanswered incoming call is silent."""
        dropped = self._microphone_lost + self._speaker_lost
        if self._call is None:
            silent = SILENCE_DBFS
            return Meters(silent, silent, silent, silent, dropped, 0, 0.0)
        microphone, speaker = self._call.levels
        microphone_peak, speaker_peak = self._call.peaks
        statistics = self._call.statistics
        return Meters(
            microphone=round(max(microphone, SILENCE_DBFS), 1),
            speaker=round(max(speaker, SILENCE_DBFS), 1),
            microphone_peak=round(microphone_peak, 1),
            speaker_peak=round(speaker_peak, 1),
            dropped=dropped,
            lost=statistics.lost,
            jitter_ms=round(statistics.jitter_ms, 1),
        )

    def sample(self) -> Quality | None:
        """How the call sounds; to be asked once a second. None before there is a call."""
        if self._call is None:
            return None
        attachment = self.attachment
        page = self._page.sample(
            self._microphone_lost,
            self._speaker_lost,
            stream=None if attachment is None else attachment.stream,
            microphone_late=None if attachment is None else attachment.reader.lateness(),
        )
        return quality(self._call.statistics, page)

    @property
    def quality_history(self) -> tuple[QualitySample, ...]:
        """How the line did so far, second by second."""
        return () if self._call is None else self._call.quality_history

    @property
    def _microphone_lost(self) -> int:
        dropped = sum(port.dropped for port, _ in self._attached)
        return self.skipped + self._microphone_dropped + dropped

    @property
    def _speaker_lost(self) -> int:
        return self._speaker_dropped + sum(frames.dropped for _, frames in self._attached)

    def snapshot(self, contact: str | None = None) -> CallState:
        """The call's part of the state feed; ``contact`` is the name that the person gave."""
        call = self._call
        return CallState(
            id=self.id,
            account=self.account,
            direction=self.direction,
            remote=self.remote,
            display_name=self.display_name,
            contact=contact,
            state="ended" if self.ended is not None else self._state,
            status=call.status if call is not None else None,
            reason=call.reason if call is not None else "",
            codec=call.codec if call is not None else None,
            encrypted=call.encrypted if call is not None else None,
            muted=self._muted,
            on_hold=self.on_hold,
            held=call is not None and call.held and not call.on_hold,
            no_sound=self.live and call is not None and call.no_sound,
            conference=None if self.membership is None else self.membership.state,
            recording=shown(self.recording),
            transfer=None if self.transfer is None else self.transfer.state,
            referral=None if self.referral is None else ReferralState(self.referred_to),
            answered_s=round(call.duration, 3) if call is not None and self._was_answered else None,
            audio_attached=self.attachment is not None,
            digits_received=call.digits_received if call is not None else "",
            ended=self.ended,
        )


def _wall() -> float:
    """What to add to the event loop's time to get seconds since 1970."""
    return time.time() - trio.current_time()
