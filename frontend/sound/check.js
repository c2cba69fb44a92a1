// @ts-check
/**
 * A trial of the sound without a call: what is said in four seconds is played afterwards, through the same nodes,
 * volumes and devices as a call. Event: `change` when `phase` changes.
 */

import { HEADER_BYTES } from "./frame.js";
import { Graph } from "./graph.js";

/** @import { Devices } from "./devices.js" */
/** @import { Side } from "./graph.js" */

const RATE = 48000;
const FRAME_MS = 20;
const FRAMES = 200;
// A voice at the usual distance is louder than this.
const HEARD_DBFS = -50;

export class SoundCheck extends EventTarget {
  /**
   * `idle`, `asking` for the microphone, `speaking`, `listening`, or how it ended: `heard`, `unheard`, or the
   * state of a microphone that did not open.
   */
  phase = "idle";

  #graph;
  /** @type {Int16Array[]} */
  #frames = [];
  #loudest = -Infinity;
  #timer = 0;
  #frameSamples = 0;

  /** @param {Devices} devices */
  constructor(devices) {
    super();
    this.#graph = new Graph(devices);
    this.#graph.onFrame = (frame) => this.#receive(new Int16Array(frame, HEADER_BYTES));
  }

  get running() {
    return ["asking", "speaking", "listening"].includes(this.phase);
  }

  get levels() {
    return this.#graph.levels;
  }

  /**
   * Begin; to be called in a gesture.
   *
   * @param {Record<Side, number>} volumes
   */
  async start(volumes) {
    if (this.running) return;
    for (const side of /** @type {Side[]} */ (["microphone", "speaker"]))
      this.#graph.setVolume(side, volumes[side]);
    this.#frames = [];
    this.#loudest = -Infinity;
    this.#enter("asking");
    await this.#graph.open(RATE);
    await this.#graph.openMicrophone();
    if (!this.running) return;
    if (this.#graph.microphone !== "on") {
      this.#end(this.#graph.microphone);
      return;
    }
    this.#enter("speaking");
    // Some browsers take a microphone only at the device's rate.
    this.#frameSamples = (this.#graph.rate * FRAME_MS) / 1000;
    this.#graph.begin(this.#frameSamples);
  }

  /** End it: a call needs the devices. */
  stop() {
    if (this.running) this.#end("idle");
  }

  /** @param {Int16Array} frame */
  #receive(frame) {
    if (this.phase !== "speaking") return;
    this.#frames.push(frame);
    this.#loudest = Math.max(this.#loudest, this.levels.microphone);
    if (this.#frames.length < FRAMES) return;
    this.#graph.begin(0);
    this.#enter("listening");
    let played = 0;
    this.#timer = setInterval(() => {
      const pcm = this.#frames[played];
      if (pcm) this.#graph.play({ position: played * this.#frameSamples, pcm });
      else this.#end(this.#loudest > HEARD_DBFS ? "heard" : "unheard");
      played += 1;
    }, FRAME_MS);
  }

  /** @param {string} phase */
  #end(phase) {
    clearInterval(this.#timer);
    this.#graph.close();
    this.#enter(phase);
  }

  /** @param {string} phase */
  #enter(phase) {
    this.phase = phase;
    this.dispatchEvent(new Event("change"));
  }
}
