// @ts-check
/**
 * The telephone behind the page. `Model` is what it knows; here is what it does: commands to the server, sound,
 * tones and ringing.
 */

import { DIALLING, live, tidy } from "./calls.js";
import { Headset } from "./headset.js";
import { recall, remember, rememberTab } from "./memory.js";
import { Model } from "./model.js";
import { Notifications } from "./notifications.js";
import { Tones } from "./sound/tones.js";

/** @import { CallEntry, CallSettings, CallState, Commands, Step } from "./messages.js" */
/** @import { Control } from "./control.js" */

// Statuses that the person called has caused: the busy tone. All others get the congestion tone.
const BUSY = [480, 486, 600, 603];
const LOWEST_RATE = 8000;
// The person hears that a call comes before it is answered.
const AUTO_ANSWER_MS = 2000;
// How long other pages of this browser leave something to the one that was first.
const ALONE_MS = 3000;

/**
 * Do something in one page of this browser only.
 *
 * @param {string} name
 * @param {() => void} action
 */
function alone(name, action) {
  if (!navigator.locks) action();
  else
    navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
      if (!lock) return;
      action();
      await new Promise((resolve) => setTimeout(resolve, ALONE_MS));
    });
}

export class Phone extends Model {
  /** @readonly The tones of the network, and the ring. */
  tones = new Tones(this.devices);

  /** @readonly */
  notifications = new Notifications();
  /** @readonly */
  headset = new Headset();

  #keysSent = Promise.resolve();
  #ticker = 0;
  /** @type {Record<string, number>} By account, in Hz. */
  #usualRates = recall("rates", {});
  /** The expensive number that the person was asked about last: another press of the button confirms it. */
  #costly = "";
  /** The ringing call that is about to be answered without the person. */
  #answering = "";
  /** The person hung up before the server had answered to the dialling. */
  #abandoned = false;

  /** @param {Control} control */
  constructor(control) {
    super(control);
    for (const source of [this.tones, this.notifications, this.headset])
      source.addEventListener("change", () => this.changed());
    for (const gesture of ["pointerdown", "keydown"])
      addEventListener(gesture, () => this.#gesture(), { capture: true });
    // The browser asks before it leaves a page whose call would lose its sound.
    addEventListener("beforeunload", (event) => {
      if (this.calls.some((call) => live(call) && this.owns(call))) event.preventDefault();
    });
  }

  /**
   * Use that account for calls from now on.
   *
   * @param {string} account
   */
  choose(account) {
    this.chosenAccount = account;
    remember("account", account);
    this.changed();
  }

  /** @param {"settings" | "history" | "contacts" | "chats" | "dialer" | null} view */
  show(view) {
    this.asked = view;
    this.error = null;
    this.changed();
  }

  /**
   * Show a call, and talk to it: the call that was talked to before is put on hold.
   *
   * @param {string} id
   */
  select(id) {
    this.chosenCall = id;
    this.asked = null;
    const call = this.calls.find((each) => each.id === id);
    if (call?.state === "answered" && call.on_hold) this.hold(id, false);
    this.changed();
  }

  /**
   * Call a number or an address. Nothing happens while another one is being dialed, so that a second press
   * of the button makes no second call.
   *
   * @param {string} text
   * @param {string | undefined} account by which account
   */
  async dial(text, account = this.account?.id) {
    const target = tidy(text);
    if (!target || !this.state || this.isDialling) return;
    this.error = null;
    this.asked = null;
    this.dialled = target;
    this.dialledBy = account ?? "";
    this.leaving.delete(DIALLING);
    this.before = new Set(this.state.calls.map(({ id }) => id));
    this.#abandoned = false;
    remember("last", target);
    this.sound.wake(this.#usualRate(account));
    this.changed();
    try {
      const { call } = await this.control.command("dial", {
        target,
        account: account ?? null,
        confirmed: this.#costly === target,
      });
      this.number = "";
      this.dialled = null;
      this.#take(call);
      if (this.#abandoned) this.hangUp(call);
    } catch (error) {
      this.#costly = error.code === "costly" ? target : "";
      this.dialled = null;
      this.number = target;
      this.asked = "dialer";
      this.error = error;
      this.sound.release();
      this.changed();
    }
  }

  /**
   * Call the far end of an earlier call, by the same account if it is still there.
   *
   * @param {CallEntry} entry
   */
  callBack({ remote, account }) {
    this.dial(remote, this.accounts.some(({ id }) => id === account) ? account : undefined);
  }

  /**
   * Open the form for a new contact with the far end of an earlier call.
   *
   * @param {CallEntry} entry
   */
  addContact({ remote, name }) {
    this.newContact = { number: remote, name: name ?? "" };
    this.show("contacts");
  }

  /** @param {string} call */
  answer(call) {
    this.#wake(call);
    this.#take(call);
    this.#command("answer", { call });
  }

  /**
   * Bring the call's sound to this tab.
   *
   * @param {string} call
   */
  take(call) {
    this.#wake(call);
    if (this.sound.call === call) this.sound.reconnect();
    this.#take(call);
  }

  /** @param {string} call */
  decline(call) {
    this.#command("decline", { call }, { patient: true });
  }

  /** @param {string} call */
  hangUp(call) {
    this.leaving.add(call);
    if (call === DIALLING) this.#abandoned = true;
    else this.#command("hang_up", { call }, { patient: true });
    this.changed();
  }

  /**
   * Hang up all members of a conference.
   *
   * @param {CallState} call
   */
  hangUpAll(call) {
    for (const { id } of this.members(call)) this.hangUp(id);
  }

  /** @param {string} call */
  dismiss(call) {
    this.#command("dismiss", { call });
  }

  /**
   * @param {string} call
   * @param {boolean} muted
   */
  mute(call, muted) {
    this.sound.setMuted(muted);
    this.#command("mute", { call, muted });
  }

  /**
   * @param {string} call
   * @param {boolean} held
   */
  hold(call, held) {
    this.#command("hold", { call, held });
  }

  /** @param {string[]} calls */
  merge(calls) {
    this.#command("merge", { calls });
  }

  /** @param {string} call */
  record(call) {
    this.#command("record", { call });
  }

  /** @param {CallState} call */
  stopRecording(call) {
    const recorded = this.members(call).find((each) => each.recording);
    if (recorded) this.#command("stop_record", { call: recorded.id });
  }

  /**
   * Take a call out of its conference, to talk to it alone.
   *
   * @param {string} call
   */
  split(call) {
    this.#command("split", { call });
    this.#take(call);
  }

  /**
   * Set how the others hear a member of a conference: `gain` in dB.
   *
   * @param {string} call
   * @param {{gain: number, muted: boolean}} settings
   */
  setMember(call, { gain, muted }) {
    this.#command("member", { call, gain, muted });
  }

  /**
   * @param {string} call
   * @param {string} text
   */
  transfer(call, text) {
    const target = tidy(text);
    if (target) this.#command("transfer", { call, target });
  }

  /**
   * Accept or decline a transfer that the far end asks for.
   *
   * @param {string} call
   * @param {boolean} accepted
   */
  async follow(call, accepted) {
    this.error = null;
    if (accepted) this.#wake(call);
    try {
      const { call: next } = await this.control.command("follow", { call, accepted });
      if (next) this.#take(next);
    } catch (error) {
      this.error = error;
      this.changed();
    }
  }

  /**
   * @param {string} call
   * @param {string} other
   */
  connect(call, other) {
    this.#command("connect", { call, other });
  }

  /**
   * Open the story of a call, or close it with null.
   *
   * @param {string | null} call
   */
  read(call) {
    this.reading = call === null ? null : { call };
    this.changed();
  }

  /**
   * Open the story of a call of the history.
   *
   * @param {CallEntry} entry
   */
  readEntry(entry) {
    this.reading = { entry };
    this.changed();
  }

  /**
   * What happened in a call, step by step.
   *
   * @param {string} call
   */
  async steps(call) {
    return (await this.control.command("timeline", { call })).steps;
  }

  /**
   * Hold a key down in a call, until `release`.
   *
   * @param {string} call
   * @param {string} digit
   */
  press(call, digit) {
    this.sentDigits.set(call, (this.sentDigits.get(call) ?? "") + digit);
    this.tones.key(digit);
    this.#inTurn("press", { call, digit });
    this.changed();
  }

  /**
   * @param {string} call
   * @param {string} digit
   */
  release(call, digit) {
    this.#inTurn("release", { call, digit });
  }

  /**
   * Send one command after the other: the server answers in no promised order, and keys must keep theirs.
   *
   * @param {"press" | "release"} command
   * @param {Commands["press"]} fields
   */
  #inTurn(command, fields) {
    this.#keysSent = this.#keysSent.then(() => this.#command(command, fields));
  }

  /**
   * @param {"microphone" | "speaker" | "ringer"} side
   * @param {number} gain linear
   */
  setVolume(side, gain) {
    if (side === "ringer") {
      this.tones.setRingerVolume(gain);
      this.changed();
    } else this.sound.setVolume(side, gain);
  }

  /** Try microphone and speaker without a call. */
  tryOut() {
    this.check.start(this.sound.volumes);
  }

  /**
   * @param {Commands["save_account"]} settings
   * @param {(step: Step) => void} report is told each step of the trial
   */
  saveAccount(settings, report) {
    return this.control.command("save_account", settings, { report });
  }

  /**
   * Check a saved account; `echo` is a number that returns what it hears, or null.
   *
   * @param {string} account
   * @param {string | null} echo
   * @param {(step: Step) => void} report
   */
  checkAccount(account, echo, report) {
    return this.control.command("check_account", { account, echo }, { report });
  }

  /** @param {string} account */
  forgetAccount(account) {
    return this.control.command("forget_account", { account });
  }

  /**
   * Change some of the settings for calls.
   *
   * @param {CallSettings} changes
   */
  async changeCallSettings(changes) {
    await this.control.command("change_call_settings", { changes: { ...changes } });
  }

  /** Have calls refused, or ring again. */
  async toggleDoNotDisturb() {
    try {
      await this.changeCallSettings({ do_not_disturb: !this.state?.call_settings.do_not_disturb });
    } catch (error) {
      this.error = error;
      this.changed();
    }
  }

  /** The person has read that a call was lost. */
  understood() {
    this.callLost = false;
    this.changed();
  }

  /**
   * @template {keyof Commands} Name
   * @param {Name} command
   * @param {Commands[Name]} fields
   * @param {{patient?: boolean}} [options]
   */
  async #command(command, fields, options) {
    try {
      await this.control.command(command, fields, options);
    } catch (error) {
      // A call that is gone has no use for the command; the snapshot says what became of it.
      if (error.code === "no_such_call") return;
      this.error = error;
      this.changed();
    }
  }

  /** @param {string | null} id of a call */
  #wake(id) {
    this.sound.wake(this.#rateOf(id));
  }

  /**
   * The rate in Hz for a call's sound: that of its codec, so that the server need not convert it. In a
   * conference it is the highest of all members.
   *
   * @param {string | null} id
   */
  #rateOf(id) {
    const call = this.calls.find((each) => each.id === id);
    return call
      ? Math.max(...this.members(call).map((each) => this.#agreedRate(each)))
      : this.#usualRate(this.account?.id);
  }

  /** @param {CallState} call */
  #agreedRate({ account, codec }) {
    const agreed = this.state?.codecs.find(({ name }) => name === codec)?.rate;
    if (agreed !== undefined && agreed !== this.#usualRates[account]) {
      this.#usualRates[account] = agreed;
      remember("rates", this.#usualRates);
    }
    return agreed ?? this.#usualRate(account);
  }

  /**
   * The rate that the last call of an account had: the best guess until the far end has chosen a codec.
   *
   * @param {string | undefined} account
   */
  #usualRate(account) {
    return this.#usualRates[account ?? ""] ?? this.state?.audio.rate ?? LOWEST_RATE;
  }

  /** @param {string} call */
  #take(call) {
    this.mine.add(call);
    this.chosenCall = call;
    this.asked = null;
    this.changed();
  }

  #gesture() {
    this.sound.resume();
    this.tones.unlock();
  }

  /**
   * Two busy tones when they hung up; more where the call came to nothing, until that is understood.
   *
   * @protected
   * @override
   * @param {CallState} call
   * @param {number | null} seconds
   */
  callEnded(call, seconds) {
    if (!this.mine.has(call.id) || call.ended?.by !== "remote") return;
    if (seconds !== null) this.tones.tell("busy", 2);
    else this.tones.tell(BUSY.includes(call.ended.status ?? 0) ? "busy" : "congestion", 4);
  }

  /**
   * Bring sound, tones and ticker in line with the calls.
   *
   * @protected
   * @override
   */
  changed() {
    rememberTab("mine", [...this.mine]);
    this.#answerAlone();
    const call = this.selected;
    const heard = this.#heard(call);
    if (heard || this.isDialling) this.check.stop();
    if (this.state && !this.isDialling) {
      const id = heard?.id ?? this.#pending();
      this.sound.follow(id, this.#rateOf(id));
    }
    if (heard) this.sound.setMuted(heard.muted);
    const ringback = heard?.direction === "outgoing" && heard.state === "ringing" && this.control.connected;
    this.tones.play(this.ringing.length ? (heard ? "waiting" : "ring") : ringback ? "ringback" : null);
    if (this.calls.some(live) && !this.#ticker) {
      this.#ticker = setInterval(() => this.dispatchEvent(new Event("tick")), 250);
    } else if (!this.calls.some(live)) {
      clearInterval(this.#ticker);
      this.#ticker = 0;
    }
    super.changed();
  }

  /** Answer a call after a while, if that is wished, this page can play its sound, and nobody is talked to. */
  #answerAlone() {
    const [call] = this.ringing;
    if (!call || call.id === this.#answering || !this.state?.call_settings.auto_answer) return;
    if (this.current || this.tones.blocked) return;
    this.#answering = call.id;
    setTimeout(() => {
      const rings = this.ringing.some(({ id }) => id === call.id);
      if (rings && !this.current) alone(`spech.answer.${call.id}`, () => this.answer(call.id));
    }, AUTO_ANSWER_MS);
  }

  /**
   * The call whose sound this tab plays: the selected one, or one in a conference with it.
   *
   * @param {CallState | null} call
   */
  #heard(call) {
    if (!call || !live(call)) return null;
    const ours = this.members(call).filter((each) => this.mine.has(each.id));
    // Keep the present connection: the sound of each member is that of the whole conference.
    return ours.find((each) => each.id === this.sound.call) ?? ours[0] ?? null;
  }

  /** A call that we just dialed or answered and that no snapshot shows yet as ours to hear. */
  #pending() {
    const id = this.chosenCall;
    return id !== null && this.mine.has(id) && !this.durations.over(id) ? id : null;
  }
}
