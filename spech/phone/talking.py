"""Asking a caller for digits, and listening to what is said."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

import numpy as np
import trio

from spech.audio import tones
from spech.audio.activity import PAUSE_SECONDS, UtteranceDetector
from spech.codecs.base import Samples
from spech.media.playback import Playable, Playback
from spech.media.port import FRAMES_PER_SECOND
from spech.phone.sound import Sound
from spech.scopes import open_scope

Prompt = Playable | Callable[[], Playback]
"""A sound as for :meth:`Call.play`, or a function that plays one and returns its handle."""

#: Frequency in Hz and length in seconds of :meth:`Call.beep`.
_BEEP: Final = (1000.0, 0.25)


class Talking(Sound):
    """The part of :class:`~spech.Call` that asks and listens."""

    def beep(self) -> Playback:
        """Play 1000 Hz for 250 ms to the far end, after what plays already.

        Raises:
            CallEnded: the call is over.
        """
        frequency, seconds = _BEEP
        return self.play(tones.tone((frequency,), seconds, self._media.rate))

    async def ask(
        self,
        *prompts: Prompt,
        digits: int = 1,
        timeout: float = 5.0,
        inter_digit: float = 3.0,
        tries: int = 3,
        valid: Container[str] | Callable[[str], bool] | None = None,
        terminator: str | None = "#",
    ) -> str | None:
        """Play prompts until a digit comes, and return the digits that are entered.

            choice = await call.ask("welcome.wav", "menu.wav", valid={"1", "2", "0"})
            pin = await call.ask("pin.wav", digits=4, valid=lambda entry: entry == secret)

        The first digit ends the prompts. Digits that arrived before are the entry's first ones, and
        the prompts are then not played. After an entry that is not valid, what was dialed ahead is
        dropped. Cancelling ends the prompts.

        Args:
            prompts: sounds as for :meth:`play`, or functions without arguments that play one and
                return its handle: ``call.beep``, ``lambda: call.play(speech("Your PIN?"))``. Each
                try plays them again. An async iterator can be played once only, so give a function
                that makes a new one.
            digits: how many at most.
            timeout: seconds from the end of the prompts to the first digit.
            inter_digit: seconds from one digit to the next, after which the entry is complete.
            tries: how often to ask.
            valid: the entries to accept, or a function that tells; any but an empty one by default.
            terminator: a digit that completes the entry and is not part of it, or None.

        Returns:
            The entry; None if there was no valid one.

        Raises:
            CallEnded: the call is over.
            MediaError: a file cannot be read.
        """
        for _ in range(tries):
            if not self._digits:
                await self._prompt(prompts)
            entry = await self._collect_entry(digits, timeout, inter_digit, terminator)
            if entry and _accepts(valid, entry):
                return entry
            self._digits = ""
        return None

    async def _prompt(self, prompts: Sequence[Prompt]) -> None:
        """Play prompts to their end, or until a digit comes."""
        playing: list[Playback] = []
        try:
            for prompt in prompts:
                playing.append(prompt() if callable(prompt) else self.play(prompt))
            async with open_scope() as nursery:

                async def watch_digits() -> None:
                    while not self._digits:
                        await self.changed()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(watch_digits)
                for playback in playing:
                    await playback.played()
                nursery.cancel_scope.cancel()
        finally:
            for playback in playing:
                if not playback.done:
                    playback.flush()

    async def _collect_entry(
        self, digits: int, timeout: float, inter_digit: float, terminator: str | None
    ) -> str:
        entry = ""
        while len(entry) < digits:
            patience = inter_digit if entry else timeout
            digit = await self.collect_digits(1, patience, terminator)
            if not digit:
                break
            entry += digit
        return entry

    async def listen(
        self,
        seconds: float = 60.0,
        *,
        silence: float | None = 2.0,
        terminator: str | None = "#",
        rate: int | None = None,
    ) -> Samples:
        """Return what the far end says, as mono PCM of int16.

            call.beep()
            await call.played()
            message = await call.listen(120, silence=4)

        Our own sound is not in it. It ends early when the far end is silent or presses the
        terminator, and when the call ends.

        Args:
            seconds: how long at most.
            silence: seconds without speech that end it, from the beginning on; None for never.
            terminator: a digit that ends it and is not collected later, or None.
            rate: of the PCM, in Hz; by default that of the codec.

        Raises:
            CallEnded: the call was over before.
            ValueError: 20 ms at ``rate`` are not a whole number of samples.
        """
        detector = UtteranceDetector()
        heard: list[Samples] = []
        speaking, quiet = False, 0.0
        with self.open_audio(rate) as port, trio.move_on_after(seconds):
            async for frame in port:
                heard.append(np.frombuffer(frame, np.int16))
                quiet += 1 / FRAMES_PER_SECOND
                change = detector.feed(heard[-1])
                if change is not None:
                    speaking, quiet = change, PAUSE_SECONDS
                if terminator is not None and terminator in self._digits:
                    self._digits = self._digits.partition(terminator)[2]
                    break
                if silence is not None and not speaking and quiet >= silence:
                    break
        return np.concatenate(heard) if heard else np.zeros(0, np.int16)


def _accepts(valid: Container[str] | Callable[[str], bool] | None, entry: str) -> bool:
    if valid is None:
        return True
    return valid(entry) if callable(valid) else entry in valid
