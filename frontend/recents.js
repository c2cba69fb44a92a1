// @ts-check
/** The last calls of this browser, the newest first, one for each number. */

import { recall, remember } from "./memory.js";

const MOST = 8;
const DECLINED = 603;

export class Recents {
  list = recall("recent", []);

  /** Note an ended call; `seconds` since its answer, null if there was none. */
  note(call, seconds) {
    const unanswered = call.direction === "incoming" && seconds === null;
    const declined = unanswered && call.ended.by === "local" && call.ended.status === DECLINED;
    const entry = {
      remote: call.remote,
      name: call.display_name,
      account: call.account,
      direction: call.direction,
      missed: unanswered && !declined,
      declined,
      at: Date.now(),
    };
    this.#keep([entry, ...this.list.filter((other) => other.remote !== call.remote)].slice(0, MOST));
  }

  clear() {
    this.#keep([]);
  }

  #keep(list) {
    this.list = list;
    remember("recent", list);
  }
}
