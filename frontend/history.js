// @ts-check
/** The calls that were: the latest ones for the short list, and what the history's view asks for. */

/** @import { CallEntry, HistoryState } from "./messages.js" */
/** @import { Control } from "./control.js" */

import { Listing } from "./listing.js";

const RECENT = 8;

/** @extends {Listing<CallEntry, {search: string, missed: boolean}>} */
export class History extends Listing {
  /** @type {CallEntry[]} The latest calls, the newest first. */
  recent = [];
  /** Missed calls that nobody has looked at. */
  missed = 0;
  /** @type {number | null} The age in days at which calls are forgotten. */
  keepDays = null;

  #control;

  /**
   * @param {Control} control
   * @param {() => void} changed called when something of it has changed
   */
  constructor(control, changed) {
    super(
      { search: "", missed: false },
      (wanted, last, limit) => control.command("history", { ...wanted, before: last?.id ?? null, limit }),
      changed,
    );
    this.#control = control;
  }

  /**
   * Take what a snapshot says, and ask for what has changed.
   *
   * @param {HistoryState} state
   */
  follow({ missed, revision, keep_days }) {
    this.missed = missed;
    this.keepDays = keep_days;
    this.refresh(revision, async () => {
      this.recent = (await this.#control.command("history", { limit: RECENT })).entries;
    });
  }

  /** A person has seen the missed calls. */
  see() {
    return this.try(() => this.#control.command("see_history", {}));
  }

  /** @param {string} entry */
  forget(entry) {
    return this.try(() => this.#control.command("forget_entry", { entry }));
  }

  clear() {
    return this.try(() => this.#control.command("forget_history", {}));
  }

  /** @param {number | null} days */
  keep(days) {
    return this.try(() => this.#control.command("keep_history", { days }));
  }

  /**
   * What happened in a call, step by step.
   *
   * @param {string} entry
   */
  async steps(entry) {
    return (await this.#control.command("history_story", { entry })).steps;
  }
}
