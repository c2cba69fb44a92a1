/**
 * The telephone behind the page: what the server says (Control), what is heard (Sound), and the little that
 * only the page knows: which view is open, which call is selected, whose sound belongs to this tab.
 *
 * Events: `change` when something to be seen changed, `tick` four times a second while there are calls,
 * `quality` once a second.
 */

import { labelOf } from "./accounts.js";
import { Durations } from "./durations.js";
import { recall, recallTab, remember, rememberTab } from "./memory.js";
import { QualityLog } from "./quality.js";
import { Recents } from "./recents.js";
import { RecordingList } from "./recordings.js";
import { Sound } from "./sound/sound.js";
import { Tones } from "./sound/tones.js";

// The line is taken, or nobody wants to talk; everything else is the network's trouble.
const BUSY = [480, 486, 600, 603];
const SILENCE_DBFS = -100;

/** A number without the marks people write into it; a SIP address as it is. */
export function tidy(text) {
  const plain = text.trim().replace(/^tel:/i, "");
  return /^[+\d\s().\-/*#]*$/.test(plain) ? plain.replace(/[\s().\-/]/g, "") : plain;
}

export const live = (call) => call.state !== "ended";
/** Whether two calls are in one conference. */
export const together = (one, other) =>
  Boolean(one.conference) && one.conference.id === other.conference?.id;
export const nameOf = (call) => call.display_name || call.remote;
export const ringsHere = (call) => call.direction === "incoming" && call.state === "ringing";

export class Phone extends EventTarget {
  recents = new Recents();
  /** `settings` or `dialer` when asked for; null shows what fits the calls. */
  asked = null;
  /** Id of the call whose story is being read, null for none. */
  reading = null;
  /** What the number field holds, so that it outlives a change of view. */
  number = "";
  error = null;

  #control;
  #account = recall("account", null);
  #sound;
  #tones = new Tones();
  #selected = null;
  #mine = new Set(recallTab("mine", []));
  #metSnapshot = false;
  #durations = new Durations();
  #digits = new Map();
  #keysSent = Promise.resolve();
  #seen = new Set();
  #witnessed = new Set();
  #leaving = new Set();
  #ticker = 0;
  /** Those who were last in a conference with the selected call. */
  #companions = [];
  #quality = new QualityLog();
  #recordings;

  constructor(control) {
    super();
    this.#control = control;
    this.#recordings = new RecordingList(control, () => this.#changed());
    this.#sound = new Sound((call) => control.command("audio_ticket", { call }));
    control.addEventListener("state", () => this.#receiveState());
    control.addEventListener("quality", () => {
      this.#quality.note(control.quality);
      this.dispatchEvent(new Event("quality"));
    });
    control.addEventListener("connection", () => this.#changed());
    this.#sound.addEventListener("change", () => this.#changed());
    this.#tones.setVolume(this.#sound.volumes.speaker);
    for (const gesture of ["pointerdown", "keydown"])
      addEventListener(gesture, () => this.#gesture(), { capture: true });
  }

  get control() {
    return this.#control;
  }

  get sound() {
    return this.#sound;
  }

  /** The tones of the network, and whose they are. */
  get tones() {
    return this.#tones;
  }

  get recordings() {
    return this.#recordings;
  }

  get state() {
    return this.#control.state;
  }

  get accounts() {
    return this.state?.accounts ?? [];
  }

  /** The account that calls go by: the one that was used last, the first one, or null. */
  get account() {
    return this.accounts.find(({ id }) => id === this.#account) ?? this.accounts[0] ?? null;
  }

  /** Have calls go by that account from now on. */
  choose(account) {
    this.#account = account;
    remember("account", account);
    this.#changed();
  }

  /** What the account of a call is called; empty where there is no other. */
  accountName(call) {
    const account = this.accounts.find(({ id }) => id === call.account);
    return account && this.accounts.length > 1 ? labelOf(account, this.accounts) : "";
  }

  get calls() {
    return this.state?.calls ?? [];
  }

  /** Incoming calls that nobody has answered yet. */
  get ringing() {
    return this.calls.filter(ringsHere);
  }

  /**
   * All other calls. Of the ended ones only those that this page saw before: what ended in another window
   * is no news, nor is an incoming call that was never answered (the recent calls name it).
   */
  get lines() {
    return this.calls.filter(
      (call) => !ringsHere(call) && (live(call) || (this.#saw(call) && !this.#missed(call))),
    );
  }

  #saw(call) {
    return this.#witnessed.has(call.id) || this.#mine.has(call.id);
  }

  #missed(call) {
    const answered = call.answered_s !== null || this.seconds(call) !== null;
    return call.direction === "incoming" && !live(call) && !answered;
  }

  /** The call that the view shows and whose sound is played. */
  get selected() {
    const lines = this.lines;
    return lines.find((call) => call.id === this.#selected) ?? lines.findLast(live) ?? lines.at(-1) ?? null;
  }

  /** `loading`, `welcome`, `dialer`, `call`, `settings`. */
  get view() {
    if (!this.state) return "loading";
    if (this.asked === "settings") return "settings";
    if (this.asked === "dialer" && this.account) return "dialer";
    if (this.selected) return "call";
    return this.account ? "dialer" : "welcome";
  }

  show(view) {
    this.asked = view;
    this.error = null;
    this.#changed();
  }

  /** Look at a call, and talk to it: who was talked to until then is put on hold. */
  select(id) {
    this.#selected = id;
    this.asked = null;
    const call = this.calls.find((each) => each.id === id);
    if (call?.state === "answered" && call.on_hold) this.hold(id, false);
    this.#changed();
  }

  /** Seconds since the answer, the length of an ended call, or null if it was never answered. */
  seconds(call) {
    return this.#durations.seconds(call);
  }

  /** The digits that were sent in this call by this page. */
  digits(call) {
    return this.#digits.get(call.id) ?? "";
  }

  /** Whether this tab plays, or is about to play, the call's sound. */
  owns(call) {
    const ours = this.members(call).some((each) => this.#mine.has(each.id));
    return ours && !(this.plays(call) && this.#sound.link === "elsewhere");
  }

  /** Whether the sound that this tab plays is that of the call, or of its conference. */
  plays(call) {
    return this.members(call).some((each) => each.id === this.#sound.call);
  }

  /** RMS in dBFS of both sides of the selected call: our own measurement, or the server's. */
  get levels() {
    const call = this.selected;
    if (!call || !live(call)) return { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
    if (this.plays(call) && this.#sound.link !== "elsewhere") return this.#sound.levels;
    return this.#control.meters[call.id] ?? { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
  }

  /** The server's reports on a call for the last minute, the oldest first. */
  quality(call) {
    return this.#quality.of(call);
  }

  /** Another call that is answered: one that `call` can be connected or merged with. */
  partner(call) {
    const other = (each) => each.id !== call.id && each.state === "answered" && !together(each, call);
    return this.calls.findLast(other) ?? null;
  }

  /** The calls that hear each other with this one: itself alone, or those of its conference. */
  members(call) {
    return call.conference ? this.calls.filter((each) => together(each, call)) : [call];
  }

  async dial(text) {
    const target = tidy(text);
    if (!target) return;
    this.error = null;
    remember("last", target);
    this.#sound.wake(this.state.audio.rate);
    try {
      const { call } = await this.#control.command("dial", { target, account: this.account?.id ?? null });
      this.number = "";
      this.#take(call);
    } catch (error) {
      this.error = error;
      this.#sound.release();
      this.#changed();
    }
  }

  get lastNumber() {
    return recall("last", "");
  }

  answer(call) {
    this.#sound.wake(this.state.audio.rate);
    this.#take(call);
    this.#command("answer", { call });
  }

  /** Bring the call's sound to this tab. */
  take(call) {
    this.#sound.wake(this.state.audio.rate);
    if (this.#sound.call === call) this.#sound.reconnect();
    this.#take(call);
  }

  decline(call) {
    this.#command("decline", { call }, { patient: true });
  }

  hangUp(call) {
    this.#leaving.add(call);
    this.#command("hang_up", { call }, { patient: true });
    this.#changed();
  }

  /** Hang up all members of a conference. */
  hangUpAll(call) {
    for (const { id } of this.members(call)) this.hangUp(id);
  }

  /** Whether the call is being hung up: for longer than a moment only while the server is away. */
  leaves(call) {
    return this.#leaving.has(call.id);
  }

  dismiss(call) {
    this.#command("dismiss", { call });
  }

  mute(call, muted) {
    this.#sound.setMuted(muted);
    this.#command("mute", { call, muted });
  }

  hold(call, held) {
    this.#command("hold", { call, held });
  }

  merge(calls) {
    this.#command("merge", { calls });
  }

  /** The recording that a call, or its conference, is written to, or null. */
  recording(call) {
    return this.members(call).find((each) => each.recording)?.recording ?? null;
  }

  record(call) {
    this.#command("record", { call });
  }

  stopRecording(call) {
    const recorded = this.members(call).find((each) => each.recording);
    if (recorded) this.#command("stop_record", { call: recorded.id });
  }

  /** Take a call out of its conference, to talk to it alone. */
  split(call) {
    this.#command("split", { call });
    this.#take(call);
  }

  /** How the others hear a member of a conference: `gain` in dB. */
  setMember(call, { gain, muted }) {
    this.#command("member", { call, gain, muted });
  }

  transfer(call, text) {
    const target = tidy(text);
    if (target) this.#command("transfer", { call, target });
  }

  /** Call whom the far end wants us to talk to, or stay. */
  async follow(call, accepted) {
    this.error = null;
    if (accepted) this.#sound.wake(this.state.audio.rate);
    try {
      const { call: next } = await this.#control.command("follow", { call, accepted });
      if (next) this.#take(next);
    } catch (error) {
      this.error = error;
      this.#changed();
    }
  }

  connect(call, other) {
    this.#command("connect", { call, other });
  }

  /** Open the story of a call, or close it with null. */
  read(call) {
    this.reading = call;
    this.#changed();
  }

  /** What happened in a call, step by step. */
  async steps(call) {
    return (await this.#control.command("timeline", { call })).steps;
  }

  /** Hold a key down in a call, until `release`. */
  press(call, digit) {
    this.#digits.set(call, (this.#digits.get(call) ?? "") + digit);
    this.#inTurn("press", { call, digit });
    this.#changed();
  }

  release(call, digit) {
    this.#inTurn("release", { call, digit });
  }

  /** One after the other: commands are answered in no promised order, keys must keep theirs. */
  #inTurn(command, fields) {
    this.#keysSent = this.#keysSent.then(() => this.#command(command, fields));
  }

  setVolume(side, gain) {
    this.#sound.setVolume(side, gain);
    if (side === "speaker") this.#tones.setVolume(gain);
  }

  saveAccount(settings) {
    return this.#control.command("save_account", settings);
  }

  forgetAccount(account) {
    return this.#control.command("forget_account", { account });
  }

  forgetRecent() {
    this.recents.clear();
    this.#changed();
  }

  async #command(command, fields, options) {
    try {
      await this.#control.command(command, fields, options);
    } catch (error) {
      // A call that is gone has no use for the command; the snapshot says what became of it.
      if (error.code === "no_such_call") return;
      this.error = error;
      this.#changed();
    }
  }

  #take(call) {
    this.#mine.add(call);
    this.#selected = call;
    this.asked = null;
    this.#changed();
  }

  #gesture() {
    this.#sound.resume();
    this.#tones.unlock();
  }

  #receiveState() {
    const present = new Set(this.calls.map((call) => call.id));
    for (const call of this.calls) this.#receiveCall(call);
    this.#followConference();
    this.#recordings.follow(this.calls);
    // A call that we just dialled may not be in this snapshot yet, hence `seen`.
    if (!this.#metSnapshot) this.#seen = new Set(this.#mine);
    for (const known of [
      this.#durations,
      this.#digits,
      this.#mine,
      this.#witnessed,
      this.#leaving,
      this.#seen,
    ]) {
      for (const id of [...known.keys()]) if (!present.has(id) && this.#seen.has(id)) known.delete(id);
    }
    for (const id of present) this.#seen.add(id);
    // The first snapshot after a reload or a crash: a call that nobody listens to becomes ours.
    if (!this.#metSnapshot) {
      for (const call of this.lines) if (live(call) && !call.audio_attached) this.#mine.add(call.id);
      for (const call of this.calls.filter(live)) this.#recallQuality(call.id);
    }
    this.#metSnapshot = true;
    this.#changed();
  }

  /** A conference goes on when the member that was selected leaves it. */
  #followConference() {
    const call = this.calls.find(({ id }) => id === this.#selected);
    const left = this.#companions.find(({ id }) => this.calls.some((each) => each.id === id && live(each)));
    if (call && !live(call) && left) this.#selected = left.id;
    const selected = this.selected;
    this.#companions = selected?.conference ? this.members(selected) : [];
  }

  /** A page that comes into a running call learns how it went until then. */
  async #recallQuality(call) {
    try {
      this.#quality.recall(call, (await this.#control.command("quality_history", { call })).samples);
    } catch {
      // The call is over, or the server is away: there is nothing to draw then.
    }
  }

  #receiveCall(call) {
    if (live(call)) this.#witnessed.add(call.id);
    this.#durations.note(call, this.#control.receivedAt);
    if (live(call) || this.#durations.over(call.id)) return;
    const seconds = this.#durations.end(call);
    if (this.#saw(call)) {
      if (this.#mine.has(call.id) && call.ended.by === "remote") this.#tellEnd(call, seconds);
      this.recents.note(call, seconds);
    }
  }

  /** Two tones when they hung up; else as long as it takes to understand that nothing came of it. */
  #tellEnd({ ended }, seconds) {
    if (seconds !== null) this.#tones.tell("busy", 2);
    else this.#tones.tell(BUSY.includes(ended.status) ? "busy" : "congestion", 4);
  }

  /** Bring sound, tones and ticker in line with the calls. */
  #changed() {
    rememberTab("mine", [...this.#mine]);
    const call = this.selected;
    const heard = this.#heard(call);
    if (this.state) this.#sound.follow(heard?.id ?? this.#pending(), this.state.audio.rate);
    if (heard) this.#sound.setMuted(heard.muted);
    const ringback = heard?.direction === "outgoing" && heard.state === "ringing" && this.#control.connected;
    this.#tones.play(this.ringing.length ? (heard ? "waiting" : "ring") : ringback ? "ringback" : null);
    if (this.calls.some(live) && !this.#ticker) {
      this.#ticker = setInterval(() => this.dispatchEvent(new Event("tick")), 250);
    } else if (!this.calls.some(live)) {
      clearInterval(this.#ticker);
      this.#ticker = 0;
    }
    this.dispatchEvent(new Event("change"));
  }

  /** The call whose sound this tab plays: the selected one, or one in a conference with it. */
  #heard(call) {
    if (!call || !live(call)) return null;
    const ours = this.members(call).filter((each) => this.#mine.has(each.id));
    // What is heard already goes on: the sound of each member is that of the whole conference.
    return ours.find((each) => each.id === this.#sound.call) ?? ours[0] ?? null;
  }

  /** A call that we just dialled or answered and that no snapshot shows yet as ours to hear. */
  #pending() {
    return this.#mine.has(this.#selected) && !this.#durations.over(this.#selected) ? this.#selected : null;
  }
}
