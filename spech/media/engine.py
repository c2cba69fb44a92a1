"""The media engine of one call: codec, RTP and audio, brought together on the media clock."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import trio

from spech import codecs
from spech.agreement import RTCP, RTP, Agreed
from spech.allowance import Allowance
from spech.audio.activity import UtteranceDetector
from spech.audio.answerer import AnswererDetector
from spech.audio.cadence import CadenceDetector
from spech.audio.dtmf import DigitDetector
from spech.audio.recorder import Recordings
from spech.codecs import Codec, Samples
from spech.errors import PeerUnreachable
from spech.incidents import Incidents
from spech.media.decoders import OtherFormat
from spech.media.ear import Ear
from spech.media.events import (
    CadenceHeard,
    EventDigit,
    GreetingJudged,
    HandshakeFinished,
    MediaEvent,
    SpeechChanged,
    ToneDigit,
)
from spech.media.playout import Playout
from spech.media.port import FRAMES_PER_SECOND
from spech.media.speech import Speech
from spech.media.statistics import Monitor
from spech.media.voices import Voices
from spech.rtp.clock import PERIOD, Rest
from spech.rtp.ice import IceAgent
from spech.rtp.ports import PortPair
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream, Watcher

if TYPE_CHECKING:
    from spech.rtp.dtls import Certificate

_DEFAULT_RATE: Final = 8000
_RTCP_TICKS: Final = 10
_SAMPLE_TICKS: Final = 50
_LONGEST_LATENESS: Final = 0.11  # A little more than the clock makes up for.
_LAST_TICKS: Final = 10


class Media:
    """The media of one call. The media clock calls :meth:`tick`; the call does the rest.

    Commands of a program go to the part that they concern: :attr:`speech`, :attr:`voices`,
    :attr:`recordings`. After :meth:`close` those that would begin something raise
    :class:`~spech.errors.CallEnded`.

    Args:
        pair: the leased sockets. The one who leased them closes them, after :meth:`close`.
        rng: chooses SSRC, sequence and timestamp starts, spreads the RTCP reports, and serves ICE.
        silence_suppression: do not send pauses where the codec or comfort noise allows it.
        certificate: returns ours, for DTLS-SRTP. Without it only negotiated keys (SDES) are
            possible.
        symmetric: send to where the peer's packets come from, as NATs need it; otherwise only to
            the negotiated address.
        incidents: counts and logs what is wrong with packets, of all calls.

    Attributes:
        on_event: called within a tick with everything that happens in the media.
        answered: whether the call is, so that what is heard is a greeting.
        voices: the near end: audio ports, and the room that the call is in.
        speech: what is sent: files, tones and digits besides the microphones.
        recordings: the files that record the call.
        monitor: statistics and quality.
    """

    def __init__(
        self,
        pair: PortPair,
        *,
        rng: random.Random,
        silence_suppression: bool = False,
        certificate: Callable[[], Certificate] | None = None,
        symmetric: bool = True,
        incidents: Incidents | None = None,
    ) -> None:
        self.on_event: Callable[[MediaEvent], None] = _ignore
        self.answered = False
        self._rng = rng
        self._session = RtpSession(rng=rng, epoch=time.time() - trio.current_time())
        self._stream = Stream(
            pair, self._session, certificate, symmetric=symmetric, incidents=incidents
        )
        self.speech: Final = Speech(self._session, self._stream, self._emit)
        self.voices: Final = Voices(self.speech.plays)
        self.recordings: Final = Recordings()
        self.monitor: Final = Monitor(self._session, self._stream)
        self._silence_suppression = silence_suppression
        self._events: bool | None = None
        self._detects_tones = False
        self._detector: DigitDetector | None = None
        self._utterances: UtteranceDetector | None = None
        self._detects_cadence = False
        self._cadence: CadenceDetector | None = None
        self._answerer: AnswererDetector | None = None
        self._ear: Ear | None = None
        #: What was heard in a tick whose sending half waits.
        self._unanswered: Samples | None = None
        self._codec: Codec | None = None
        self._chosen = ""
        self._payload_type = -1
        self._playout: Playout | None = None
        self._sending = self._receiving = self._reachable = False
        self._units = self._fraction = 0
        self._ticks = 0
        self._now: float | None = None
        self._due: float | None = None
        self._closed = False

    @property
    def rate(self) -> int:
        """The sampling rate of the call's sound in Hz: the codec's, or 8000 without one."""
        return _DEFAULT_RATE if self._codec is None else self._codec.rate

    @property
    def dtx(self) -> bool:
        """Whether the codec in use describes pauses by itself."""
        return self._codec is not None and self._codec.dtx

    @property
    def last_rtp(self) -> float | None:
        """When the last RTP of the peer came: sound, comfort noise, digits or an empty packet.

        In seconds of :func:`trio.current_time`; None before the first one.
        """
        return self._stream.last_rtp

    @property
    def last_rtcp(self) -> float | None:
        """When the last RTCP of the peer came, as :attr:`last_rtp`."""
        return self._stream.last_rtcp

    @property
    def allowance(self) -> Allowance | None:
        """What may be sent until the peer has proved that it receives us; None: anything."""
        return self._stream.allowance

    @allowance.setter
    def allowance(self, allowance: Allowance | None) -> None:
        self._stream.allowance = allowance

    @property
    def detects_tones(self) -> bool:
        """Whether digits are detected in the peer's sound.

        A negotiation turns it on where telephone-event was not agreed on, and off where it was.
        """
        return self._detects_tones

    @detects_tones.setter
    def detects_tones(self, detects: bool) -> None:
        self._detects_tones = detects
        self._detector = None

    @property
    def low_latency(self) -> bool:
        """Whether ports hear sound as it arrives, which is for machines; see :class:`Ear`."""
        return self._ear is not None

    @low_latency.setter
    def low_latency(self, low: bool) -> None:
        self._ear = Ear() if low else None
        self._session.buffer.immediate = low

    def detect_speech(self) -> None:
        """Emit :class:`~spech.media.events.SpeechChanged` from now on."""
        if self._utterances is None:
            self._utterances = UtteranceDetector()

    def detect_cadence(self) -> None:
        """Emit :class:`~spech.media.events.CadenceHeard` from now on."""
        self._detects_cadence = True

    def detect_answerer(self) -> None:
        """Emit :class:`~spech.media.events.GreetingJudged` once, after the answer."""
        if self._answerer is None:
            self._answerer = AnswererDetector()

    def watch(self, watcher: Watcher) -> None:
        """Show each datagram from now on to ``watcher``, as it is on the wire."""
        self._stream.watcher = watcher

    def rebind(self, pair: PortPair) -> None:
        """Continue with other sockets. The one who leased them closes them, after :meth:`close`."""
        self._stream.rebind(pair)

    def _emit(self, event: MediaEvent) -> None:
        self.on_event(event)

    # Negotiation

    def configure(self, agreed: Agreed) -> None:
        """Take the outcome of an offer and answer: the first one, early media, or a re-INVITE.

        SSRC and sequence numbers continue; the codec may change.

        Raises:
            CodecUnavailable: the codec is unknown here.
            ValueError: the remote host is not a numeric address. The system would resolve a name
                at every packet, and block all calls meanwhile.
        """
        if self._closed:
            return
        if self._unanswered is not None:
            self._speak()
        if self.speech.held:  # Encoded and addressed as was agreed on before.
            self.speech.send_held()
        remote, reachable = _numeric(agreed.remote)
        remote_rtcp, _ = _numeric(agreed.remote_rtcp)
        codec = self._use_codec(agreed)
        events = agreed.telephone_event_send is not None
        if events is not self._events:
            self._events = events
            self.detects_tones = not events
        if codec.dtx:
            codec.suppress_silence(self._silence_suppression)
        codec.configure(agreed.fmtp)
        # With ICE the default destination may be 0.0.0.0 (RFC 8840 4.1.1); a check finds another.
        reachable = reachable or agreed.ice is not None
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
            more_audio={
                form.payload_type: codecs.clock_rate(form.codec) for form in agreed.receive_formats
            },
            more_events=[number for number, _clock in agreed.receive_events],
        )
        self._session.reports.wanted = agreed.extended_reports
        self._stream.negotiate(remote, remote_rtcp, self._agent(agreed))
        self._stream.secure(agreed.security)
        self.speech.configure(
            codec,
            codec.rate // FRAMES_PER_SECOND,
            agreed.ptime_ms,
            suppress=self._silence_suppression,
        )
        self.speech.keypad.event_clock = agreed.telephone_event_clock
        assert self._playout is not None
        self.monitor.configure(
            codec,
            self._playout,
            agreed.payload_type_send,
            self.speech.packet_samples / codec.rate,
        )

    def _agent(self, agreed: Agreed) -> IceAgent | None:
        """The ICE agent for an agreement: the present one, unless ICE restarts (RFC 8445 9)."""
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

    def _use_codec(self, agreed: Agreed) -> Codec:
        """The codec of an agreement, and the decoders of what the peer may send besides it."""
        before, kind = self._codec, agreed.payload_type_receive
        codec = before
        if codec is None or self._chosen != agreed.codec:
            codec = self._codec = codecs.create(agreed.codec)
            self._playout = Playout(self._session, codec, codec.rate // FRAMES_PER_SECOND)
        assert self._playout is not None
        others = dict(self._playout.others) if codec is before else {}
        # Packets that are on their way were encoded by the codec before (RFC 3264 8.3.2).
        if before is not None and codec is not before:
            others[self._payload_type] = OtherFormat(self._chosen, codec.rate, before)
        for form in agreed.receive_formats:
            if form.payload_type not in others:
                others[form.payload_type] = OtherFormat(form.codec, codec.rate)
        others.pop(kind, None)
        self._playout.others = others
        self._chosen = agreed.codec
        self._payload_type = kind
        return codec

    # The clock

    def tick(self, now: float) -> Rest | None:
        """Receive, play, mix and send 20 ms of sound. Nothing that the peer sends raises here.

        Returns what is to be called 10 ms later: with :attr:`low_latency` all that is sent, so that
        a program's answer to what it just heard leaves with it; otherwise the packets that are held
        (:attr:`Speech.held`), or None.

        Raises:
            PeerUnreachable: ICE found no path to the peer, or lost it.
        """
        if self._closed:
            return None
        codec, playout = self._codec, self._playout
        if codec is None or playout is None:
            self._stream.discard()
            self.voices.discard()
            return None
        if self._unanswered is not None:
            self._speak()
        if self.speech.held:
            self.speech.send_held()
        self._receive(now)
        if self._stream.unreachable:
            raise PeerUnreachable(
                f"There is no path to the peer: {self._stream.unreachable} (ICE)."
            )
        # A clock of 11025 Hz has 220 units in one tick and 221 in the next.
        self._units, self._fraction = divmod(self._fraction + codec.clock_rate, FRAMES_PER_SECOND)
        self._notice_stall(now)
        if self._ear is not None and self.voices.member is None:
            self._unanswered = self._listen(self._ear, playout, codec.rate, now)
            return self._speak
        heard = self._perceive(playout.next(self._units, now), codec.rate)
        self._send(self.voices.exchange(heard, codec.rate, self.speech.silence), heard, now)
        return self.speech.send_held if self.speech.held else None

    def _speak(self) -> None:
        """Send the microphones' sound, which a tick left."""
        heard, self._unanswered = self._unanswered, None
        if heard is not None and self._now is not None and not self._closed:
            microphone = self.voices.speak(self.rate, self.speech.silence)
            self._send(microphone, heard, self._now + PERIOD / 2)

    def _send(self, microphone: Samples, heard: Samples, now: float) -> None:
        """Send and record one tick, and report on it to the peer."""
        # Files and digits wait until a hold ends; the microphone's sound is dropped meanwhile.
        if self._sending and self._stream.ready and self._stream.protection.ready:
            spoken = self.speech.say(microphone, self._units)
        else:
            spoken = self.speech.pause(self._units)
        if self.recordings.running:
            self.recordings.write(spoken, heard, self.rate)
        self._ticks += 1
        if self._ticks % _RTCP_TICKS == 0:
            self._exchange_reports(now)

    def _exchange_reports(self, now: float) -> None:
        self._stream.drain_rtcp(now)
        if self._session.report_due(now):
            self._stream.send_rtcp(self._session.report(now))
        # Where RTCP shares the port of RTP, or with ICE, other packets keep the NAT binding.
        if self._reachable and not self._stream.shared and self._stream.ice is None:
            keepalive = self._session.keepalive(now)
            if keepalive is not None:
                self._stream.send(keepalive)
        if self._ticks % _SAMPLE_TICKS == 0:
            self.monitor.sample()

    def _receive(self, now: float) -> None:
        protection = self._stream.protection
        shaking = not protection.ready and protection.failure is None
        for digit in self._stream.drain(now):
            self.on_event(EventDigit(digit))
        if shaking and (protection.ready or protection.failure):
            self.on_event(HandshakeFinished(protection.failure))

    def _perceive(self, heard: Samples, rate: int) -> Samples:
        """Notice the digits and the speech in a tick; return it as ports hear it."""
        if not self._receiving:
            heard = self.speech.silence
        elif self._detects_tones:
            assert self._playout is not None
            self._detect(heard, rate, lost=self._playout.bridged)
        if self._utterances is not None:
            speaking = self._utterances.feed(heard)
            if speaking is not None:
                self.on_event(SpeechChanged(speaking))
        if self._detects_cadence:
            self._follow_cadence(heard, rate)
        if self._answerer is not None and self.answered:
            greeting = self._answerer.feed(heard)
            if greeting is not None:
                self._answerer = None
                self.on_event(GreetingJudged(greeting))
        return self.voices.process_heard(heard)

    def _listen(self, ear: Ear, playout: Playout, rate: int, now: float) -> Samples:
        """Give ports what has arrived; return one tick of it."""
        for sound in ear.listen(playout, self._units, now):
            heard = self._perceive(sound, rate)
            self.voices.play(heard, rate)
            if self.recordings.running:
                ear.heard.append(heard)
        return ear.heard.popleft() if ear.heard else self.speech.silence

    def _detect(self, heard: Samples, rate: int, *, lost: bool) -> None:
        if self._detector is None or self._detector.rate != rate:
            self._detector = DigitDetector(rate)
        for digit in self._detector.feed(heard, lost=lost):
            self.on_event(ToneDigit(digit))

    def _follow_cadence(self, heard: Samples, rate: int) -> None:
        if self._cadence is None or self._cadence.rate != rate:
            self._cadence = CadenceDetector(rate)
        tone = self._cadence.feed(heard)
        if tone is not None:
            self.on_event(CadenceHeard(tone))

    def _play_rest(self, now: float) -> None:
        """Play what the jitter buffer holds, because it was said before the call ended."""
        codec, playout = self._codec, self._playout
        if codec is None or playout is None or not self._receiving:
            return
        self._receive(now)
        for ahead in range(_LAST_TICKS):
            if not playout.waiting:
                break
            heard = playout.next(self._units, now + ahead * PERIOD)
            self.voices.play(heard, codec.rate)
            self.recordings.write(self.speech.silence, heard, codec.rate)

    def _notice_stall(self, now: float) -> None:
        """After the machine has slept, continue at the present time.

        The clock makes up for short stalls, and drops the ticks of long ones. Each tick is compared
        with the time at which it was due. If it were compared with the last tick, which may have
        been late itself, several stalls in a row would leave our timestamps behind for good.
        """
        due = now if self._due is None else min(self._due, now)
        if now - due > _LONGEST_LATENESS:
            missed = int((now - due) / PERIOD)
            self._session.skip(missed * self._units)
            due += missed * PERIOD
        self._due = due + PERIOD
        self._now = now

    def close(self) -> None:
        """End the media: send an RTCP BYE, close ports and recordings. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._now is not None:
            self._play_rest(self._now)
            farewell = self._session.farewell(self._now)
            if farewell is not None:
                self._stream.send_rtcp(farewell)
            if not self.monitor.history:  # A call shorter than a second has a MOS as well.
                self.monitor.sample()
        self.voices.close()
        self.speech.close()
        self.recordings.close()


def _ignore(event: MediaEvent) -> None:
    """Do nothing with an event: a Media that is used alone has no call to tell."""


@lru_cache(maxsize=1024)
def _numeric(address: tuple[str, int]) -> tuple[tuple[str, int], bool]:
    """Normalise an address as the socket writes it; the flag tells whether it can be sent to.

    0.0.0.0 is the hold of RFC 2543.
    """
    host, port = address
    parsed = ipaddress.ip_address(host)
    return (str(parsed), port), port > 0 and not parsed.is_unspecified
