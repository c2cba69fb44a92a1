"""The sound of one call: codec, RTP and audio brought together on the media clock."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import trio

from spech import codecs
from spech.agreement import RTCP, RTP, Agreed
from spech.audio.dtmf import DigitDetector
from spech.audio.player import Player
from spech.audio.progress import ProgressTone
from spech.audio.recorder import Recording, Recordings
from spech.audio.room import Member, Room
from spech.codecs import Codec, Samples
from spech.errors import CallEnded, LocalProtocolError, PeerUnreachable
from spech.media.keypad import Key, Keypad, Method, read_keys
from spech.media.playout import Playout
from spech.media.port import FRAMES_PER_SECOND, AudioPort
from spech.media.speech import Speech
from spech.media.statistics import MediaStatistics, Monitor, Played, QualitySample
from spech.media.voices import Voices
from spech.rtp.clock import PERIOD
from spech.rtp.dtls import Certificate
from spech.rtp.ice import IceAgent
from spech.rtp.ports import PortPair
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream

__all__ = ["AudioPort", "Media", "Recording"]

_DEFAULT_RATE = 8000
_RTCP_TICKS = 10
_SAMPLE_TICKS = 50
_LONGEST_LATENESS = 0.11  # A little more than the clock makes up for.
_LAST_TICKS = 10
_KEY_MS = 100
_GAP_MS = 60


class Media:
    """One call's sound. :meth:`tick` is called by the media clock, everything else by the call.

    Args:
        pair: the leased sockets; whoever leased them closes them, after :meth:`close`.
        rng: chooses SSRC, sequence and timestamp starts, spreads the RTCP reports, and serves ICE.
        silence_suppression: leave pauses out where the codec or comfort noise allows it.
        certificate: ours, for DTLS-SRTP; without it only keys that were agreed on serve.

    Attributes:
        voices: who speaks and listens at our end.
        on_digit: called with each digit that the peer sends, at its first packet.
        on_tones: called with each digit that is heard in the peer's sound.
        on_handshake: called when a handshake for encryption is done, with None, or cannot be, with
            the reason in plain words.
    """

    def __init__(
        self,
        pair: PortPair,
        *,
        rng: random.Random,
        silence_suppression: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        self.voices = Voices()
        self.on_digit: Callable[[str], None] | None = None
        self.on_tones: Callable[[str], None] | None = None
        self.on_handshake: Callable[[str | None], None] | None = None
        self._silence_suppression = silence_suppression
        self._events: bool | None = None
        self._detects_tones = False
        self._detector: DigitDetector | None = None
        self._rng = rng
        self._session = RtpSession(rng=rng, epoch=time.time() - trio.current_time())
        self._stream = Stream(pair, self._session, certificate)
        self._monitor = Monitor(self._session, self._stream)
        self._codec: Codec | None = None
        self._chosen = ""
        self._payload_type = -1
        self._playout: Playout | None = None
        self._played_before = Played()
        self._sending = self._receiving = self._reachable = False
        self._units = self._fraction = 0
        self._speech = Speech(self._session, self._stream)
        self._recordings = Recordings()
        self._waiting = trio.lowlevel.ParkingLot()
        self._ticks = 0
        self._now: float | None = None
        self._due: float | None = None
        self._closed = False
        self._interrupted = False

    def rebind(self, pair: PortPair) -> None:
        """Go on with other sockets; whoever leased them closes them, after :meth:`close`."""
        self._stream.rebind(pair)

    @property
    def detects_tones(self) -> bool:
        """Whether digits are looked for in the peer's sound.

        An agreement turns it on where it has no telephone-event, and off where it has one.
        """
        return self._detects_tones

    @detects_tones.setter
    def detects_tones(self, detects: bool) -> None:
        self._detects_tones = detects
        self._detector = None

    @property
    def keypad(self) -> Keypad:
        """The keys that are pressed: by it the call tells whether and how INFO can be sent."""
        return self._speech.keypad

    # Negotiation

    def configure(self, agreed: Agreed) -> None:
        """Take the outcome of an offer and answer: the first one, early media, or a re-INVITE.

        SSRC and sequence go on; the codec may change.

        Raises:
            CodecUnavailable: the codec is unknown here.
            ValueError: the remote host is no numeric address. A name would be looked up by the
                system at every packet, while all calls wait.
        """
        if self._closed:
            return
        remote, reachable = _numeric(agreed.remote)
        remote_rtcp, _ = _numeric(agreed.remote_rtcp)
        if self._codec is None or self._chosen != agreed.codec:
            codec = codecs.create(agreed.codec)
            self._use_codec(codec, agreed.payload_type_receive)
            self._chosen = agreed.codec
        else:
            codec = self._codec
        self._payload_type = agreed.payload_type_receive
        events = agreed.telephone_event_send is not None
        if events is not self._events:
            self._events = events
            self.detects_tones = not events
        if codec.dtx:
            codec.suppress_silence(self._silence_suppression)
        codec.configure(agreed.fmtp)
        self._reachable = reachable
        self._sending = reachable and agreed.direction in ("sendrecv", "sendonly")
        self._receiving = agreed.direction in ("sendrecv", "recvonly")
        self._session.configure(
            clock_rate=codec.clock_rate,
            audio_send=agreed.payload_type_send,
            audio_receive=agreed.payload_type_receive,
            event_send=agreed.telephone_event_send,
            event_receive=agreed.telephone_event_receive,
            noise_send=agreed.comfort_noise_send,
            noise_receive=agreed.comfort_noise_receive,
        )
        self._session.reports.wanted = agreed.extended_reports
        self._stream.negotiate(remote, remote_rtcp, self._agent(agreed))
        self._stream.secure(agreed.security)
        self._speech.configure(
            codec,
            codec.rate // FRAMES_PER_SECOND,
            agreed.ptime_ms,
            suppress=self._silence_suppression,
        )
        self._monitor.configure(
            codec,
            agreed.payload_type_send,
            codec.packet_samples(agreed.ptime_ms) / codec.rate,
        )

    def _agent(self, agreed: Agreed) -> IceAgent | None:
        """What finds the way to the peer: the one that does already, unless ICE begins anew."""
        agreement, before = agreed.ice, self._stream.ice
        if agreement is None:
            return None
        if before is not None and before.continues(agreement):
            return before
        components = {RTP}
        if agreed.remote != agreed.remote_rtcp:
            components |= {one.component for one in agreement.remote.candidates} & {RTCP}
        now = trio.current_time()
        return IceAgent(agreement, components, now, rng=self._rng, before=before)

    def _use_codec(self, codec: Codec, payload_type: int) -> None:
        if self._playout is not None:
            self._played_before = self._played
        # What waits or is on its way was encoded by the codec before.
        before = self._codec
        if before is not None and before.rate != codec.rate:
            before = None
        earlier = (-1 if self._payload_type == payload_type else self._payload_type, before)
        self._codec = codec
        self._playout = Playout(self._session, codec, codec.rate // FRAMES_PER_SECOND, earlier)

    # The clock

    def tick(self, now: float) -> None:
        """Receive, play, speak and send 20 ms of sound. Nothing that the peer sends raises here.

        Raises:
            PeerUnreachable: with ICE, there is no way to the peer, or no more.
        """
        if self._closed:
            return
        codec, playout = self._codec, self._playout
        if codec is None or playout is None:
            self._stream.discard()
            self.voices.discard()
            return
        self._receive(now)
        if self._stream.unreachable:
            raise PeerUnreachable(f"The sound goes nowhere: {self._stream.unreachable} (ICE).")
        # A clock of 11025 Hz has 220 units in one tick and 221 in the next.
        self._units, self._fraction = divmod(self._fraction + codec.clock_rate, FRAMES_PER_SECOND)
        self._notice_stall(now)
        heard = playout.next(self._units, now)
        if not self._receiving:
            heard = self._speech.silence
        elif self._detects_tones:
            self._detect(heard, codec.rate, lost=playout.bridged)
        heard = self.voices.listen(heard)
        # Files and digits wait for the end of a hold; microphones do not.
        microphone = self.voices.exchange(heard, codec.rate, self._speech.silence)
        if self._sending and self._stream.ready and self._stream.protection.ready:
            spoken = self._speech.say(microphone, self._units)
        else:
            spoken = self._speech.pause(self._units)
        if self._waiting and not self._speech.busy:
            self._waiting.unpark_all()
        if self._recordings:
            self._recordings.write(spoken, heard, codec.rate)
        self._ticks += 1
        if self._ticks % _RTCP_TICKS == 0:
            self._stream.drain_rtcp(now)
            if self._session.report_due(now):
                self._stream.send_rtcp(self._session.report(now))
            # Reports that go the same way keep it open, and so do the checks of ICE.
            if self._reachable and not self._stream.shared and self._stream.ice is None:
                keepalive = self._session.keepalive(now)
                if keepalive is not None:
                    self._stream.send(keepalive)
            if self._ticks % _SAMPLE_TICKS == 0:
                self._monitor.sample(self._played)

    def _receive(self, now: float) -> None:
        shaking = self._stream.protection.shaking
        for digit in self._stream.drain(now):
            if self.on_digit is not None:
                self.on_digit(digit)
        if shaking and self.on_handshake is not None:
            protection = self._stream.protection
            if protection.ready or protection.failure:
                self.on_handshake(protection.failure)

    def _detect(self, heard: Samples, rate: int, *, lost: bool) -> None:
        if self._detector is None or self._detector.rate != rate:
            self._detector = DigitDetector(rate)
        for digit in self._detector.feed(heard, lost=lost):
            if self.on_tones is not None:
                self.on_tones(digit)

    def _hear_out(self, now: float) -> None:
        """Hand on what the jitter buffer holds: the last word came before the farewell."""
        codec, playout = self._codec, self._playout
        if codec is None or playout is None or not self._receiving:
            return
        self._receive(now)
        for ahead in range(_LAST_TICKS):
            if not playout.waiting:
                break
            heard = playout.next(self._units, now + ahead * PERIOD)
            self.voices.play(heard, codec.rate)
            self._recordings.write(self._speech.silence, heard, codec.rate)

    def _notice_stall(self, now: float) -> None:
        """After a sleep of the machine, go on at the present instead of where it stopped.

        The clock makes up for short stalls, and drops the ticks of long ones. Each tick is held
        against when it was due: by the time since the last one, late itself, several stalls in a
        row would leave our timestamps behind for good.
        """
        due = now if self._due is None else min(self._due, now)
        if now - due > _LONGEST_LATENESS:
            missed = int((now - due) / PERIOD)
            self._session.skip(missed * self._units)
            due += missed * PERIOD
        self._due = due + PERIOD
        self._now = now

    # What a program does with a call

    def join(self, room: Room, gain: float = 0.0) -> Member:
        """See :meth:`Call.join`."""
        self._require_open()
        return self.voices.join(room, gain)

    def open_audio(self, rate: int | None = None) -> AbstractContextManager[AudioPort]:
        """See :meth:`Call.open_audio`.

        Raises:
            CallEnded: the call is over.
            ValueError: ``rate`` gives no whole number of samples in 20 ms.
        """
        self._require_open()
        return self.voices.open(self._rate if rate is None else rate)

    @property
    def _rate(self) -> int:
        return _DEFAULT_RATE if self._codec is None else self._codec.rate

    def play(self, path: str | Path, *, gain: float = 0.0, repeat: bool = False) -> None:
        """See :meth:`Call.play`.

        Raises:
            MediaError: it cannot be opened, or holds no sound.
            CallEnded: the call is over.
        """
        self._require_open()
        self._speech.play(Player(path, gain=gain, repeat=repeat))

    def play_tone(self, name: str, *, country: str = "", seconds: float | None = None) -> None:
        """See :meth:`Call.play_tone`.

        Raises:
            ValueError: there is no tone of that name.
            CallEnded: the call is over.
        """
        self._require_open()
        self._speech.play(ProgressTone(name, country, seconds))

    def send_dtmf(
        self,
        digits: str,
        *,
        duration_ms: int = _KEY_MS,
        gap_ms: int = _GAP_MS,
        method: Method = "auto",
    ) -> None:
        """Queue digits behind those that wait already; see :meth:`Call.send_dtmf`.

        Raises:
            LocalProtocolError: a character is no digit and no pause, the peer does not take the
                wanted method, or nothing has been agreed on yet.
            ValueError: a length makes no sense.
            CallEnded: the call is over.
        """
        self._press(read_keys(digits, method, duration_ms, gap_ms))

    @contextlib.contextmanager
    def press(self, digit: str, *, method: Method = "auto") -> Iterator[None]:
        """Hold a key down for the time of a ``with`` block; see :meth:`Call.press`.

        Raises:
            LocalProtocolError, CallEnded: as for :meth:`send_dtmf`.
        """
        keys = read_keys(digit, method, _KEY_MS, _GAP_MS)
        if len(keys) != 1 or not keys[0].digit:
            raise LocalProtocolError(f"{digit!r} is not one key")
        keys[0].held = True
        self._press(keys)
        try:
            yield
        finally:
            keys[0].held = False

    def _press(self, keys: list[Key]) -> None:
        self._require_open()
        if self._codec is None:
            raise LocalProtocolError("nothing has been agreed on yet, digits cannot be sent")
        self._speech.keypad.queue(keys)

    async def played(self) -> None:
        """Wait until all queued files and digits were sent, and can have been heard.

        That is 0.1 s after the last packet: most telephones forget what their jitter buffer holds
        when they are told that the call is over, and would cut the last word off.

        Cancelling the wait changes nothing about them.

        Raises:
            CallEnded: the call ended before they were.
        """
        await trio.lowlevel.checkpoint()
        while self._speech.busy and not self._closed:
            await self._waiting.park()
        if self._interrupted:
            raise CallEnded("the call ended before everything was sent")

    def flush(self) -> None:
        """Forget what is queued: files, digits that have not begun, and what microphones said."""
        self._speech.flush()
        self.voices.flush()
        if not self._speech.busy:
            self._waiting.unpark_all()

    def record(self, path: str | Path, *, stereo: bool = False) -> Recording:
        """See :meth:`Call.record`.

        Raises:
            MediaError: the file cannot be created.
            CallEnded: the call is over.
        """
        self._require_open()
        return self._recordings.start(path, self._rate, stereo=stereo)

    @property
    def statistics(self) -> MediaStatistics:
        """What was counted and measured so far."""
        return self._monitor.statistics(self._played)

    @property
    def quality_history(self) -> tuple[QualitySample, ...]:
        """How the call did, a sample a second; of one longer than ten minutes, coarser."""
        return self._monitor.history

    @property
    def encrypted(self) -> str | None:
        """How the sound is encrypted: "SDES" or "DTLS", None for plain sound."""
        return self._stream.protection.kind

    @property
    def _played(self) -> Played:
        """What was played so far, by all codecs of the call."""
        before, codec, playout = self._played_before, self._codec, self._playout
        if codec is None or playout is None:
            return before
        return Played(
            concealed=before.concealed + playout.concealed,
            undecodable=before.undecodable + playout.undecodable,
            accelerated_ms=before.accelerated_ms + 1000.0 * playout.accelerated / codec.rate,
            expanded_ms=before.expanded_ms + 1000.0 * playout.expanded / codec.rate,
            delay_ms=1000.0 * playout.delay,
        )

    def close(self) -> None:
        """End the sound: say goodbye by RTCP, end ports and recordings. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._interrupted = self._speech.unsent
        if self._now is not None:
            self._hear_out(self._now)
            farewell = self._session.farewell(self._now)
            if farewell is not None:
                self._stream.send_rtcp(farewell)
            if not self._monitor.history:  # A short call has a mark as well.
                self._monitor.sample(self._played)
        self.voices.close()
        self._speech.flush()
        self._recordings.stop()
        self._waiting.unpark_all()

    def _require_open(self) -> None:
        if self._closed:
            raise CallEnded("the call has ended")


@lru_cache(maxsize=1024)
def _numeric(address: tuple[str, int]) -> tuple[tuple[str, int], bool]:
    """An address as the socket writes it, and whether anything can be sent there.

    0.0.0.0 is how RFC 2543 put a call on hold.
    """
    host, port = address
    parsed = ipaddress.ip_address(host)
    return (str(parsed), port), port > 0 and not parsed.is_unspecified
