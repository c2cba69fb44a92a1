/**
 * The sounds that the page makes itself: the ring of an incoming call, the ringback of an outgoing one
 * that has no early media, and a short sign that a call has ended. They do not pass through the call's
 * speaker path. Browsers let a page be heard after a gesture only; a ring that came too early starts then.
 */

// A soft rising chord, twice, then a pause. [start s, frequency Hz, length s, gain]
const RING = [0, 1.1].flatMap((start) => [
  [start, 659.3, 0.9, 0.16],
  [start + 0.12, 830.6, 0.9, 0.16],
  [start + 0.24, 987.8, 0.9, 0.16],
  [start + 0.36, 1318.5, 1.2, 0.12],
]);
// ITU-T E.180: 425 Hz, 1 s on, 4 s off.
const RINGBACK = [[0, 425, 1, 0.08]];
const FAREWELL = [
  [0, 425, 0.16, 0.08],
  [0.26, 425, 0.16, 0.08],
];
// A second call while one is being talked in.
const WAITING = [
  [0, 425, 0.2, 0.05],
  [0.4, 425, 0.2, 0.05],
];
const PATTERNS = {
  ring: { notes: RING, period: 4 },
  ringback: { notes: RINGBACK, period: 5 },
  waiting: { notes: WAITING, period: 5 },
};

const RESTING_MS = 2000;

export class Tones {
  #context = null;
  #unlocked = false;
  #wanted = null;
  #timer = 0;
  #rest = 0;
  #output = null;
  #volume = 1;

  /** To be called in a gesture: from then on the browser lets the page ring by itself. */
  unlock() {
    if (this.#unlocked) return;
    this.#context ??= new AudioContext();
    this.#context.resume().then(() => {
      this.#unlocked = true;
      this.#restart();
    });
  }

  /** Repeat `ring`, `ringback` or `waiting` until told otherwise; null is silence. */
  play(name) {
    if (name === this.#wanted) return;
    this.#wanted = name;
    this.#restart();
  }

  /** The short sign that a call has ended. */
  async farewell() {
    if (!this.#unlocked) return;
    await this.#wake();
    this.#notes(FAREWELL, this.#newOutput());
  }

  setVolume(gain) {
    this.#volume = gain;
  }

  async #restart() {
    clearInterval(this.#timer);
    this.#output?.disconnect();
    this.#output = null;
    if (!this.#unlocked) return;
    const wanted = this.#wanted;
    const pattern = PATTERNS[wanted];
    if (!pattern) {
      this.#restSoon();
      return;
    }
    await this.#wake();
    if (wanted !== this.#wanted || this.#output) return;
    this.#output = this.#newOutput();
    this.#notes(pattern.notes, this.#output);
    this.#timer = setInterval(() => this.#notes(pattern.notes, this.#output), pattern.period * 1000);
  }

  async #wake() {
    this.#restSoon();
    if (this.#context.state !== "running") await this.#context.resume();
  }

  /** A context costs a little power, so it rests when nothing is to be heard. */
  #restSoon() {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (this.#wanted === null) this.#context.suspend();
    }, RESTING_MS);
  }

  #newOutput() {
    const output = new GainNode(this.#context, { gain: this.#volume });
    output.connect(this.#context.destination);
    return output;
  }

  #notes(notes, output) {
    const now = this.#context.currentTime + 0.02;
    for (const [start, frequency, length, gain] of notes) {
      const oscillator = new OscillatorNode(this.#context, { frequency });
      const envelope = new GainNode(this.#context, { gain: 0 });
      // The chord rings out like a bell; the exchange's 425 Hz tones stand still.
      const decays = frequency > 500;
      envelope.gain.setValueAtTime(0, now + start);
      envelope.gain.linearRampToValueAtTime(gain, now + start + 0.015);
      if (decays) envelope.gain.exponentialRampToValueAtTime(0.0005, now + start + length);
      else envelope.gain.setValueAtTime(gain, now + start + length - 0.02);
      envelope.gain.linearRampToValueAtTime(0, now + start + length + 0.02);
      oscillator.connect(envelope).connect(output);
      oscillator.start(now + start);
      oscillator.stop(now + start + length + 0.05);
    }
  }
}
