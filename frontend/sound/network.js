// @ts-check
/**
 * Chooses how sound travels between page and server: as PCM, or in Opus where the network is too slow for that.
 * It is slow when frames are lost or wait in it for three seconds. Nothing tells whether it would carry PCM again,
 * so that is tried after a while without trouble; each failed try doubles the wait.
 */

/** @import { FormatChange } from "../messages.js" */
/** @typedef {FormatChange["format"]} SoundFormat */

const POOR_LOSS_PERCENT = 2;
const POOR_LATE_MS = 250;
const POOR_SECONDS = 3;
const FIRST_PATIENCE_S = 30;
const MOST_PATIENCE_S = 480;
/** PCM that fails within so many seconds was tried in vain. */
const TRIAL_S = 60;
/**
 * Milliseconds of lateness forgiven per second: the clocks differ, and a client that paused for a moment must not
 * look like a slow network.
 */
const FORGOTTEN_MS = 20;

export class Network {
  /** @type {SoundFormat} */
  format = "pcm";

  /** Successive seconds with trouble, or without. */
  #poor = 0;
  #good = 0;
  #patience = FIRST_PATIENCE_S;
  /** Seconds in the present format. */
  #since = TRIAL_S;

  /**
   * Take what a second was like, and say what to use from now on.
   *
   * @param {number} lossPercent frames lost lately, in the worse direction
   * @param {number} lateMs how long the latest frames have waited in the network, in the worse direction
   */
  note(lossPercent, lateMs) {
    const poor = lossPercent > POOR_LOSS_PERCENT || lateMs > POOR_LATE_MS;
    this.#poor = poor ? this.#poor + 1 : 0;
    this.#good = poor ? 0 : this.#good + 1;
    this.#since += 1;
    if (this.format === "pcm" && this.#poor >= POOR_SECONDS) {
      const inVain = this.#since < TRIAL_S;
      this.#patience = inVain ? Math.min(2 * this.#patience, MOST_PATIENCE_S) : FIRST_PATIENCE_S;
      this.#become("opus");
    } else if (this.format === "opus" && this.#good >= this.#patience) this.#become("pcm");
    return this.format;
  }

  /** @param {SoundFormat} format */
  #become(format) {
    this.format = format;
    this.#since = this.#poor = this.#good = 0;
  }
}

/** How late frames are, compared with the quickest. */
export class Lateness {
  #least = Infinity;
  #quickest = Infinity;

  /** @param {number} ms now, less the time of a frame's sound; the two clocks may differ by a constant */
  note(ms) {
    this.#quickest = Math.min(this.#quickest, ms);
  }

  /** The lateness in ms of the last second's quickest frame, 0 if there was none; to be asked once a second. */
  take() {
    const quickest = this.#quickest;
    this.#quickest = Infinity;
    this.#least = quickest === Infinity ? Infinity : Math.min(quickest, this.#least + FORGOTTEN_MS);
    return quickest === Infinity ? 0 : quickest - this.#least;
  }
}
