// @ts-check
/** The last calls of this browser, the newest first, one for each number. */

import { recall, remember } from "./memory.js";

/** @import { CallState } from "./messages.js" */

const MOST = 100;
const DECLINED = 603;

/**
 * @typedef {object} Entry
 * @property {string} remote
 * @property {string | null} name
 * @property {string} account
 * @property {CallState["direction"]} direction
 * @property {boolean} missed
 * @property {boolean} declined
 * @property {boolean} [elsewhere] another phone answered
 * @property {number | null} [seconds] how long it lasted after the answer
 * @property {number} at milliseconds since 1970
 */

export class Recents {
  /** @type {Entry[]} */
  list = recall("recent", []);

  /**
   * Note an ended call; `seconds` since its answer, null if there was none.
   *
   * @param {CallState} call
   * @param {number | null} seconds
   */
  note(call, seconds) {
    const unanswered = call.direction === "incoming" && seconds === null;
    const elsewhere = call.ended?.elsewhere === true;
    const declined = unanswered && call.ended?.by === "local" && call.ended.status === DECLINED;
    const entry = {
      remote: call.remote,
      name: call.display_name,
      account: call.account,
      direction: call.direction,
      missed: unanswered && !declined && !elsewhere,
      declined,
      elsewhere,
      seconds,
      at: Date.now(),
    };
    this.#keep([entry, ...this.list.filter((other) => other.remote !== call.remote)].slice(0, MOST));
  }

  clear() {
    this.#keep([]);
  }

  /** @param {Entry[]} list */
  #keep(list) {
    this.list = list;
    remember("recent", list);
  }
}
