// @ts-check
/** How long calls last: a timer for each that runs on between snapshots, and stops with the call. */

/** @import { CallState } from "./messages.js" */

// The network delays snapshots differently; the timer ignores differences up to this.
const SLACK_MS = 400;

export class Durations {
  /** When a call was answered, on the clock of `performance.now()`. */
  /** @type {Map<string, number>} */
  #answered = new Map();
  /** Seconds of those that are over, null for who was never answered. */
  #lengths = new Map();

  /**
   * Take what a snapshot that came at `receivedAt` says of a call.
   *
   * @param {CallState} call
   * @param {number} receivedAt
   */
  note(call, receivedAt) {
    if (call.answered_s === null || this.over(call.id)) return;
    const start = receivedAt - call.answered_s * 1000;
    const known = this.#answered.get(call.id);
    if (known === undefined || Math.abs(known - start) > SLACK_MS) this.#answered.set(call.id, start);
  }

  /**
   * The call has ended: its length.
   *
   * @param {CallState} call
   */
  end(call) {
    const seconds = this.seconds(call);
    this.#lengths.set(call.id, seconds);
    return seconds;
  }

  /**
   * Seconds since the answer, the length of an ended call, or null if it was never answered.
   *
   * @param {CallState} call
   */
  seconds({ id }) {
    if (this.#lengths.has(id)) return this.#lengths.get(id);
    const start = this.#answered.get(id);
    return start === undefined ? null : Math.max(0, (performance.now() - start) / 1000);
  }

  /**
   * Whether this page saw the end of the call.
   *
   * @param {string} id
   */
  over(id) {
    return this.#lengths.has(id);
  }

  keys() {
    return new Set([...this.#answered.keys(), ...this.#lengths.keys()]);
  }

  /** @param {string} id */
  delete(id) {
    this.#answered.delete(id);
    this.#lengths.delete(id);
  }
}
