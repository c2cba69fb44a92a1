// @ts-check
/**
 * The sounds that the page makes itself: the ring of an incoming call, the sound of the keys, and the tones of the
 * chosen country for the ringback of an outgoing call without early media, busy, congestion and call waiting. They do
 * not pass through the call's speaker path, and the ring has a volume of its own. Browsers may hold a page's sound back
 * until there is a gesture; what came too early starts then.
 *
 * Event: `change` when `blocked`, `ringerVolume` or `keysSound` changes.
 */

import { waitsForGesture } from "./leave.js";
import { recall, remember } from "../memory.js";
import { keyNote, play, readCadence } from "./cadence.js";

/** @import { Devices } from "./devices.js" */

// A soft rising chord, twice, then a pause. [start s, frequency Hz, length s, gain]
/** @type {[number, number, number, number][]} */
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
/** The entry of the table for countries that are not in it: ITU-T E.180. */
const ANYWHERE = "";
const SILENCE = "0/1000";
const RESTING_MS = 2000;
const LEAD_SECONDS = 0.02;
// A context that may run does so within a few milliseconds; one that waits for a gesture does not.
const SETTLING_MS = 400;
const MOST_VOLUME = 1.5;

/** @typedef {Record<string, Record<string, string>>} Table cadences and names by country */
/** @typedef {"ring" | "ringback" | "waiting" | "busy" | "congestion" | "key"} Tone */

/**
 * The country of the browser's languages: `de-CH` is Switzerland, `de` Germany.
 *
 * @param {Table} table
 */
function likely(table) {
  for (const name of navigator.languages) {
    const region = new Intl.Locale(name).maximize().region?.toLowerCase();
    if (region !== undefined && region in table) return region;
  }
  return ANYWHERE;
}

export class Tones extends EventTarget {
  /** Linear gain of the ring, 0 to 1.5. */
  ringerVolume = recall("ringer", 1);
  /** The browser holds the sound back until there is a gesture. */
  blocked = false;

  /** Whether keys are heard here. */
  keysSound = recall("keys", true);

  #context = new AudioContext();
  #devices;
  /** Whether the context has run, so that it may run again without a gesture. */
  #unlocked = false;
  /** @type {Tone | null} */
  #wanted = null;
  #timer = 0;
  #rest = 0;
  /** @type {GainNode | null} */
  #output = null;
  /** @type {Promise<Table> | null} */
  #table = null;

  /** @param {Devices} devices */
  constructor(devices) {
    super();
    this.#devices = devices;
    devices.addEventListener("ringer", () => this.tell("ring", 1));
    this.#context.addEventListener("statechange", () => this.#judge());
    // Where the browser allows sound without a gesture, the first call rings as well.
    this.unlock();
    setTimeout(() => this.#judge(), SETTLING_MS);
  }

  /**
   * How calls sound in each country, from the server; empty while that is away.
   *
   * @returns {Promise<Table>}
   */
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

  /** @param {string} country */
  choose(country) {
    remember("country", country);
  }

  /** To be called in a gesture: from then on the browser lets the page ring by itself. */
  unlock() {
    if (this.#unlocked) return;
    // Without a gesture this promise stays pending until there is one.
    this.#context.resume().then(() => this.#judge());
  }

  #judge() {
    const unlocked = this.#unlocked || !waitsForGesture(this.#context);
    const blocked = !unlocked;
    const first = unlocked && !this.#unlocked;
    this.#unlocked = unlocked;
    if (blocked !== this.blocked) {
      this.blocked = blocked;
      this.dispatchEvent(new Event("change"));
    }
    if (first) this.#restart();
  }

  /**
   * Repeat a tone until told otherwise; null is silence.
   *
   * @param {Tone | null} name
   */
  play(name) {
    if (name === this.#wanted) return;
    this.#wanted = name;
    this.#restart();
  }

  /**
   * Play some rounds of a tone: of `busy` or `congestion` to say why a call has ended, of `ring` to try the ringer.
   *
   * @param {Tone} name
   * @param {number} rounds
   */
  async tell(name, rounds) {
    if (!this.#unlocked) return;
    const { notes, period } = await this.#pattern(name);
    await this.#wake(name);
    const output = this.#newOutput(name);
    const now = this.#context.currentTime + LEAD_SECONDS;
    for (let round = 0; round < rounds; round += 1)
      play(this.#context, notes, output, now + round * period, name === "ring");
    const length = rounds * period * 1000;
    setTimeout(() => output.disconnect(), length + RESTING_MS);
    this.#restSoon(length);
  }

  /**
   * A short tone for a key; the far end hears the server's own.
   *
   * @param {string} digit
   */
  async key(digit) {
    if (!this.keysSound || !this.#unlocked) return;
    await this.#wake("key");
    const output = this.#newOutput("key");
    play(this.#context, [keyNote(digit)], output, this.#context.currentTime);
    setTimeout(() => output.disconnect(), RESTING_MS);
  }

  /** @param {boolean} wanted */
  soundKeys(wanted) {
    this.keysSound = wanted;
    remember("keys", wanted);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {number} gain linear */
  setRingerVolume(gain) {
    this.ringerVolume = Math.min(gain, MOST_VOLUME);
    remember("ringer", this.ringerVolume);
    if (this.#output && this.#wanted === "ring") this.#output.gain.value = this.ringerVolume;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Tone} name */
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
    await this.#wake(wanted);
    if (wanted !== this.#wanted || this.#output) return;
    const output = this.#newOutput(wanted);
    this.#output = output;
    const round = () =>
      play(this.#context, notes, output, this.#context.currentTime + LEAD_SECONDS, wanted === "ring");
    round();
    this.#timer = setInterval(round, period * 1000);
  }

  /** @param {Tone} name */
  async #wake(name) {
    this.#restSoon();
    await this.#devices.route(this.#context, name === "ring" ? "ringer" : "speaker");
    if (this.#context.state !== "running") await this.#context.resume();
  }

  /** A context costs a little power, so it rests when nothing is to be heard. */
  #restSoon(playing = 0) {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (this.#wanted === null) this.#context.suspend();
    }, playing + RESTING_MS);
  }

  /**
   * The tones of the network are as loud as calls are; the ring is as loud as it was set.
   *
   * @param {Tone} name
   */
  #newOutput(name) {
    const gain = name === "ring" ? this.ringerVolume : recall("volumes", { speaker: 1 }).speaker;
    const output = new GainNode(this.#context, { gain });
    output.connect(this.#context.destination);
    return output;
  }
}
