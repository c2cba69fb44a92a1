// @ts-check
/** A list on the server that a view shows in part: the history, the contacts. */

/** What is asked for at once, and as many as one answer of the server lists. */
const PAGE = 50;
const MOST = 200;

/**
 * @template Entry, Wanted
 */
export class Listing {
  /** @type {Entry[]} What the view lists. */
  entries = [];
  /** Whether there are more. */
  more = false;
  /** @type {{code: string, message: string, hint: string} | null} */
  problem = null;

  #ask;
  #changed;
  #wanted;
  #revision = 0;
  #opened = false;
  /** Counts the lists that were asked for: only the latest one counts. */
  #asked = 0;

  /**
   * @param {Wanted} wanted what is listed at first
   * @param {(wanted: Wanted, last: Entry | null, limit: number) => Promise<{entries: Entry[], more: boolean}>} ask
   *   asks for what follows the last entry
   * @param {() => void} changed called when something of it has changed
   */
  constructor(wanted, ask, changed) {
    this.#wanted = wanted;
    this.#ask = ask;
    this.#changed = changed;
  }

  /**
   * What the server has is of this revision: if it is another one, list again what is shown.
   *
   * @param {number} revision
   * @param {() => Promise<unknown>} [before] what else is asked for then
   */
  refresh(revision, before = async () => {}) {
    if (revision === this.#revision) return;
    this.#revision = revision;
    this.try(async () => {
      await before();
      if (this.#opened) await this.#list(Math.max(PAGE, Math.min(this.entries.length, MOST)));
    });
  }

  /** @param {Wanted} wanted */
  find(wanted) {
    this.#wanted = wanted;
    this.#opened = true;
    return this.try(() => this.#list(PAGE));
  }

  /** The view is closed. */
  close() {
    this.#opened = false;
    this.#asked += 1;
    this.entries = [];
    this.problem = null;
  }

  /** List what follows as well. */
  further() {
    return this.try(async () => {
      const asked = this.#asked;
      const found = await this.#ask(this.#wanted, this.entries.at(-1) ?? null, PAGE);
      if (asked !== this.#asked) return;
      this.entries = [...this.entries, ...found.entries];
      this.more = found.more;
    });
  }

  /** @param {number} limit */
  async #list(limit) {
    this.#asked += 1;
    const asked = this.#asked;
    const found = await this.#ask(this.#wanted, null, limit);
    if (asked !== this.#asked) return;
    this.entries = found.entries;
    this.more = found.more;
  }

  /**
   * Do something, and keep why it failed.
   *
   * @param {() => Promise<unknown>} work
   */
  async try(work) {
    try {
      await work();
      this.problem = null;
    } catch (error) {
      // The next snapshot asks again.
      this.#revision = 0;
      if (error.code !== "offline") this.problem = error;
    }
    this.#changed();
  }
}
