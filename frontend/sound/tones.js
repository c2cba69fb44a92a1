/**
 * The sounds that the page makes itself: the ring of an incoming call, and as the network of the chosen country
 * has them the ringback of an outgoing call without early media, busy, congestion and call waiting. They do not
 * pass through the call's speaker path. Browsers let a page be heard after a gesture only; what came too early
 * starts then.
 */

import { recall, remember } from "../memory.js";
import { play, readCadence } from "./cadence.js";

// A soft rising chord, twice, then a pause. [start s, frequency Hz, length s, gain]
const CHORD = [
  [0, 659.3, 0.9, 0.16],
  [0.12, 830.6, 0.9, 0.16],
  [0.24, 987.8, 0.9, 0.16],
  [0.36, 1318.5, 1.2, 0.12],
];
const RING = {
  notes: [0, 1.1].flatMap((again) =>
    CHORD.map(([start, frequency, length, gain]) => ({
      start: again + start,
      length,
      parts: [{ frequency, gain }],
    })),
  ),
  period: 4,
};
/** What stands for a country that is not in the table: ITU-T E.180. */
const ANYWHERE = "";
const SILENCE = "0/1000";
const RESTING_MS = 2000;
const LEAD_SECONDS = 0.02;

/** The country that the browser's languages speak of: `de-CH` is Switzerland, `de` Germany. */
function likely(table) {
  for (const name of navigator.languages) {
    const region = new Intl.Locale(name).maximize().region?.toLowerCase();
    if (region in table) return region;
  }
  return ANYWHERE;
}

export class Tones {
  #context = null;
  #unlocked = false;
  #wanted = null;
  #timer = 0;
  #rest = 0;
  #output = null;
  #volume = 1;
  #table = null;

  /** How calls sound in each country, from the server; empty while that is away. */
  async table() {
    this.#table ??= fetch("tones.json").then((answer) => answer.json());
    try {
      return await this.#table;
    } catch {
      this.#table = null;
      return {};
    }
  }

  /** The chosen country, or the likely one; "" for none. */
  async country() {
    const table = await this.table();
    const chosen = recall("country", null);
    return chosen !== null && chosen in table ? chosen : likely(table);
  }

  choose(country) {
    remember("country", country);
  }

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

  /** Say once why a call has ended: some rounds of `busy` or `congestion`. */
  async tell(name, rounds) {
    if (!this.#unlocked) return;
    const { notes, period } = await this.#pattern(name);
    await this.#wake();
    const output = this.#newOutput();
    const now = this.#context.currentTime + LEAD_SECONDS;
    for (let round = 0; round < rounds; round += 1) play(this.#context, notes, output, now + round * period);
    this.#restSoon(rounds * period * 1000);
  }

  setVolume(gain) {
    this.#volume = gain;
  }

  async #pattern(name) {
    if (name === "ring") return RING;
    const table = await this.table();
    return readCadence(table[await this.country()]?.[name] ?? SILENCE);
  }

  async #restart() {
    clearInterval(this.#timer);
    this.#output?.disconnect();
    this.#output = null;
    if (!this.#unlocked) return;
    const wanted = this.#wanted;
    if (wanted === null) {
      this.#restSoon();
      return;
    }
    const { notes, period } = await this.#pattern(wanted);
    await this.#wake();
    if (wanted !== this.#wanted || this.#output) return;
    this.#output = this.#newOutput();
    const round = () =>
      play(this.#context, notes, this.#output, this.#context.currentTime + LEAD_SECONDS, wanted === "ring");
    round();
    this.#timer = setInterval(round, period * 1000);
  }

  async #wake() {
    this.#restSoon();
    if (this.#context.state !== "running") await this.#context.resume();
  }

  /** A context costs a little power, so it rests when nothing is to be heard. */
  #restSoon(playing = 0) {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (this.#wanted === null) this.#context.suspend();
    }, playing + RESTING_MS);
  }

  #newOutput() {
    const output = new GainNode(this.#context, { gain: this.#volume });
    output.connect(this.#context.destination);
    return output;
  }
}
