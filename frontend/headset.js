// @ts-check
/**
 * The buttons and lamps of a telephone headset (WebHID): its hook switch answers and hangs up, its mute button
 * mutes, and its lamps follow the calls. Event: `change` when a headset comes or goes.
 */

import {
  buttonsOf,
  HOOK_SWITCH,
  lampReports,
  lampsOf,
  MUTE_LAMP,
  OFF_HOOK_LAMP,
  PHONE_MUTE,
  readFlag,
  RING_LAMP,
} from "./hid.js";

/** @import { Place } from "./hid.js" */

const TELEPHONY_PAGE = 0x0b;

/** @typedef {{ ringing: boolean, talking: boolean, muted: boolean }} Situation */

export class Headset extends EventTarget {
  /** @type {() => void} */
  onAnswer = () => {};
  /** @type {() => void} */
  onHangUp = () => {};
  /** @type {() => void} */
  onMute = () => {};

  /** @type {HIDDevice | null} */
  #device = null;
  /** @type {Map<number, Place>} */
  #buttons = new Map();
  /** @type {Map<number, Place>} */
  #lamps = new Map();
  /** @type {Set<number>} Usages of the buttons that are down. */
  #down = new Set();
  /** @type {Situation} */
  #situation = { ringing: false, talking: false, muted: false };
  #shown = "";

  constructor() {
    super();
    if (!this.possible) return;
    navigator.hid.addEventListener("connect", () => this.#reopen());
    navigator.hid.addEventListener("disconnect", ({ device }) => {
      if (device === this.#device) this.#use(null);
    });
    this.#reopen();
  }

  get possible() {
    return "hid" in navigator;
  }

  /** The headset's name, or null. */
  get name() {
    return this.#device?.productName ?? null;
  }

  /** Let the person choose one; to be called in a gesture. */
  async connect() {
    const [device] = await navigator.hid.requestDevice({ filters: [{ usagePage: TELEPHONY_PAGE }] });
    if (device) await this.#use(device);
  }

  /**
   * Show what the calls do.
   *
   * @param {Situation} situation
   */
  async show(situation) {
    this.#situation = situation;
    const { ringing, talking, muted } = situation;
    /** @type {[number, boolean][]} */
    const lamps = [
      [RING_LAMP, ringing],
      [OFF_HOOK_LAMP, talking],
      [MUTE_LAMP, talking && muted],
    ];
    const lit = new Set(lamps.flatMap(([usage, on]) => (on ? [usage] : [])));
    if (!this.#device || [...lit].join() === this.#shown) return;
    this.#shown = [...lit].join();
    // One that was just unplugged takes no reports.
    for (const [report, data] of lampReports(this.#lamps, lit))
      await this.#device?.sendReport(report, data).catch(() => {});
  }

  /** Use a headset again that the person has chosen before. */
  async #reopen() {
    if (this.#device) return;
    const known = await navigator.hid.getDevices();
    const found = known.find(({ collections }) =>
      collections.some(({ usagePage }) => usagePage === TELEPHONY_PAGE),
    );
    if (found) await this.#use(found);
  }

  /** @param {HIDDevice | null} device */
  async #use(device) {
    this.#device?.removeEventListener("inputreport", this.#onReport);
    this.#device = null;
    if (device) {
      try {
        if (!device.opened) await device.open();
      } catch {
        // Another program holds it.
        return;
      }
      this.#device = device;
      this.#buttons = buttonsOf(device);
      this.#lamps = lampsOf(device);
      this.#down.clear();
      this.#shown = "";
      device.addEventListener("inputreport", this.#onReport);
      this.show(this.#situation);
    }
    this.dispatchEvent(new Event("change"));
  }

  /** @param {HIDInputReportEvent} report */
  #onReport = ({ reportId, data }) => {
    for (const [usage, { report, bit }] of this.#buttons) {
      if (report !== reportId) continue;
      const down = readFlag(data, bit);
      if (down === this.#down.has(usage)) continue;
      if (down) this.#down.add(usage);
      else this.#down.delete(usage);
      this.#changed(usage, down);
    }
  };

  /**
   * The hook switch is up as long as one talks. A headset repeats by it what its lamp was told, which asks for
   * nothing.
   *
   * @param {number} usage
   * @param {boolean} down
   */
  #changed(usage, down) {
    const { ringing, talking } = this.#situation;
    if (usage === PHONE_MUTE && down && talking) this.onMute();
    else if (usage === HOOK_SWITCH && down && ringing) this.onAnswer();
    else if (usage === HOOK_SWITCH && !down && talking) this.onHangUp();
  }
}
