"""A telephone call for an AgentSession of LiveKit Agents: ``pip install 'spech[livekit]'``.

    server = AgentServer(Account("sip:bot@pbx.example.org", password="..."))

    @server.sip_session()
    async def entrypoint(ctx: JobContext) -> None:
        session = AgentSession(stt=..., llm=..., tts=..., aec_warmup_duration=None)
        ctx.session = session
        await session.start(agent=Agent(instructions="You are a friendly clerk."), room=ctx.room)

    server.run()

Neither a server of LiveKit nor a room is between the agent and the trunk. A call has no echo:
``aec_warmup_duration=None`` lets the caller interrupt the agent's first words.

A program that answers or places calls itself, with :mod:`spech.aio`, uses :func:`talk`:

    async with enter(phone.call("600")) as call:
        await run(call.answered, 30)
        await talk(AgentSession(...), Agent(...), call)
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from spech.aio import enter, handler, run
from spech.errors import CallEnded
from spech.media.playback import Playback
from spech.media.port import AudioPort
from spech.phone.account import Account
from spech.phone.call import Call
from spech.phone.incoming import IncomingCall
from spech.phone.opening import open_phone

try:
    from livekit import rtc
    from livekit.agents import NOT_GIVEN, Agent, AgentSession
    from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "spech.contrib.livekit needs LiveKit Agents; run: pip install 'spech[livekit]'",
        name=error.name,
    ) from error

_log: Final = logging.getLogger(__name__)

#: The rate of the caller's sound, in Hz; that of the agent's is the one of its speech synthesis.
_RATE: Final = 24_000


@dataclass
class JobProcess:
    """This process, as LiveKit's agents know it.

    Attributes:
        userdata: what :attr:`AgentServer.setup_fnc` has loaded for all calls.
    """

    userdata: dict[str, Any] = field(default_factory=dict)


class JobContext:
    """What an entry point is told about its call.

    Attributes:
        call: the call, which is answered. Its :attr:`Call.low_latency` is set, because speech
            recognition needs no even intervals.
        room: what ``AgentSession.start`` takes in place of a room: nothing.
        proc: this process.
    """

    def __init__(self, call: Call, proc: JobProcess) -> None:
        call.low_latency = True
        self.call = call
        self.room = NOT_GIVEN
        self.proc = proc
        self._session: AgentSession | None = None
        self._closed = asyncio.Event()
        self._attached = ExitStack()

    @property
    def session(self) -> AgentSession | None:
        """The session of the call. Setting it makes the call its input and its output.

        Raises:
            CallEnded: the call is over.
            RuntimeError: the call has a session already.
        """
        return self._session

    @session.setter
    def session(self, session: AgentSession) -> None:
        if self._session is not None:
            raise RuntimeError("the call has a session already")
        self._session = session
        session.on("close", lambda event: self._closed.set())
        port = self._attached.enter_context(self.call.open_audio(_RATE))
        session.input.audio = CallInput(port)
        session.output.audio = CallOutput(self.call)

    async def connect(self) -> None:
        """Do nothing: the call is answered already."""

    def shutdown(self, reason: str = "") -> None:
        """Hang up."""
        self.call.hang_up(reason=reason or None)

    async def run(self, entrypoint: Entrypoint) -> None:
        """Run an entry point; return when the session has closed, or the call is over.

        If the call is over first, the session is closed. Cancellation closes it as well.
        """
        with self._attached:
            try:
                await entrypoint(self)
                if self._session is not None:
                    await self._over()
            finally:
                if self._session is not None:
                    await self._session.aclose()

    async def _over(self) -> None:
        waits = [asyncio.create_task(self._closed.wait()), asyncio.create_task(self._ended())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _ended(self) -> None:
        await run(self.call.ended)


Entrypoint = Callable[[JobContext], Coroutine[Any, Any, object]]
"""A function that is called for each call."""


async def talk(session: AgentSession, agent: Agent, call: Call, **options: Any) -> None:
    """Let an agent talk on a call until the session closes or the call is over.

    If the call is over first, the session is closed. If the session closes first, leaving the
    block of the call hangs up. Cancellation closes the session.

    Args:
        session: not started.
        agent: to start it with.
        call: a call that is answered. :attr:`Call.low_latency` is set.
        options: further arguments of ``AgentSession.start``.

    Raises:
        CallEnded: the call is over before the session starts.
    """

    async def start(context: JobContext) -> None:
        context.session = session
        await session.start(agent, **options)

    await JobContext(call, JobProcess()).run(start)


class AgentServer:
    """Answers all calls of an account, each with an entry point of its own.

    Args:
        account: registers; None for calls between SIP URIs.
        options: of :func:`spech.open_phone`.

    Attributes:
        setup_fnc: called once before the first call, to load what all calls share.
    """

    def __init__(self, account: Account | None = None, **options: Any) -> None:
        self._account = account
        self._options = options
        self._entrypoint: Entrypoint | None = None
        self.setup_fnc: Callable[[JobProcess], object] = lambda proc: None

    def sip_session(self) -> Callable[[Entrypoint], Entrypoint]:
        """Make the decorated function the entry point."""

        def decorate(entrypoint: Entrypoint) -> Entrypoint:
            self._entrypoint = entrypoint
            return entrypoint

        return decorate

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, which hang up all calls.

        Raises:
            RuntimeError: there is no entry point.
            SpechError: the phone cannot be opened, or the registrar refuses.
        """
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(self._run())

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await self.serve()

    async def serve(self) -> None:
        """Serve until cancelled, in a program that has an event loop already.

        Raises:
            RuntimeError: there is no entry point.
            SpechError: the phone cannot be opened, or the registrar refuses.
        """
        if self._entrypoint is None:
            raise RuntimeError("a function decorated with sip_session() is missing")
        entrypoint, proc = self._entrypoint, JobProcess()
        self.setup_fnc(proc)

        async def answer(incoming: IncomingCall) -> None:
            async with enter(incoming.answer()) as call:
                await JobContext(call, proc).run(entrypoint)

        async with enter(open_phone(self._account, **self._options)) as phone:
            if self._account is not None and self._account.register:
                await run(phone.registered)
            _log.info("agents answer at %s:%d", *phone.address)
            await run(phone.serve, handler(answer))


class CallInput(AudioInput):
    """What the caller says, in frames of 20 ms, until the call is over.

    Args:
        port: of the call.
    """

    def __init__(self, port: AudioPort) -> None:
        super().__init__(label="Spech")
        self._port = port
        self._attached = True

    async def __anext__(self) -> rtc.AudioFrame:
        try:
            pcm = await run(self._port.receive)
            while not self._attached:
                pcm = await run(self._port.receive)
        except CallEnded:
            raise StopAsyncIteration from None
        return rtc.AudioFrame(pcm, self._port.rate, 1, self._port.frame_samples)

    def on_attached(self) -> None:
        """The session listens."""
        self._attached = True

    def on_detached(self) -> None:
        """The session does not listen; what is said meanwhile is dropped."""
        self._attached = False


@dataclass
class _Segment:
    """What the agent says at a stretch.

    Attributes:
        speech: the sound; None where the call was over already.
        cleared: seconds of it that had been played when it was interrupted, None where it was not.
    """

    speech: Playback | None
    cleared: float | None = None


class CallOutput(AudioOutput):
    """What the agent says. Frames may come as fast as they are synthesised.

    Args:
        call: plays it.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(label="Spech", capabilities=AudioOutputCapabilities(pause=True))
        self._call = call
        self._paused = False
        self._segment: _Segment | None = None
        self._finishing: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Play a frame after those before it.

        Raises:
            ValueError: it has more than one channel.
        """
        if frame.num_channels != 1:
            raise ValueError(f"a call has one channel, not {frame.num_channels}")
        if self._finishing is not None:
            await asyncio.wait([self._finishing])
        await super().capture_frame(frame)
        if self._segment is None:
            self._segment = _Segment(self._begin(frame.sample_rate))
            self.on_playback_started(created_at=time.time())
        speech = self._segment.speech
        if speech is not None and self._segment.cleared is None:
            speech.write(bytes(frame.data))

    def _begin(self, rate: int) -> Playback | None:
        with suppress(CallEnded):
            speech = self._call.play(rate=rate)
            if self._paused:
                speech.pause()
            return speech
        return None

    def flush(self) -> None:
        """The segment is complete; tell when it has been played."""
        super().flush()
        if self._segment is not None and self._finishing is None:
            self._finishing = asyncio.create_task(self._finish(self._segment))

    async def _finish(self, segment: _Segment) -> None:
        whole, position = False, 0.0
        if segment.speech is not None:
            segment.speech.end()
            with suppress(CallEnded):
                whole = await run(segment.speech.played)
            position = segment.speech.played_ms / 1000.0
        self._segment = self._finishing = None
        if segment.cleared is not None:
            whole, position = False, segment.cleared
        self.on_playback_finished(playback_position=position, interrupted=not whole)

    def clear_buffer(self) -> None:
        """Interrupt the segment: what has not been played is dropped, and so is what follows."""
        segment = self._segment
        if segment is not None and segment.cleared is None:
            segment.cleared = 0.0 if segment.speech is None else segment.speech.flush() / 1000.0

    def pause(self) -> None:
        """Stop playing until :meth:`resume`."""
        self._paused = True
        if self._segment is not None and self._segment.speech is not None:
            self._segment.speech.pause()

    def resume(self) -> None:
        """Continue where it was paused."""
        self._paused = False
        if self._segment is not None and self._segment.speech is not None:
            self._segment.speech.resume()
