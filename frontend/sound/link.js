// @ts-check
/**
 * The audio connection of one call: ticket, greeting, frames (docs/protocol.md).
 *
 * It is made again, with a fresh ticket, as long as the call is wanted here. Event: `change` when `status`
 * changes.
 */

/** @import { Frame } from "./frame.js" */
/** @import { TicketOutcome, Welcome } from "../messages.js" */

import { readFrame, writeHeader } from "./frame.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 3000;
const MOST_WAITING_FRAMES = 10;
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
    this.call = null;
    this.#become("none");
  }

  /**
   * Send a microphone frame whose first 12 bytes are free for the header.
   *
   * @param {ArrayBuffer} frame
   * @param {number} samples
   */
  send(frame, samples) {
    const socket = this.#socket;
    if (this.status !== "open" || socket?.readyState !== WebSocket.OPEN) return;
    const sequence = this.#sequence;
    const position = this.#position;
    this.#sequence += 1;
    this.#position += samples;
    // A frame that would only wait is left out; its number is used up, so the server sees the gap.
    if (socket.bufferedAmount > MOST_WAITING_FRAMES * frame.byteLength) {
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
    const socket = new WebSocket(`${scheme}//${location.hostname}:${ticket.port}/`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => socket.send(JSON.stringify({ ticket: ticket.ticket, rate })));
    return new Promise((resolve) => {
      let opened = false;
      socket.addEventListener("message", ({ data }) => {
        if (turn !== this.#turn) return;
        if (typeof data === "string") {
          opened = true;
          this.#begin(JSON.parse(data));
        } else {
          const frame = readFrame(data);
          if (frame) this.onFrame(frame);
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
  #begin(greeting) {
    this.#sequence = 0;
    this.#position = 0;
    this.onBegin(greeting.frame_samples);
    this.#become("open");
  }

  /** @param {LinkStatus} status */
  #become(status) {
    if (status === this.status) return;
    this.status = status;
    this.dispatchEvent(new Event("change"));
  }
}
