// @ts-check
/**
 * Which microphone, speaker and ringer the person chose, and how the browser processes the microphone. The browser
 * keeps the choices. "" is the system's device, which also stands in for one that is not there at the moment.
 *
 * Events: `change` when the list or a choice changes; besides, `microphone`, `speaker` or `ringer` after a choice.
 */

import { recall, remember } from "../memory.js";

/** @typedef {"microphone" | "speaker" | "ringer"} Role */
/** @typedef {"echoCancellation" | "noiseSuppression" | "autoGainControl"} Processing */

/** @type {Processing[]} */
export const PROCESSING = ["echoCancellation", "noiseSuppression", "autoGainControl"];
// Chromium lists the system's devices a second time under these names.
const ALIASES = ["", "default", "communications"];

export class Devices extends EventTarget {
  /** @type {Record<Role, string>} */
  chosen = { microphone: "", speaker: "", ringer: "", ...recall("devices", {}) };
  /** @type {Record<Processing, boolean>} */
  processing = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    ...recall("processing", {}),
  };

  /** @type {MediaDeviceInfo[]} */
  #known = [];

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.refresh());
    this.refresh();
  }

  /** Ask the browser again; it names its devices only to a page that may use the microphone. */
  async refresh() {
    try {
      this.#known = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    } catch {
      return;
    }
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Whether this browser lets the page choose.
   *
   * @param {Role} role
   */
  selectable(role) {
    return role === "microphone" || "setSinkId" in AudioContext.prototype;
  }

  /**
   * The devices for a role that have names.
   *
   * @param {Role} role
   */
  list(role) {
    const kind = role === "microphone" ? "audioinput" : "audiooutput";
    return this.#known.filter(
      (device) => device.kind === kind && device.label && !ALIASES.includes(device.deviceId),
    );
  }

  /**
   * @param {Role} role
   * @param {string} id
   */
  choose(role, id) {
    this.chosen = { ...this.chosen, [role]: id };
    remember("devices", this.chosen);
    this.#tell(role);
  }

  /**
   * @param {Processing} name
   * @param {boolean} wanted
   */
  process(name, wanted) {
    this.processing = { ...this.processing, [name]: wanted };
    remember("processing", this.processing);
    this.#tell("microphone");
  }

  /**
   * What to ask the browser for.
   *
   * @returns {MediaTrackConstraints}
   */
  get constraints() {
    const { microphone } = this.chosen;
    return { ...this.processing, channelCount: 1, ...(microphone && { deviceId: { ideal: microphone } }) };
  }

  /**
   * Play a context's sound on the device for `role`.
   *
   * @param {AudioContext} context
   * @param {"speaker" | "ringer"} role
   */
  async route(context, role) {
    if (!this.selectable(role)) return;
    for (const id of [this.chosen[role], ""]) {
      if (context.sinkId === id) return;
      try {
        await context.setSinkId(id);
        return;
      } catch {
        // It is not plugged in, or the context is closed already.
      }
    }
  }

  /** @param {Role} role */
  #tell(role) {
    this.dispatchEvent(new Event(role));
    this.dispatchEvent(new Event("change"));
  }
}
