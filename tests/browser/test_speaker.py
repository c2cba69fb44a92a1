"""The page's speaker with a sound card whose clock differs from the server's, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

WORKLET = Path(__file__).parent.parent.parent / "frontend" / "sound" / "speaker-worklet.js"
MINUTES = 10

#: Frames of a tone arrive every 20 ms of the server's clock, up to ``jitter`` s late; the sound
#: card's clock plays blocks of 128 samples. Returns the sound after the first five seconds.
PLAY = """
async ({ source, rate, drift, jitter, minutes }) => {
  const registered = {};
  globalThis.AudioWorkletProcessor = class {
    port = { postMessage() {} };
  };
  globalThis.registerProcessor = (name, made) => { registered[name] = made; };
  globalThis.sampleRate = rate;
  await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const speaker = new registered["spech-speaker"]();
  const size = rate / 50;
  const tone = (at) => 8000 * Math.sin((2 * Math.PI * 400 * at) / rate);
  const block = new Float32Array(128);
  let [position, last, steepest, quietest, untouched, blocks, seed] = [0, 0, 0, 1, 0, 0, 1];
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  let due = 0;
  for (let played = 0; played < rate * 60 * minutes; played += block.length) {
    const now = played / rate;
    while (due <= now) {
      const pcm = Int16Array.from({ length: size }, (_, at) => Math.round(tone(position + at)));
      speaker.port.onmessage({ data: { position, pcm } });
      position += size;
      due = (position / rate) * (1 + drift) + jitter * random();
    }
    speaker.process([], [[block]]);
    if (now < 5) { last = block[block.length - 1]; continue; }
    let loudest = 0;
    let whole = true;
    for (const sample of block) {
      steepest = Math.max(steepest, Math.abs(sample - last));
      loudest = Math.max(loudest, Math.abs(sample));
      whole = whole && Number.isInteger(sample * 32768);
      last = sample;
    }
    quietest = Math.min(quietest, loudest);
    untouched += whole;
    blocks += 1;
  }
  return { steepest, quietest, untouched: untouched / blocks };
}
"""


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("drift", [-300e-6, 0.0, 300e-6])
def test_clock_drift_is_inaudible(chromium: Browser, rate: int, drift: float) -> None:
    page = chromium.new_page()
    arguments = {"rate": rate, "drift": drift, "jitter": 0.01, "minutes": MINUTES}
    heard = page.evaluate(PLAY, {"source": WORKLET.read_text(), **arguments})
    page.close()
    level = 8000 / 32768
    steepest = level * 2 * 3.1416 * 400 / rate
    assert heard["steepest"] <= 1.02 * steepest
    assert heard["quietest"] >= 0.98 * level
    # The samples equal the sent ones most of the time, and always without drift.
    assert heard["untouched"] > (0.99 if drift == 0 else 0.7)
