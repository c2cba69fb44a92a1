// @ts-check
/**
 * What the page knows: the server's snapshots (Control), and the little that only the page knows, which view
 * is open, which call is selected, and whose sound belongs to this tab. `Phone` adds what the page does.
 *
 * Events: `change` when something visible has changed, `tick` four times a second while there are calls,
 * `quality` once a second.
 */

import { labelOf } from "./accounts.js";
import { DIALLING, dialling, live, nameOf, ringsHere, together } from "./calls.js";
import { Chats } from "./chats.js";
import { ContactList } from "./contacts.js";
import { Durations } from "./durations.js";
import { History } from "./history.js";
import { recall, recallTab } from "./memory.js";
import { QualityLog } from "./quality.js";
import { RecordingList } from "./recordings.js";
import { SoundCheck } from "./sound/check.js";
import { Devices } from "./sound/devices.js";
import { Sound } from "./sound/sound.js";

/** @import { CallEntry, CallState } from "./messages.js" */
/** @import { Control } from "./control.js" */

const SILENCE_DBFS = -100;

export class Model extends EventTarget {
  /** @type {"settings" | "history" | "contacts" | "chats" | "dialer" | null} The view that was asked for; null shows what fits the calls. */
  asked = null;
  /**
   * The call whose story is shown: one of the snapshot, or one of the history.
   *
   * @type {{call: string} | {entry: CallEntry} | null}
   */
  reading = null;
  /**
   * A far end that is to become a contact: the view of the contacts opens its form.
   *
   * @type {{name: string, number: string} | null}
   */
  newContact = null;
  /** What the number field holds, so that it survives a change of view. */
  number = "";
  /** @type {{code: string, message: string, hint: string} | null} */
  error = null;

  /** @readonly */
  control;
  /** @readonly */
  devices = new Devices();
  /** @readonly */
  check = new SoundCheck(this.devices);
  /** @readonly */
  sound;
  /** @readonly */
  recordings;
  /** @readonly */
  chats;
  /** @readonly */
  history;
  /** @readonly */
  contacts;

  /** @protected @type {string | null} */
  chosenAccount = recall("account", null);
  /** @protected @type {string | null} */
  chosenCall = null;
  /**
   * Ids of the calls whose sound belongs to this tab.
   *
   * @protected @type {Set<string>}
   */
  mine = new Set(recallTab("mine", []));
  /**
   * The number that is being dialed and that no snapshot shows yet.
   *
   * @protected @type {string | null}
   */
  dialled = null;
  /**
   * Id of the account by which it is dialed.
   *
   * @protected
   */
  dialledBy = "";
  /** @protected */
  durations = new Durations();
  /** @protected @type {Map<string, string>} */
  sentDigits = new Map();
  /** @protected @type {Set<string>} */
  leaving = new Set();
  /** @protected */
  qualityLog = new QualityLog();
  /**
   * Ids of calls that this page saw live.
   *
   * @protected @type {Set<string>}
   */
  witnessed = new Set();
  /**
   * Ids of calls that were in a snapshot.
   *
   * @protected @type {Set<string>}
   */
  seen = new Set();
  /** A call of this page ended while there was no connection to the server. */
  callLost = false;
  /** @type {string[]} Ids of the live calls of this page in the last snapshot. */
  #liveBefore = [];
  /** @protected */
  metSnapshot = false;
  /** @type {CallState[]} Those who were last in a conference with the selected call. */
  #companions = [];

  /** @param {Control} control */
  constructor(control) {
    super();
    this.control = control;
    this.recordings = new RecordingList(control, () => this.changed());
    this.chats = new Chats(control, () => this.changed());
    this.history = new History(control, () => this.changed());
    this.contacts = new ContactList(control, () => this.changed());
    this.sound = new Sound(this.devices, (/** @type {string} */ call) =>
      control.command("audio_ticket", { call }),
    );
    control.addEventListener("state", () => this.#receiveState());
    control.addEventListener("quality", () => {
      this.qualityLog.note(control.quality);
      this.sound.adapt(control.quality);
      this.dispatchEvent(new Event("quality"));
    });
    control.addEventListener("connection", () => this.changed());
    for (const source of [this.sound, this.devices, this.check])
      source.addEventListener("change", () => this.changed());
  }

  get state() {
    return this.control.state;
  }

  get accounts() {
    return this.state?.accounts ?? [];
  }

  /** The account that calls use: the one that was used last, the first one, or null. */
  get account() {
    return this.accounts.find(({ id }) => id === this.chosenAccount) ?? this.accounts[0] ?? null;
  }

  /**
   * The label of a call's account; empty where there is only one.
   *
   * @param {CallState} call
   */
  accountName(call) {
    const account = this.accounts.find(({ id }) => id === call.account);
    return account && this.accounts.length > 1 ? labelOf(account, this.accounts) : "";
  }

  /** The calls of the snapshot, and the one that is being dialed. */
  get calls() {
    const calls = this.state?.calls ?? [];
    const pending = this.#diallingCall(calls);
    return pending ? [...calls, pending] : calls;
  }

  /** Whether a call is being dialed, from the press of the button to the server's answer. */
  get isDialling() {
    return this.dialled !== null;
  }

  /** @param {CallState[]} calls */
  #diallingCall(calls) {
    if (this.dialled === null) return null;
    // The snapshot with the call comes before the answer to the command.
    const arrived = (/** @type {CallState} */ call) =>
      call.direction === "outgoing" &&
      call.remote === this.dialled &&
      live(call) &&
      !this.before.has(call.id);
    return calls.some(arrived) ? null : dialling(this.dialled, this.dialledBy);
  }

  /**
   * Ids of the calls that there were when dialling began.
   *
   * @protected @type {Set<string>}
   */
  before = new Set();

  /** Incoming calls that ring. */
  get ringing() {
    return this.calls.filter(ringsHere);
  }

  /**
   * All other calls. Of the ended ones only those that this page saw before: a call that ended in another
   * window is not shown, nor is an incoming call that was never answered (the recent calls list it).
   */
  get lines() {
    return this.calls.filter(
      (call) => !ringsHere(call) && (live(call) || (this.saw(call) && !this.#missed(call))),
    );
  }

  /** @protected @param {CallState} call */
  saw(call) {
    return this.witnessed.has(call.id) || this.mine.has(call.id);
  }

  /** @param {CallState} call */
  #missed(call) {
    const answered = call.answered_s !== null || this.seconds(call) !== null;
    return call.direction === "incoming" && !live(call) && !answered;
  }

  /** The call that the view shows and whose sound is played. */
  get selected() {
    const lines = this.lines;
    const pending = lines.find(({ id }) => id === DIALLING);
    return (
      pending ??
      lines.find((call) => call.id === this.chosenCall) ??
      lines.findLast(live) ??
      lines.at(-1) ??
      null
    );
  }

  /** The selected call if it is not over, or null. */
  get current() {
    const call = this.selected;
    return call && live(call) ? call : null;
  }

  /** `loading`, `welcome`, `dialer`, `call`, `settings`, `history`, `contacts`, `chats`. */
  get view() {
    if (!this.state) return "loading";
    if (this.asked === "settings" || this.asked === "history" || this.asked === "contacts") return this.asked;
    if (this.asked === "chats" && this.account) return "chats";
    if (this.asked === "dialer" && this.account) return "dialer";
    if (this.selected) return "call";
    return this.account ? "dialer" : "welcome";
  }

  /**
   * Seconds since the answer, the length of an ended call, or null if it was never answered.
   *
   * @param {CallState} call
   */
  seconds(call) {
    return this.durations.seconds(call);
  }

  /**
   * The digits that this page sent in the call.
   *
   * @param {CallState} call
   */
  digits(call) {
    return this.sentDigits.get(call.id) ?? "";
  }

  /**
   * Whether this tab plays, or is about to play, the call's sound.
   *
   * @param {CallState} call
   */
  owns(call) {
    const ours = this.members(call).some((each) => this.mine.has(each.id) || each.id === DIALLING);
    return ours && !(this.plays(call) && this.sound.link === "elsewhere");
  }

  /**
   * Whether the sound that this tab plays is that of the call, or of its conference.
   *
   * @param {CallState} call
   */
  plays(call) {
    return this.members(call).some((each) => each.id === this.sound.call);
  }

  /** RMS in dBFS of both sides of the selected call: our own measurement, or the server's. Or of the sound check. */
  get levels() {
    if (this.check.running) return this.check.levels;
    const call = this.selected;
    if (!call || !live(call)) return { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
    if (this.plays(call) && this.sound.link !== "elsewhere") return this.sound.levels;
    return this.control.meters[call.id] ?? { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
  }

  /**
   * The server's reports on a call for the last minute, the oldest first.
   *
   * @param {CallState} call
   */
  quality(call) {
    return this.qualityLog.of(call);
  }

  /**
   * Another answered call, which `call` can be connected or merged with.
   *
   * @param {CallState} call
   */
  partner(call) {
    const other = (/** @type {CallState} */ each) =>
      each.id !== call.id && each.state === "answered" && !together(each, call);
    return this.calls.findLast(other) ?? null;
  }

  /**
   * The calls that hear each other with this one: itself alone, or those of its conference.
   *
   * @param {CallState} call
   */
  members(call) {
    return call.conference ? this.calls.filter((each) => together(each, call)) : [call];
  }

  /** @param {CallState} call */
  labelOf(call) {
    return this.members(call).map(nameOf).join(", ");
  }

  /**
   * The recording that a call, or its conference, is written to, or null.
   *
   * @param {CallState} call
   */
  recording(call) {
    return this.members(call).find((each) => each.recording)?.recording ?? null;
  }

  /**
   * Whether the call is being hung up: for longer than a moment only while the server is away.
   *
   * @param {CallState} call
   */
  leaves(call) {
    return this.leaving.has(call.id);
  }

  /** The number that was dialed last. */
  get lastNumber() {
    return recall("last", "");
  }

  #receiveState() {
    const calls = this.state?.calls ?? [];
    const present = new Set(calls.map((call) => call.id));
    // A call leaves the list only after it was shown as ended.
    if (this.#liveBefore.some((id) => !present.has(id))) this.callLost = true;
    this.#liveBefore = calls.filter((call) => live(call) && this.mine.has(call.id)).map(({ id }) => id);
    for (const call of calls) this.#receiveCall(call);
    this.#followConference();
    this.recordings.follow(calls);
    if (this.state) {
      this.history.follow(this.state.history);
      this.contacts.follow(this.state.contacts);
      this.chats.follow(this.state.chats);
    }
    // A call that was just dialed may not be in this snapshot yet: `seen` keeps its entries.
    if (!this.metSnapshot) this.seen = new Set(this.mine);
    for (const known of [
      this.durations,
      this.sentDigits,
      this.mine,
      this.witnessed,
      this.leaving,
      this.seen,
    ]) {
      for (const id of [...known.keys()]) if (!present.has(id) && this.seen.has(id)) known.delete(id);
    }
    for (const id of present) this.seen.add(id);
    // The first snapshot after a reload or a crash: a call without an audio connection becomes ours.
    if (!this.metSnapshot) {
      for (const call of this.lines) if (live(call) && !call.audio_attached) this.mine.add(call.id);
      for (const call of calls.filter(live)) this.#recallQuality(call.id);
    }
    this.metSnapshot = true;
    this.changed();
  }

  /** When the selected member leaves a conference, another member is selected. */
  #followConference() {
    const call = this.calls.find(({ id }) => id === this.chosenCall);
    const left = this.#companions.find(({ id }) => this.calls.some((each) => each.id === id && live(each)));
    if (call && !live(call) && left) this.chosenCall = left.id;
    const selected = this.selected;
    this.#companions = selected?.conference ? this.members(selected) : [];
  }

  /**
   * A page that comes into a running call learns how it went until then.
   *
   * @param {string} call
   */
  async #recallQuality(call) {
    try {
      this.qualityLog.recall(call, (await this.control.command("quality_history", { call })).samples);
    } catch {
      // The call is over, or the server is away: there is nothing to draw then.
    }
  }

  /** @param {CallState} call */
  #receiveCall(call) {
    if (live(call)) this.witnessed.add(call.id);
    this.durations.note(call, this.control.receivedAt);
    if (live(call) || this.durations.over(call.id)) return;
    const seconds = this.durations.end(call);
    if (!this.saw(call)) return;
    this.callEnded(call, seconds);
  }

  /**
   * A call that this page saw has ended, `seconds` after its answer.
   *
   * @protected
   * @param {CallState} _call
   * @param {number | null} _seconds
   */
  callEnded(_call, _seconds) {}

  /** @protected */
  changed() {
    this.dispatchEvent(new Event("change"));
  }
}
