"""The microphone and the speaker of a program: live PCM into and out of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import numpy as np
import trio

from spech.audio.stretch import lengthen, shorten
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler
from spech.errors import CallEnded
from spech.media.playback import Playable, Playback, PlayQueue

FRAMES_PER_SECOND = 50

_BYTES = (bytes, bytearray, memoryview)
_MOST_FRAMES = 10
_BACKLOG_TICKS = 100
_BACKLOG_FRAMES = 2
_TAIL_TICKS = 3
_LIKENESS = 0.8


@final
class AudioPort:
    """A microphone and a speaker of one call, in PCM: int16 little-endian, mono.

    The microphone is for live sound. It and the speaker hold at most 10 frames of 20 ms, 0.2 s;
    older frames are dropped and counted. So a backlog never becomes latency, and nothing grows when
    nobody reads or the call is on hold. While more than two frames always wait, the sound of the
    microphone is shortened by pitch periods and in silence, so that the delay of a sender with a
    fast clock does not grow. After a frame that was late within speech it is lengthened, so that a
    sender with a slow clock causes no gaps.

    Use :meth:`play` for sound that arrives faster than real time, such as text-to-speech.
    """

    def __init__(self, buffers: PortBuffers, plays: PlayQueue) -> None:
        self._buffers = buffers
        self._plays = plays

    @property
    def rate(self) -> int:
        """The sampling rate of the PCM, in Hz."""
        return self._buffers.rate

    @property
    def frame_samples(self) -> int:
        """Samples in a frame of 20 ms."""
        return self._buffers.frame_samples

    @property
    def dropped(self) -> int:
        """Frames from the microphone that were never sent, because too many waited."""
        return self._buffers.dropped

    @property
    def missed(self) -> int:
        """Frames for the speaker that were not read in time."""
        return self._buffers.missed

    def send(self, pcm: bytes | bytearray | memoryview) -> None:
        """Send live PCM to the peer; of what waits, only the newest 0.2 s are kept.

        Usually one frame. After the end of the call it goes nowhere, so that a program may answer
        the last frames that it reads; :meth:`receive` tells that the call is over.

        Args:
            pcm: any even number of bytes.

        Raises:
            ValueError: an odd number of bytes.
            TypeError: they are no bytes.
        """
        if not isinstance(pcm, _BYTES):
            raise TypeError(
                "send() takes bytes of 16-bit samples, such as array.tobytes(), "
                f"not {type(pcm).__name__}"
            )
        if len(pcm) % 2:
            raise ValueError(f"{len(pcm)} bytes are no whole number of 16-bit samples")
        buffers = self._buffers
        if buffers.closed:
            return
        buffers.microphone += pcm
        excess = len(buffers.microphone) - buffers.most_bytes
        if excess > 0:
            buffers.drop(excess)

    def play(
        self, sound: Playable | None = None, *, gain: float = 0.0, repeat: bool = False
    ) -> Playback:
        """Play a sound to the peer, after what plays already; see :meth:`Call.play`.

        It is the queue of :meth:`Call.play`, with PCM at the rate of the port.

        Raises:
            CallEnded, MediaError, LocalProtocolError, ValueError: as for :meth:`Call.play`.
        """
        return self._plays.play(sound, self._buffers.rate, gain=gain, repeat=repeat)

    def play_background(
        self, sound: Playable, *, gain: float = -20.0, repeat: bool = True
    ) -> Playback:
        """Play a sound beneath everything else; see :meth:`Call.play_background`.

        Raises:
            CallEnded, MediaError, LocalProtocolError, ValueError: as for :meth:`Call.play`.
        """
        return self._plays.play_background(sound, self._buffers.rate, gain=gain, repeat=repeat)

    async def receive(self) -> bytes:
        """Return the next 20 ms of what the peer says.

        Cancellation loses nothing.

        Raises:
            CallEnded: the port is closed and everything was read.
        """
        buffers = self._buffers
        if buffers.speaker:
            await trio.lowlevel.checkpoint()
        while not buffers.speaker:
            if buffers.closed:
                raise CallEnded("the call has ended")
            await buffers.readers.park()
        return buffers.speaker.popleft()

    def __aiter__(self) -> AudioPort:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except CallEnded:
            raise StopAsyncIteration from None

    @contextmanager
    def driven(
        self, before_take: Callable[[], object], on_frame: Callable[[bytes], object]
    ) -> Iterator[None]:
        """Have the media clock call functions in each tick, for the time of a ``with`` block.

        That saves a task switch for each frame in each direction. The functions may neither wait
        nor raise.

        Args:
            before_take: called each tick before the microphone is asked, to :meth:`send` to it.
            on_frame: called each tick with what the peer says, which is then not kept for
                :meth:`receive`.
        """
        buffers = self._buffers
        buffers.before_take, buffers.on_frame = before_take, on_frame
        try:
            yield
        finally:
            buffers.before_take = buffers.on_frame = None

    def flush(self) -> None:
        """Drop what the microphone has queued."""
        self._buffers.flush()


class PortBuffers:
    """What waits in the microphone and in the speaker of a port, as the media clock uses them.

    Args:
        rate: of the PCM, in Hz.

    Raises:
        ValueError: 20 ms at ``rate`` are not a whole number of samples.
    """

    def __init__(self, rate: int) -> None:
        if rate % FRAMES_PER_SECOND or not 8000 <= rate <= 192000:
            raise ValueError(f"{rate} Hz has no whole frames of 20 ms")
        self.rate = rate
        self.frame_samples = rate // FRAMES_PER_SECOND
        self._frame_bytes = self.frame_samples * 2
        #: Bytes that the microphone keeps.
        self.most_bytes = _MOST_FRAMES * self._frame_bytes
        self.dropped = 0
        self.missed = 0
        self.closed = False
        self.microphone = bytearray()
        self._last = b""
        self._least = self._takes = 0
        self._surplus = 0
        self._starved = False
        self._idle = _TAIL_TICKS
        self.speaker: deque[bytes] = deque()
        #: Tasks that wait for a frame of the speaker.
        self.readers = trio.lowlevel.ParkingLot()
        #: See :meth:`AudioPort.driven`.
        self.before_take: Callable[[], object] | None = None
        self.on_frame: Callable[[bytes], object] | None = None
        self._outwards: Resampler | None = None
        self._converted: Samples = np.zeros(0, np.int16)
        self._inwards: Resampler | None = None
        self._rest: Samples = np.zeros(0, np.int16)

    def flush(self) -> None:
        """Drop what the microphone has queued."""
        self.microphone.clear()
        self._converted = self._converted[:0]

    def close(self) -> None:
        """End both sides; frames for the speaker can still be read. May be called again."""
        self.closed = True
        self.microphone.clear()
        self.readers.unpark_all()

    def take(self, rate: int) -> Samples | None:
        """Return the microphone's next 20 ms at ``rate`` Hz, padded; None if nothing waits."""
        if self.before_take is not None:
            self.before_take()
        waiting = self.microphone
        size = self._frame_bytes
        if waiting:
            if self._surplus:
                self._stretch()
            frame = bytes(waiting[:size])
            del waiting[:size]
            if len(frame) < size:
                frame += bytes(size - len(frame))
            if 0 < self._idle <= _TAIL_TICKS:
                self._starved = True
            self._idle = 0
            self._last = frame
        else:
            self._idle += 1
            if self._idle > _TAIL_TICKS:
                if self._idle == _TAIL_TICKS + 1:
                    self._forget_backlog()
                return None
            if rate == self.rate:
                return None
            # The resampler still holds the end of the sound.
            frame = bytes(size)
        self._watch_backlog()
        pcm = np.frombuffer(frame, "<i2")
        if rate == self.rate:
            return pcm
        return self._convert(pcm, rate)

    def put(self, pcm: Samples, rate: int) -> None:
        """Give the speaker 20 ms at ``rate`` Hz."""
        if self.closed:
            return
        if rate == self.rate:
            self._hand_on(pcm.tobytes())
            return
        if self._inwards is None or self._inwards.from_rate != rate:
            self._inwards = Resampler(rate, self.rate)
        self._rest = np.concatenate((self._rest, self._inwards.process(pcm)))
        while len(self._rest) >= self.frame_samples:
            self._hand_on(self._rest[: self.frame_samples].tobytes())
            self._rest = self._rest[self.frame_samples :]

    def _hand_on(self, frame: bytes) -> None:
        if self.on_frame is not None:
            self.on_frame(frame)
            return
        if len(self.speaker) >= _MOST_FRAMES:
            self.speaker.popleft()
            self.missed += 1
        self.speaker.append(frame)
        if self.readers:
            self.readers.unpark()

    def _convert(self, pcm: Samples, rate: int) -> Samples | None:
        if self._outwards is None or self._outwards.to_rate != rate:
            self._outwards = Resampler(self.rate, rate)
            self._converted = self._converted[:0]
        self._converted = np.concatenate((self._converted, self._outwards.process(pcm)))
        samples = rate // FRAMES_PER_SECOND
        if len(self._converted) < samples:
            return None
        ready = self._converted[:samples]
        self._converted = self._converted[samples:]
        return ready

    def _watch_backlog(self) -> None:
        """Check every two seconds for a backlog that never empties, or one that is used up."""
        left = len(self.microphone)
        if self._takes == 0 or left < self._least:
            self._least = left
        self._takes += 1
        if self._takes >= _BACKLOG_TICKS:
            self._takes = 0
            self._surplus = 0
            if self._least > _BACKLOG_FRAMES * self._frame_bytes:
                self._surplus = self.frame_samples
            elif self._starved and self._least == 0:
                self._surplus = -self.frame_samples

    def _forget_backlog(self) -> None:
        """Start afresh with the next word, because the microphone is silent."""
        self._least = self._takes = self._surplus = 0
        self._starved = False

    def _stretch(self) -> None:
        """Shorten or lengthen the next frames by the surplus, where that is inaudible."""
        waiting, surplus = self.microphone, self._surplus
        size = self._frame_bytes * (1 if surplus < 0 else 2)
        part = bytes(waiting[:size])
        sound = np.frombuffer(self._last + part, "<i2")
        at = len(self._last) // 2
        change = shorten if surplus > 0 else lengthen
        changed = change(sound, at, abs(surplus), self.rate, _LIKENESS)
        if changed is None:
            return
        waiting[:size] = changed.astype("<i2").tobytes()
        left = surplus - (len(part) // 2 - len(changed))
        self._surplus = max(0, left) if surplus > 0 else min(0, left)

    def drop(self, excess: int) -> None:
        """Drop the oldest frames of the microphone, ``excess`` bytes at least."""
        frames = -(-excess // self._frame_bytes)
        del self.microphone[: frames * self._frame_bytes]
        self.dropped += frames
