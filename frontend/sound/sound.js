// @ts-check
/**
 * The sound of the one call that this tab plays: graph and link together, and the remembered volumes.
 * Event: `change` when anything that a person should see has changed.
 */

import { recall, remember } from "../memory.js";
import { Graph } from "./graph.js";
import { AudioLink } from "./link.js";
import { Network } from "./network.js";
import { pageLoss } from "../quality.js";

/** @import { Quality, TicketOutcome } from "../messages.js" */
/** @import { Devices } from "./devices.js" */
/** @import { Side } from "./graph.js" */

export class Sound extends EventTarget {
  /** Linear gains, 0 to 1.5. */
  volumes = recall("volumes", { microphone: 1, speaker: 1 });

  #graph;
  #link;
  #network = new Network();
  /** @type {string | null} */
  #call = null;
  #rate = 0;
  /** The rate in Hz of the connection. */
  #linked = 0;
  #turn = 0;

  /**
   * @param {Devices} devices
   * @param {(call: string) => Promise<TicketOutcome>} requestTicket
   */
  constructor(devices, requestTicket) {
    super();
    this.#graph = new Graph(devices);
    this.#link = new AudioLink(requestTicket);
    this.#link.onBegin = (frameSamples) => this.#graph.begin(frameSamples);
    this.#link.onFrame = (frame) => this.#graph.play(frame);
    this.#link.addEventListener("change", () => {
      if (this.#link.status !== "open") this.#graph.pause();
      // A call that is heard in another window needs no microphone in this one.
      if (this.#link.status === "elsewhere") this.#graph.close();
      this.#changed();
    });
    this.#graph.onFrame = (frame) => this.#link.send(frame);
    this.#graph.addEventListener("change", () => this.#changed());
    for (const side of /** @type {Side[]} */ (["microphone", "speaker"]))
      this.#graph.setVolume(side, this.volumes[side]);
    // A headset that is plugged in during a call is worth another try.
    navigator.mediaDevices?.addEventListener("devicechange", () => {
      if (this.#call !== null && ["missing", "failed"].includes(this.microphone)) this.askMicrophone();
    });
  }

  get call() {
    return this.#call;
  }

  get possible() {
    return Graph.possible;
  }

  get microphone() {
    return this.possible ? this.#graph.microphone : "insecure";
  }

  /** The microphone is open, and nothing comes from it. */
  get silent() {
    return this.#graph.silent;
  }

  get blocked() {
    return this.#graph.blocked;
  }

  get stalled() {
    return this.#graph.stalled;
  }

  /** Whether both directions are carried, as far as the page knows. */
  get works() {
    return this.possible && this.microphone === "on" && !this.blocked && !this.stalled;
  }

  get link() {
    return this.#link.status;
  }

  /** How sound arrives here: `pcm` or `opus`. */
  get format() {
    return this.#link.format;
  }

  get levels() {
    return this.#graph.levels;
  }

  /**
   * Choose how sound travels between page and server by what the last second was like.
   *
   * @param {Record<string, Quality>} reports by call
   */
  adapt(reports) {
    const report = reports[this.#call ?? ""];
    if (!report || this.#link.status !== "open") return;
    const late = this.#link.takeLateness(report.page.microphone_late_ms ?? 0);
    this.#link.want(this.#network.note(pageLoss(report) ?? 0, late));
  }

  /** 20 ms frames that the page left out, both ways. */
  get dropped() {
    const played = this.#graph.rate ? Math.round((50 * this.#graph.dropped) / this.#graph.rate) : 0;
    return played + this.#link.dropped;
  }

  /**
   * To be called in a gesture, before the call is known: gets the browser's leave to be heard.
   *
   * @param {number} rate in Hz
   */
  wake(rate) {
    if (this.possible) this.#graph.open(rate);
  }

  /** Let sound that the browser holds back run. To be called in a gesture. */
  resume() {
    this.#graph.resume();
  }

  /**
   * Play and feed `call` with PCM at `rate` Hz; null stops all sound and gives the microphone back. Another
   * rate for the same call makes its connection again.
   *
   * @param {string | null} call
   * @param {number} rate
   */
  async follow(call, rate) {
    if (!this.possible || (call === this.#call && rate === this.#rate)) return;
    const same = call === this.#call;
    this.#call = call;
    this.#rate = rate;
    // Sound that another window took over, or that has ended, stays where it is.
    if (call === null ? same : same && ["elsewhere", "ended"].includes(this.#link.status)) return;
    this.#turn += 1;
    const turn = this.#turn;
    // Frames of one rate must not be played at another.
    this.#link.close();
    if (call === null) {
      this.#graph.close();
      return;
    }
    await this.#graph.tune(rate);
    if (turn !== this.#turn) return;
    this.#connect();
    // The change of rate may have come before the microphone was asked for.
    if (!same || this.microphone === "off") await this.askMicrophone();
  }

  #connect() {
    if (this.#call === null) return;
    this.#linked = this.#graph.rate;
    this.#link.connect(this.#call, this.#linked);
  }

  /** Connect to the call's sound again, after another window took it over. */
  reconnect() {
    const call = this.#call;
    this.#call = null;
    return this.follow(call, this.#rate);
  }

  /** Close a context that was opened for a call that never came about. */
  release() {
    if (this.#call === null) this.#graph.close();
  }

  /** Ask for the microphone, again if it was refused before. */
  async askMicrophone() {
    const turn = this.#turn;
    await this.#graph.openMicrophone();
    // Some browsers take a microphone only at the device's rate.
    if (turn === this.#turn && this.#graph.rate && this.#graph.rate !== this.#linked) this.#connect();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#graph.setMuted(muted);
  }

  /**
   * @param {Side} side
   * @param {number} gain
   */
  setVolume(side, gain) {
    this.volumes = { ...this.volumes, [side]: gain };
    remember("volumes", this.volumes);
    this.#graph.setVolume(side, gain);
    this.#changed();
  }

  /** @param {number} seconds */
  capture(seconds) {
    return this.#graph.capture(seconds);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
