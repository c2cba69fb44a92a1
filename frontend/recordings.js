// @ts-check
/** The recordings on the server: the complete ones, and the start times of those that are running. */

/** @import { CallState, RecordingState, StoredRecording } from "./messages.js" */
/** @import { Control } from "./control.js" */

import { recallTab, rememberTab } from "./memory.js";

export class RecordingList {
  /** Those that are complete, the newest first. */
  /** @type {StoredRecording[]} */
  complete = [];

  #control;
  #changed;
  /** Wall-clock times at which this tab saw recordings begin, by name. */
  #since = new Map(recallTab("recorded", []));
  /** @type {string | null} */
  #running = null;

  /**
   * @param {Control} control
   * @param {() => void} changed called when the list has changed
   */
  constructor(control, changed) {
    this.#control = control;
    this.#changed = changed;
  }

  /**
   * Seconds since a recording began.
   *
   * @param {RecordingState} recording
   */
  seconds({ name }) {
    return Math.max(0, (Date.now() - (this.#since.get(name) ?? Date.now())) / 1000);
  }

  /**
   * Note when recordings begin, and ask for the list whenever one begins or ends.
   *
   * @param {CallState[]} calls
   */
  follow(calls) {
    const running = calls.flatMap(({ recording }) => (recording ? [recording.name] : []));
    for (const name of running) if (!this.#since.has(name)) this.#since.set(name, Date.now());
    for (const name of this.#since.keys()) if (!running.includes(name)) this.#since.delete(name);
    rememberTab("recorded", [...this.#since]);
    if (this.#running === running.join()) return;
    this.#running = running.join();
    this.#list();
  }

  /** @param {string} name */
  async remove(name) {
    await this.#control.command("delete_recording", { name });
    await this.#list();
  }

  async #list() {
    try {
      const { recordings } = await this.#control.command("recordings", {});
      this.complete = recordings.filter(({ name }) => !this.#since.has(name));
    } catch (error) {
      if (error.code !== "offline") throw error;
    }
    this.#changed();
  }
}
