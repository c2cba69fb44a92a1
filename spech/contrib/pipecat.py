"""A telephone call as a transport of Pipecat: ``pip install 'spech[pipecat]'``.

    async def answer(incoming: IncomingCall) -> None:
        async with enter(incoming.answer()) as call:
            transport = SpechTransport(call)
            pipeline = Pipeline([transport.input(), ..., transport.output()])
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(PipelineWorker(pipeline))
            await runner.run()

    async def main() -> None:
        async with enter(open_phone(Account(...))) as phone:
            await run(phone.serve, handler(answer))

No server of Pipecat and no telephone service is between the pipeline and the trunk. See
:mod:`spech.aio` for ``enter``, ``run`` and ``handler``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from spech.aio import iterate, run
from spech.errors import CallEnded
from spech.media.playback import Playback
from spech.phone.call import Call

try:
    from pipecat.audio.dtmf.types import KeypadEntry
    from pipecat.frames.frames import (
        CancelFrame,
        CancelWorkerFrame,
        ClientConnectedFrame,
        EndFrame,
        Frame,
        InputAudioRawFrame,
        InputDTMFFrame,
        InterruptionFrame,
        OutputAudioRawFrame,
        OutputDTMFFrame,
        OutputDTMFUrgentFrame,
        StartFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.transports.base_input import BaseInputTransport
    from pipecat.transports.base_output import BaseOutputTransport
    from pipecat.transports.base_transport import BaseTransport, TransportParams
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "spech.contrib.pipecat needs Pipecat; run: pip install 'spech[pipecat]'", name=error.name
    ) from error

#: Milliseconds of speech that wait in the call; Pipecat keeps the rest.
_AHEAD: Final = 200.0


class SpechTransport(BaseTransport):
    """The transport of one call: sound and digits, both ways.

    Sound has the rates of the pipeline, ``audio_in_sample_rate`` and ``audio_out_sample_rate``. An
    ``InterruptionFrame`` drops what the call has not played. Digits of the caller arrive as
    ``InputDTMFFrame``, and ``OutputDTMFFrame`` sends digits. An ``EndFrame`` waits until all sound
    and digits are sent. When the far end hangs up, the pipeline is cancelled. Leaving the block of
    the call, after the pipeline, hangs up.

    Events, as other transports of Pipecat have them:

    - ``on_client_connected(transport, call)``: the pipeline has started.
    - ``on_client_disconnected(transport, call)``: the far end has hung up, or the call has failed.

    Args:
        call: a call that is answered, or becomes so. :attr:`Call.low_latency` is set, because
            speech recognition needs no even intervals; its digits are read here.
        params: of Pipecat; by default sound goes both ways, and no silence is added at the end.
        name: of the transport, ``input_name`` and ``output_name`` of its processors.

    Raises:
        ValueError: ``params`` asks for more than one channel.
    """

    def __init__(
        self,
        call: Call,
        params: TransportParams | None = None,
        *,
        name: str | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        super().__init__(name=name, input_name=input_name, output_name=output_name)
        if params is None:
            params = TransportParams(
                audio_in_enabled=True, audio_out_enabled=True, audio_out_end_silence_secs=0
            )
        if (params.audio_in_channels, params.audio_out_channels) != (1, 1):
            raise ValueError("a call has one channel in each direction")
        call.low_latency = True
        self.call = call
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")
        self._input = SpechInput(self, params, name=input_name)
        self._output = SpechOutput(call, params, name=output_name)

    def input(self) -> SpechInput:
        """The processor that the caller's sound and digits come from."""
        return self._input

    def output(self) -> SpechOutput:
        """The processor that sends sound and digits to the caller."""
        return self._output

    async def tell(self, event: str) -> None:
        """Call the handlers of an event."""
        await self._call_event_handler(event, self.call)


class SpechInput(BaseInputTransport):
    """Brings the caller's sound and digits into a pipeline. See :class:`SpechTransport`."""

    def __init__(self, transport: SpechTransport, params: TransportParams, **options: Any) -> None:
        super().__init__(params, **options)
        self._transport = transport
        self._call = transport.call
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, frame: StartFrame) -> None:
        """Begin to listen."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        if not self._tasks:
            self._tasks = [self.create_task(self._listen()), self.create_task(self._read_keys())]
            await self._transport.tell("on_client_connected")
            await self.push_frame(ClientConnectedFrame())

    async def stop(self, frame: EndFrame) -> None:
        """Stop listening, because the pipeline ends."""
        await super().stop(frame)
        await self._stop_tasks()

    async def cancel(self, frame: CancelFrame) -> None:
        """Stop listening, because the pipeline is cancelled."""
        await super().cancel(frame)
        await self._stop_tasks()

    async def cleanup(self) -> None:
        """Stop listening, and wait for the handlers of events."""
        await super().cleanup()
        await self._stop_tasks()
        await self._transport.cleanup()

    async def _stop_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await self.cancel_task(task)

    async def _listen(self) -> None:
        """Push what the caller says until the call is over, then end the pipeline."""
        with suppress(CallEnded), self._call.open_audio(self.sample_rate) as port:
            async for pcm in iterate(port):
                await self.push_audio_frame(
                    InputAudioRawFrame(audio=pcm, sample_rate=port.rate, num_channels=1)
                )
        await self._transport.tell("on_client_disconnected")
        await self.push_frame(
            CancelWorkerFrame(reason="the call has ended"), FrameDirection.UPSTREAM
        )

    async def _read_keys(self) -> None:
        """Push the digits of the caller."""
        with suppress(CallEnded):
            while True:
                digit = await run(self._call.collect_digits, 1, None, None)
                with suppress(ValueError):  # Pipecat knows no A to D.
                    await self.push_frame(InputDTMFFrame(button=KeypadEntry(digit)))


class SpechOutput(BaseOutputTransport):
    """Sends the sound and the digits of a pipeline to the caller. See :class:`SpechTransport`."""

    def __init__(self, call: Call, params: TransportParams, **options: Any) -> None:
        super().__init__(params, **options)
        self._call = call
        self._speech: Playback | None = None

    async def start(self, frame: StartFrame) -> None:
        """Begin to play."""
        await super().start(frame)
        with suppress(CallEnded):
            if self._speech is None:
                self._speech = self._call.play(rate=self.sample_rate)
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        """Wait until everything has been sent, because the pipeline ends."""
        await super().stop(frame)
        if self._speech is not None:
            self._speech.end()
            with suppress(CallEnded):
                await run(self._call.played)

    async def cancel(self, frame: CancelFrame) -> None:
        """Drop what has not been sent, because the pipeline is cancelled."""
        await super().cancel(frame)
        if self._speech is not None:
            self._speech.flush()
            self._speech.end()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle a frame; an interruption also drops what the call has not played."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame) and self._speech is not None:
            self._speech.flush()

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play a frame, and return when less than 0.2 s wait to be played.

        Returns:
            False where the call is over.
        """
        speech = self._speech
        if speech is None or speech.done:
            return False
        speech.write(frame.audio)
        # During a hold nothing is played, and no frame waits longer than it lasts.
        lasts = 1000.0 * frame.num_frames / frame.sample_rate
        await asyncio.sleep(min(max(speech.queued_ms - _AHEAD, 0.0), lasts) / 1000.0)
        return True

    def _supports_native_dtmf(self) -> bool:
        return True

    async def _write_dtmf_native(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        with suppress(CallEnded):
            if isinstance(frame, OutputDTMFFrame) and self._speech is not None:
                await run(self._speech.mark().played)
            self._call.send_dtmf("".join(button.value for button in frame.buttons or ()))
