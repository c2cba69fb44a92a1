// @ts-check
/** The text messages: the chats, and the messages of the one that is open. The server keeps them. */

import { recall, remember } from "./memory.js";

/** @import { Chat, ChatsState, TextMessage } from "./messages.js" */
/** @import { Control } from "./control.js" */

/** Messages of a chat that are listed at first, and as many as one answer of the server lists. */
const PAGE = 50;
const MOST = 200;

/** @typedef {{account: string, remote: string}} Whom */

/**
 * @param {Whom | null} one
 * @param {Whom | null} other
 */
export const sameChat = (one, other) =>
  one?.account === other?.account && one?.remote.toLowerCase() === other?.remote.toLowerCase();

export class Chats {
  /** @type {Chat[]} The one with the latest message first. */
  list = [];
  /** @type {TextMessage[]} Of the open chat, the oldest first. */
  messages = [];
  /** @type {Whom | null} Whose messages are shown. */
  open = null;
  /** Whether there may be older messages. */
  more = false;
  /** Messages that nobody has seen. */
  unread = 0;
  /** @type {{code: string, message: string, hint: string} | null} */
  problem = null;

  #control;
  #changed;
  #revision = 0;
  #limit = PAGE;
  /** @type {Record<string, string>} What was typed and not sent yet, by chat. */
  #drafts = recall("drafts", {});

  /**
   * @param {Control} control
   * @param {() => void} changed called when something of it has changed
   */
  constructor(control, changed) {
    this.#control = control;
    this.#changed = changed;
  }

  /**
   * Take what a snapshot says, and ask for what has changed.
   *
   * @param {ChatsState} state
   */
  follow({ unread, revision }) {
    this.unread = unread;
    if (revision === this.#revision) return;
    this.#revision = revision;
    this.#try(() => this.#load());
  }

  /**
   * Show the messages of a chat, or none.
   *
   * @param {Whom | null} whom
   */
  show(whom) {
    this.open = whom;
    this.messages = [];
    this.#limit = PAGE;
    this.problem = null;
    return this.#try(() => this.#load());
  }

  older() {
    this.#limit = MOST;
    return this.#try(() => this.#load());
  }

  /**
   * Send a text to whom the open chat is with. Resolves with whether the server has taken it.
   *
   * @param {string} text
   */
  async send(text) {
    const { open } = this;
    if (!open) return false;
    return this.#try(() => this.#control.command("send_text", { ...open, text }));
  }

  /** A person has seen the messages of the open chat. */
  see() {
    const { open } = this;
    if (open && this.messages.some(({ seen }) => !seen))
      this.#try(() => this.#control.command("see_chat", open));
  }

  /** Delete the open chat. */
  async forget() {
    const { open } = this;
    if (!open) return;
    if (await this.#try(() => this.#control.command("forget_chat", open))) await this.show(null);
  }

  get draft() {
    return this.open ? (this.#drafts[nameOf(this.open)] ?? "") : "";
  }

  set draft(text) {
    if (!this.open) return;
    if (text) this.#drafts[nameOf(this.open)] = text;
    else delete this.#drafts[nameOf(this.open)];
    remember("drafts", this.#drafts);
  }

  async #load() {
    const { open } = this;
    const [{ chats }, { messages }] = await Promise.all([
      this.#control.command("chats", {}),
      open ? this.#control.command("messages", { ...open, limit: this.#limit }) : { messages: [] },
    ]);
    this.list = chats;
    if (!sameChat(open, this.open)) return;
    this.messages = messages;
    this.more = messages.length === this.#limit && this.#limit < MOST;
  }

  /** @param {() => Promise<unknown>} work */
  async #try(work) {
    let done = true;
    try {
      await work();
      this.problem = null;
    } catch (error) {
      done = false;
      // The next snapshot asks again.
      this.#revision = 0;
      this.problem = error;
    }
    this.#changed();
    return done;
  }
}

/** @param {Whom} whom */
const nameOf = ({ account, remote }) => `${account} ${remote.toLowerCase()}`;
