// @ts-check
/**
 * The audio connection of one call: ticket, greeting, frames (docs/protocol.md).
 *
 * It is made again, with a fresh ticket, as long as the call is wanted here. Event: `change` when `status` or
 * `format` changes.
 */

/** @import { Frame } from "./frame.js" */
/** @import { FormatChange, TicketOutcome, Welcome } from "../messages.js" */
/** @import { SoundFormat } from "./network.js" */

import { HEADER_BYTES, positionOf, writeHeader } from "./frame.js";
import { Lateness } from "./network.js";
import { Opus, opusPossible } from "./opus.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 3000;
const MOST_WAITING_FRAMES = 10;
/** Frames in Opus differ in size; so many bytes each may wait at least. */
const USUAL_BYTES = 120;
const CALL_ENDED = 1000;
const TAKEN_OVER = 4409;

const pause = (/** @type {number} */ milliseconds) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @typedef {"none" | "connecting" | "open" | "ended" | "elsewhere"} LinkStatus */

export class AudioLink extends EventTarget {
  /** @type {LinkStatus} `elsewhere`: another connection took the call's sound over. */
  status = "none";
  /** @type {string | null} */
  call = null;
  /** Microphone frames that were not sent because the network was behind. */
  dropped = 0;
  /** @type {SoundFormat} Of what arrives. */
  format = "pcm";
  /** @type {(frameSamples: number) => void} Called when a connection is open. */
  onBegin = () => {};
  /** @type {(frame: Frame) => void} Called with each frame that arrives. */
  onFrame = () => {};

  #requestTicket;
  /** @type {WebSocket | null} */
  #socket = null;
  #turn = 0;
  #sequence = 0;
  #position = 0;
  #rate = 0;
  #frameSamples = 0;
  /** @type {SoundFormat} Of what is sent. */
  #sending = "pcm";
  /** @type {SoundFormat} */
  #wanted = "pcm";
  /** Whether both ends know Opus at this rate. */
  #opusPossible = false;
  /** @type {Opus | null} */
  #opus = null;
  /** Of what arrives. */
  #arriving = new Lateness();
  /** Of the microphone's frames before they are sent: a busy machine records less than time passes. */
  #leaving = new Lateness();

  /** @param {(call: string) => Promise<TicketOutcome>} requestTicket rejects with a CommandError */
  constructor(requestTicket) {
    super();
    this.#requestTicket = requestTicket;
  }

  /**
   * Connect to `call` with PCM at `rate` Hz, in place of any connection before.
   *
   * @param {string} call
   * @param {number} rate
   */
  async connect(call, rate) {
    this.close();
    const turn = this.#turn;
    this.call = call;
    this.dropped = 0;
    for (let failures = 0; turn === this.#turn; failures += 1) {
      this.#become("connecting");
      const opened = await this.#attempt(call, rate, turn);
      if (turn !== this.#turn || this.status === "ended" || this.status === "elsewhere") return;
      if (opened) failures = 0;
      await pause(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 1.7 ** failures));
    }
  }

  /** Close the connection, and make no other. */
  close() {
    this.#turn += 1;
    this.#socket?.close();
    this.#socket = null;
    this.#forgetOpus();
    this.call = null;
    this.#become("none");
  }

  /**
   * Use this format in both directions, where both ends support it.
   *
   * @param {SoundFormat} format
   */
  want(format) {
    this.#wanted = format;
    this.#followWish();
  }

  /**
   * How long the latest frames have waited in the network, in ms, in the worse direction; to be asked once a
   * second.
   *
   * @param {number} reported how late the server says that the microphone's frames are, in ms
   */
  takeLateness(reported) {
    return Math.max(this.#arriving.take(), reported - this.#leaving.take());
  }

  /**
   * Send a microphone frame whose first 12 bytes are free for the header.
   *
   * @param {ArrayBuffer} frame
   */
  send(frame) {
    if (this.status !== "open") return;
    this.#followWish();
    if (this.#sending === "opus") this.#opus?.encode(frame);
    else this.#write(frame);
  }

  /** Change what is sent, once all that was to be encoded is on its way. */
  #followWish() {
    const format = this.#opusPossible ? this.#wanted : "pcm";
    if (this.status !== "open" || format === this.#sending || this.#opus?.encoding) return;
    if (format === "opus")
      this.#opus ??= new Opus(this.#rate, {
        packet: (frame) => this.#write(frame),
        pcm: (position, pcm) => this.onFrame({ position, pcm }),
        failure: () => this.#forgetOpus(),
      });
    this.#sending = format;
    this.#socket?.send(JSON.stringify({ format }));
  }

  /** Do without Opus until the next connection. */
  #forgetOpus() {
    this.#opus?.close();
    this.#opus = null;
    this.#opusPossible = false;
  }

  /** @param {ArrayBuffer} frame */
  #write(frame) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    const sequence = this.#sequence;
    const position = this.#position;
    this.#sequence += 1;
    this.#position += this.#frameSamples;
    this.#leaving.note(this.#age(position));
    // A frame that would only wait is left out; its number is used up, so the server sees the gap.
    if (socket.bufferedAmount > MOST_WAITING_FRAMES * Math.max(frame.byteLength, USUAL_BYTES)) {
      this.dropped += 1;
      return;
    }
    writeHeader(frame, sequence, position);
    socket.send(frame);
  }

  /**
   * One connection from ticket to close. True if it was open for a while.
   *
   * @param {string} call
   * @param {number} rate
   * @param {number} turn
   */
  async #attempt(call, rate, turn) {
    let ticket;
    try {
      ticket = await this.#requestTicket(call);
    } catch (error) {
      if (turn === this.#turn && error.code === "no_such_call") this.#become("ended");
      return false;
    }
    if (turn !== this.#turn) return false;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/audio`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => socket.send(JSON.stringify({ ticket: ticket.ticket, rate })));
    return new Promise((resolve) => {
      let opened = false;
      socket.addEventListener("message", ({ data }) => {
        if (turn !== this.#turn) return;
        if (typeof data !== "string") this.#receive(data);
        else if (opened) this.#receiveFormat(JSON.parse(data));
        else {
          opened = true;
          this.#begin(JSON.parse(data));
        }
      });
      socket.addEventListener("close", ({ code }) => {
        if (turn === this.#turn && code === TAKEN_OVER) this.#become("elsewhere");
        if (turn === this.#turn && code === CALL_ENDED && opened) this.#become("ended");
        resolve(opened);
      });
    });
  }

  /** @param {Welcome} greeting */
  async #begin({ rate, frame_samples, formats }) {
    const socket = this.#socket;
    this.#forgetOpus();
    this.#sequence = 0;
    this.#position = 0;
    this.#rate = rate;
    this.#frameSamples = frame_samples;
    this.#arriving = new Lateness();
    this.#leaving = new Lateness();
    this.#sending = "pcm";
    this.format = "pcm";
    this.onBegin(frame_samples);
    this.#become("open");
    const possible = formats.includes("opus") && (await opusPossible(rate));
    if (socket !== this.#socket) return;
    this.#opusPossible = possible;
    this.#followWish();
  }

  /**
   * Now, less the time of a sample by the clock of who counts it, in ms.
   *
   * @param {number} position
   */
  #age(position) {
    return performance.now() - (position / this.#rate) * 1000;
  }

  /** @param {FormatChange} change */
  #receiveFormat({ format }) {
    this.format = format;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {ArrayBuffer} data */
  #receive(data) {
    const position = positionOf(data);
    if (position === null) return;
    this.#arriving.note(this.#age(position));
    if (this.format === "opus") this.#opus?.decode(position, new Uint8Array(data, HEADER_BYTES));
    else this.onFrame({ position, pcm: new Int16Array(data, HEADER_BYTES) });
  }

  /** @param {LinkStatus} status */
  #become(status) {
    if (status === this.status) return;
    this.status = status;
    this.dispatchEvent(new Event("change"));
  }
}
