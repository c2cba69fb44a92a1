"""The sound and the digits of a call, as a program uses them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import trio

from spech.audio.answerer import Greeting
from spech.audio.cadence import HeardTone
from spech.audio.progress import ProgressTone, ToneName
from spech.audio.recorder import Recording, Tap
from spech.audio.room import Member, Room
from spech.codecs.base import Samples
from spech.media.engine import Media
from spech.media.keypad import GAP_MS, KEY_MS, Method
from spech.media.playback import Playable, Playback
from spech.media.port import AudioPort
from spech.media.statistics import MediaStatistics, QualitySample
from spech.phone.heard import (
    AnswererHeard,
    DigitHeard,
    HeardEvent,
    HeardEvents,
    SpeechBegan,
    SpeechEnded,
    ToneHeard,
)
from spech.rtp.stream import Watcher

#: Seconds within which a digit that came by two ways is one.
_SAME_KEY: Final = 0.5
#: Digits that are kept. Nobody presses so many keys, but a peer may send them without end.
_MOST_DIGITS: Final = 1000


class Sound(ABC):
    """The half of :class:`~spech.Call` that concerns sound and digits, not signalling."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._changed = trio.Event()
        self._digits_received = ""
        self._digits = ""
        self._toned = ("", 0.0)
        self._listeners: list[HeardEvents] = []

    @abstractmethod
    def _require_up(self) -> None:
        """Raise :class:`~spech.errors.CallEnded` when the call is over."""

    async def changed(self) -> None:
        """Wait for the next change of state, codec, digits or mute."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------------ how it is

    @property
    def digits_received(self) -> str:
        """The digits that were received so far, at most the last 1,000."""
        return self._digits_received

    @property
    def statistics(self) -> MediaStatistics:
        """What was sent, received, lost and late so far, and the estimated quality."""
        return self._media.monitor.statistics

    @property
    def quality_history(self) -> tuple[QualitySample, ...]:
        """The estimated quality second by second; coarser in calls longer than ten minutes."""
        return self._media.monitor.history

    @property
    def encrypted(self) -> str | None:
        """How the sound is encrypted: "SDES" or "DTLS", None where it is not (yet)."""
        return self._media.monitor.encryption

    @property
    def low_latency(self) -> bool:
        """While true, audio ports hear sound as it arrives, in order but not at even intervals.

        This is for machines, such as speech recognition: it saves the delay of the jitter buffer.
        Only what has been missing for 60 ms is concealed. It has no
        effect in a conference.
        """
        return self._media.low_latency

    @low_latency.setter
    def low_latency(self, low: bool) -> None:
        self._media.low_latency = low

    @property
    def levels(self) -> tuple[float, float]:
        """The level of what we send and of what we hear, RMS in dBFS."""
        return self._media.voices.levels

    @property
    def peaks(self) -> tuple[float, float]:
        """The peak levels of what we send and of what we hear, in dBFS, for meters.

        A peak decays by 20 dB a second.
        """
        return self._media.voices.peaks

    # ------------------------------------------------------------------ how loud it is

    @property
    def microphone_gain(self) -> float:
        """The gain of what audio ports send, in dB. Played files are not affected."""
        return self._media.voices.microphone.gain

    @microphone_gain.setter
    def microphone_gain(self, decibels: float) -> None:
        self._media.voices.microphone.gain = decibels

    @property
    def speaker_gain(self) -> float:
        """The gain of what we hear of the far end, in dB."""
        return self._media.voices.speaker.gain

    @speaker_gain.setter
    def speaker_gain(self, decibels: float) -> None:
        self._media.voices.speaker.gain = decibels

    @property
    def automatic_gain(self) -> bool:
        """While true, speech in both directions is brought to one level, -19 dBFS."""
        return self._media.voices.microphone.automatic

    @automatic_gain.setter
    def automatic_gain(self, automatic: bool) -> None:
        self._media.voices.microphone.automatic = self._media.voices.speaker.automatic = automatic

    @property
    def muted(self) -> bool:
        """While true, silence is sent in place of the sound of audio ports."""
        return self._media.voices.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if muted != self._media.voices.muted:
            self._media.voices.muted = muted
            self._notify()

    # ------------------------------------------------------------------ what is said and heard

    def play(
        self,
        sound: Playable | None = None,
        *,
        rate: int | None = None,
        gain: float = 0.0,
        repeat: bool = False,
    ) -> Playback:
        """Play a sound to the far end, after what plays already.

            call.play("welcome.wav")
            speech = call.play(text_to_speech("How can I help you?"))
            heard_all = await speech.played()

        Args:
            sound: a file, a pipe or a file object (opened in binary mode, which stays open) with
                WAV, or with any format that FFmpeg knows, which needs ``spech[files]``; PCM (mono,
                int16 little-endian) as bytes or as an array; or an async iterator of such PCM in
                chunks of any length. Without a sound, PCM is given to
                :meth:`Playback.write` as it comes.
                Files and pipes are read by a thread, and nothing else waits for them.
            rate: of the PCM, in Hz; by default that of the codec.
            gain: in dB, relative to the recording.
            repeat: play a file until it is flushed.

        Returns:
            A handle, to wait for the sound, to interrupt it, to go to another place in it, and to
            ask how much has been played.

        Raises:
            CallEnded: the call is over.
            MediaError: the file cannot be read. Where that takes more than 0.1 s to find out, as
                with the first compressed file of a program, :meth:`Playback.played` raises it.
            ValueError: an array is not one of int16 samples with one dimension.
        """
        self._require_up()
        plays = self._media.speech.plays
        return plays.play(sound, rate or self._media.rate, gain=gain, repeat=repeat)

    def play_background(
        self,
        sound: Playable,
        *,
        rate: int | None = None,
        gain: float = -20.0,
        repeat: bool = True,
    ) -> Playback:
        """Play a sound beneath everything else, in place of the background before it.

        It goes on until the end of the call, or :meth:`Playback.flush`. :meth:`played` does not
        wait for it, and :meth:`flush` does not end it.

            call.play_background("office.wav")

        Args:
            sound: as for :meth:`play`.
            rate: of PCM, in Hz; by default that of the codec.
            gain: in dB, relative to the recording.
            repeat: play a file again and again.

        Raises:
            CallEnded, MediaError, ValueError: as for :meth:`play`.
        """
        self._require_up()
        plays = self._media.speech.plays
        return plays.play_background(sound, rate or self._media.rate, gain=gain, repeat=repeat)

    def play_tone(
        self, name: ToneName, *, country: str = "", seconds: float | None = None
    ) -> Playback:
        """Play a tone of the network to the far end, after what plays already (ITU-T E.180).

        Args:
            name: "ringback", "busy", "congestion" or "waiting".
            country: whose tone, as an ISO 3166 code (``de``). The tones that ITU-T E.180
                recommends are played for other values.
            seconds: how long; by default until :meth:`flush`.

        Raises:
            CallEnded: the call is over.
            ValueError: ``name`` is unknown.
        """
        self._require_up()
        tone = ProgressTone(name, country, seconds)
        return self._media.speech.plays.play(tone, self._media.rate)

    def record(self, path: str | Path, *, stereo: bool = False) -> Recording:
        """Record both sides into one file until the call ends; all of it, in a conference.

        The result is a context manager that ends the recording earlier. If the disk refuses later,
        the recording ends (see :attr:`Recording.error`) and the call continues.

        Args:
            path: a file that ends in ``.wav``, or in ``.opus`` or ``.ogg`` for Opus.
            stereo: our sound on the left and the far end's on the right; mixed otherwise.

        Raises:
            MediaError: the file cannot be written.
        """
        self._require_up()
        return self._media.recordings.start(path, self._media.rate, stereo=stereo)

    def tap(
        self, hear: Callable[[Samples], object], rate: int | None = None
    ) -> AbstractContextManager[Tap]:
        """Listen to both sides for the time of a ``with`` block, without a voice in the call.

        Args:
            hear: called each 20 ms with int16 samples, ours and the far end's in turn, as they are
                after mute and gain. It may neither wait nor raise.
            rate: samples per second of each side; by default that of the codec. Where they differ,
                lengths vary.

        Raises:
            CallEnded: the call is over.
        """
        self._require_up()
        return self._media.recordings.tap(hear, rate or self._media.rate)

    def watch_packets(self, watcher: Watcher) -> None:
        """Show each RTP and RTCP packet from now on to a function, in place of the one before.

        Args:
            watcher: called with whether we sent the packet, its bytes as they are on the wire, our
                address, and that of the other end. It may neither wait nor raise.
        """
        self._media.watch(watcher)

    def flush(self) -> None:
        """Drop what is queued to be sent: sounds, digits, audio; a background goes on."""
        self._media.speech.flush()
        self._media.voices.flush()

    def open_audio(self, rate: int | None = None) -> AbstractContextManager[AudioPort]:
        """A port for PCM: signed 16-bit little-endian mono in 20 ms frames, both ways.

        Args:
            rate: of the PCM, in Hz; by default that of the codec.
        """
        self._require_up()
        return self._media.voices.open(self._media.rate if rate is None else rate)

    @property
    def member(self) -> Member | None:
        """The call as a member of a conference, with gain, mute and level; None outside of one."""
        return self._media.voices.member

    def join(self, room: Room, *, gain: float = 0.0) -> Member:
        """Bring the far end into a room with others; it leaves the room that it is in.

        The audio ports of this call join with it: the whole room hears them, and they hear it. See
        :func:`~spech.phone.conference.open_conference` for more than calls.

        Args:
            room: its members hear each other.
            gain: of the far end as the others hear it, in dB.
        """
        self._require_up()
        return self._media.voices.join(room, gain)

    def leave(self) -> None:
        """Leave the room, if the call is in one."""
        self._media.voices.leave()

    def heard(self, *, tones: bool = False, answerer: bool = False) -> HeardEvents:
        """What the far end does: ``async for event in call.heard()``.

        The iterator yields a :class:`DigitHeard` for each digit, and :class:`SpeechBegan` and
        :class:`SpeechEnded` as it speaks, from now on and in order. It ends with the call. Events
        that are not read wait, the last 1,000 of them. :meth:`collect_digits` gets the digits too.

            async for event in call.heard():
                if isinstance(event, SpeechBegan):
                    said_ms = answer.flush()

        Args:
            tones: yield :class:`ToneHeard` as well, when the far end rings, is busy or beeps, also
                in early media.
            answerer: yield an :class:`AnswererHeard` as well, which tells whether a person or a
                machine has answered. What is heard from now on decides that, so ask before the
                answer.
        """
        self._media.detect_speech()
        if tones:
            self._media.detect_cadence()
        if answerer:
            self._media.detect_answerer()
        events = HeardEvents(self.changed, self._require_up, tones=tones, answerer=answerer)
        self._listeners.append(events)
        return events

    # ------------------------------------------------------------------ digits

    def send_dtmf(
        self,
        digits: str,
        *,
        duration_ms: int = KEY_MS,
        gap_ms: int = GAP_MS,
        method: Method = "auto",
    ) -> None:
        """Queue ``digits`` behind those that wait already.

        Telephone events and tones take the place of all other sound while they last.

        Args:
            digits: of ``0-9 * # A-D``. Between them ``,`` and ``p`` are pauses of 2 s as in a
                phone's contacts, ``w`` is one of 0.5 s as in the dial strings of PBXs.
            duration_ms: length of each, in steps of 20 ms.
            gap_ms: silence after each, no less than 40 ms.
            method: "rfc4733" (telephone events), "info" (INFO requests with
                ``application/dtmf-relay``) or "inband" (tones, ITU-T Q.23). "auto" takes the
                first of them that the far end takes when the turn of the digit comes.

        Raises:
            LocalProtocolError: neither digit nor pause; the far end does not take ``method``; or
                no sound has been agreed on yet.
            ValueError: a length is out of range, or ``method`` is unknown.
        """
        self._require_up()
        self._media.speech.keypad.send(
            digits, duration_ms=duration_ms, gap_ms=gap_ms, method=method
        )

    def press(self, digit: str, *, method: Method = "auto") -> AbstractContextManager[None]:
        """Hold a key down for the time of a ``with`` block, 100 ms at the least.

        It waits for its turn behind the digits that are queued. In INFO it is sent when it is let
        up, because its length goes with it.

        Raises:
            LocalProtocolError: as for :meth:`send_dtmf`, or it is not one digit.
        """
        self._require_up()
        return self._media.speech.keypad.press(digit, method=method)

    @property
    def detects_tones(self) -> bool:
        """Whether DTMF tones are detected in the far end's sound (ITU-T Q.24).

        True where no telephone events were agreed on, until you change it or a digit arrives in an
        INFO request or as a telephone event: some gateways leave the tones in the sound as well.
        """
        return self._media.detects_tones

    @detects_tones.setter
    def detects_tones(self, detects: bool) -> None:
        self._media.detects_tones = detects

    async def collect_digits(
        self, count: int, timeout: float | None = None, terminator: str | None = "#"
    ) -> str:
        """Return the next ``count`` digits, fewer after ``terminator`` or ``timeout``.

        Digits that arrived before and were not yet collected come first. The terminator is not
        returned.

        Args:
            count: how many digits.
            timeout: seconds for all of them together.
            terminator: a digit that ends the entry, or None.

        Raises:
            CallEnded: the call ended first.
        """
        taken = ""
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while len(taken) < count:
                while not self._digits:
                    self._require_up()
                    await self.changed()
                digit, self._digits = self._digits[0], self._digits[1:]
                if digit == terminator:
                    break
                taken += digit
        return taken

    def _receive_tone(self, digit: str) -> None:
        """A digit was detected in the sound."""
        self._toned = (digit, trio.current_time())
        self._take_digit(digit)

    def _receive_digit(self, digit: str) -> None:
        """A digit came as a telephone event or in INFO. Its tones may be in the sound as well."""
        self._media.detects_tones = False
        toned, at = self._toned
        self._toned = ("", 0.0)
        if digit != toned or trio.current_time() - at > _SAME_KEY:
            self._take_digit(digit)

    def _take_digit(self, digit: str) -> None:
        self._digits_received = (self._digits_received + digit)[-_MOST_DIGITS:]
        self._digits = (self._digits + digit)[-_MOST_DIGITS:]
        self._tell(DigitHeard(digit, trio.current_time()))

    def _receive_speech(self, speaking: bool) -> None:
        """The far end begins to speak, or has stopped."""
        self._tell((SpeechBegan if speaking else SpeechEnded)(trio.current_time()))

    def _receive_cadence(self, tone: HeardTone) -> None:
        """The far end sounds a tone."""
        self._tell(ToneHeard(tone, trio.current_time()))

    def _receive_greeting(self, greeting: Greeting) -> None:
        """A person or a machine has greeted us."""
        at = trio.current_time()
        self._tell(AnswererHeard(greeting.answerer, greeting.seconds, greeting.words, at))

    def _tell(self, event: HeardEvent) -> None:
        for events in self._listeners:
            events.add(event)
        self._notify()
