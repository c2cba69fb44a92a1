// @ts-check
/**
 * The control connection: commands out, whole state snapshots, meters and quality in (docs/protocol.md).
 *
 * Events: `state` after each snapshot, `meters` and `quality` after such a message, `connection` when
 * the connection comes or goes. A lost connection is made again, with a growing pause.
 */

import { takeSocket } from "./early.js";

/** @import { Commands, Meters, Outcomes, PageState, Quality, ServerMessage, Step } from "./messages.js" */

/**
 * @typedef {object} Waiting a command whose answer has not come
 * @property {(ok: any) => void} resolve
 * @property {(error: CommandError) => void} reject
 * @property {boolean} patient
 * @property {string} text
 * @property {((step: Step) => void) | undefined} report
 */

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 5000;
const OPENING_MS = 5000;
// Meters come ten times a second in a call. Silence this long means a dead path (a changed Wi-Fi, say)
// that the browser itself would notice only after minutes.
const SILENCE_MS = 4000;
const SIGNED_OUT = 401;

/** A command was refused; `code`, `message` and `hint` are the server's, or ours when it is away. */
export class CommandError extends Error {
  /** @param {{code: string, message: string, hint: string}} fault */
  constructor({ code, message, hint }) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** A refused WebSocket has no status for scripts. Those who are not signed in any more get another page. */
async function leaveIfSignedOut() {
  try {
    if ((await fetch("session")).status === SIGNED_OUT) location.replace(`./${location.search}`);
  } catch {
    // The server is away; the next attempt asks again.
  }
}

export class Control extends EventTarget {
  /** @type {PageState | null} */
  state = null;
  /** performance.now() when `state` came. */
  receivedAt = 0;
  /** @type {Record<string, Meters>} By call. */
  meters = {};
  /** @type {Record<string, Quality>} By call. */
  quality = {};
  connected = false;
  /** @type {number | null} performance.now() at which the connection was lost, null while there is one. */
  lostAt = performance.now();
  /** @type {number | null} performance.now() at which the next attempt is due, null during an attempt. */
  nextAttemptAt = null;

  /** @type {WebSocket | null} */
  #socket = null;
  #failures = 0;
  #timer = 0;
  #lastMessageAt = 0;
  #metersSeen = false;
  #identifier = 0;
  /** @type {Map<number | string | null, Waiting>} */
  #waiting = new Map();

  open() {
    this.#connect();
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retry();
    });
    setInterval(() => this.#watch(), 1000);
  }

  /** Try to connect at once instead of waiting for the pause to end. */
  retry() {
    if (this.nextAttemptAt !== null) this.#connect();
  }

  /**
   * Send a command. Resolves with its `ok`, rejects with a CommandError. Without a connection it fails
   * at once; a `patient` one (a hang-up must not get lost) is sent again over the next connection instead.
   * `report` is called for each step of a check-up.
   *
   * @template {keyof Commands} Name
   * @param {Name} command
   * @param {Commands[Name]} fields
   * @param {{patient?: boolean, report?: (step: Step) => void}} [options]
   * @returns {Promise<Outcomes[Name]>}
   */
  command(command, fields, { patient = false, report } = {}) {
    return new Promise((resolve, reject) => {
      this.#identifier += 1;
      const text = JSON.stringify({ id: this.#identifier, command, ...fields });
      this.#waiting.set(this.#identifier, { resolve, reject, patient, text, report });
      if (this.connected && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
      else if (!patient) this.#fail(this.#identifier);
    });
  }

  /** @param {number | string | null} identifier */
  #fail(identifier) {
    const waiter = this.#waiting.get(identifier);
    this.#waiting.delete(identifier);
    waiter?.reject(new CommandError({ code: "offline", message: "", hint: "" }));
  }

  #connect() {
    clearTimeout(this.#timer);
    this.nextAttemptAt = null;
    const { socket, missed } = takeSocket();
    this.#socket = socket;
    // A connection counts once the first snapshot has come: only then is anything known to work.
    this.#timer = setTimeout(() => this.#lose(socket), OPENING_MS);
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) this.#receive(JSON.parse(event.data));
    });
    socket.addEventListener("close", () => this.#lose(socket));
    for (const event of missed) socket.dispatchEvent(event);
    this.#changed();
  }

  /** @param {WebSocket | null} socket */
  #lose(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    socket?.close();
    clearTimeout(this.#timer);
    if (this.connected) this.lostAt = performance.now();
    else leaveIfSignedOut();
    this.connected = false;
    this.meters = {};
    for (const [identifier, { patient }] of [...this.#waiting]) if (!patient) this.#fail(identifier);
    const pause =
      Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 1.7 ** this.#failures) * (0.8 + 0.4 * Math.random());
    this.#failures += 1;
    this.nextAttemptAt = performance.now() + pause;
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#changed();
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    this.#lastMessageAt = performance.now();
    if ("step" in message) {
      this.#waiting.get(message.id)?.report?.(message.step);
    } else if ("id" in message) {
      const waiter = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ("error" in message) waiter?.reject(new CommandError(message.error));
      else waiter?.resolve(message.ok);
    } else if (message.type === "meters") {
      this.#metersSeen = true;
      this.meters = message.calls;
      this.dispatchEvent(new Event("meters"));
    } else if (message.type === "quality") {
      this.quality = message.calls;
      this.dispatchEvent(new Event("quality"));
    } else if (message.type === "state") {
      this.state = message.state;
      this.receivedAt = performance.now();
      if (!this.connected) this.#established();
      this.dispatchEvent(new Event("state"));
    }
  }

  #established() {
    clearTimeout(this.#timer);
    this.connected = true;
    this.lostAt = null;
    this.#failures = 0;
    this.#metersSeen = false;
    for (const { text } of this.#waiting.values()) this.#socket?.send(text);
    this.#changed();
  }

  #watch() {
    const talking = this.state?.calls.some((call) => call.state === "answered");
    const silent = performance.now() - this.#lastMessageAt > SILENCE_MS;
    if (this.connected && this.#metersSeen && talking && silent) this.#lose(this.#socket);
  }

  #changed() {
    this.dispatchEvent(new Event("connection"));
  }
}
