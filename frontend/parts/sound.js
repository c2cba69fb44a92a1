// @ts-check
/** Three volumes, two level meters, and the devices. Levels are RMS in dBFS, on a scale from -60 to 0. */

import { h, Part, setText } from "../dom.js";
import { number, t } from "../i18n.js";
import { icon } from "../icons.js";
import { live } from "../calls.js";

/** @import { IconName } from "../icons.js" */
/** @import { Side } from "../sound/graph.js" */

/** @type {Side[]} */
const SIDES = ["microphone", "speaker"];
const FLOOR_DBFS = -60;
const TICKS = [-60, -40, -20, 0];
const MOST_PERCENT = 150;
// A meter rises at once and falls like the needle of a mixing desk.
const FALL_DB_PER_S = 36;
const PEAK_HOLD_MS = 1200;
const SPOKEN_EVERY_MS = 500;
// Ten times a second, and fewer where people want little motion: each frame costs the processor.
const FRAME_MS = 90;
const STILL_FRAME_MS = 250;

const share = (/** @type {number} */ dbfs) => Math.max(0, Math.min(1, 1 - dbfs / FLOOR_DBFS));

class Meter {
  /** @param {string} side */
  constructor(side) {
    this.bar = h("span", { class: "meter-bar" });
    this.peak = h("span", { class: "meter-peak gone" });
    this.element = h(
      "div",
      {
        class: "meter",
        role: "meter",
        testid: `meter-${side}`,
        "aria-label": t(`level.${side}`),
        "aria-valuemin": FLOOR_DBFS,
        "aria-valuemax": 0,
        "aria-valuenow": FLOOR_DBFS,
      },
      h("span", { class: "meter-track" }, this.bar, this.peak),
    );
    this.level = FLOOR_DBFS;
    this.top = FLOOR_DBFS;
    this.topAt = 0;
    this.movedAt = 0;
    this.spokenAt = 0;
  }

  /**
   * Move towards `dbfs`; returns whether the meter is still moving or has something to show.
   *
   * @param {number} dbfs
   * @param {number} now
   */
  move(dbfs, now) {
    const elapsed = Math.min(0.3, (now - this.movedAt) / 1000);
    this.movedAt = now;
    this.level = Math.max(Math.min(0, dbfs), this.level - FALL_DB_PER_S * elapsed, FLOOR_DBFS);
    if (this.level >= this.top || now - this.topAt > PEAK_HOLD_MS) {
      this.top =
        this.level >= this.top ? this.level : Math.max(this.level, this.top - FALL_DB_PER_S * elapsed);
      if (this.level >= this.top) this.topAt = now;
    }
    this.bar.style.setProperty("--share", share(this.level).toFixed(3));
    this.peak.style.setProperty("--share", share(this.top).toFixed(3));
    this.peak.classList.toggle("gone", this.top <= FLOOR_DBFS);
    this.peak.classList.toggle("hot", this.top > -6);
    if (now - this.spokenAt > SPOKEN_EVERY_MS) {
      this.spokenAt = now;
      const value = String(Math.round(this.level));
      this.element.setAttribute("aria-valuenow", value);
      this.element.setAttribute("aria-valuetext", t("level.text", { dbfs: value }));
    }
    return this.top > FLOOR_DBFS;
  }
}

export class SoundPanel extends Part {
  /** @type {Record<Side, Meter>} */
  #meters = /** @type {any} */ ({});
  /** @type {Record<string, { slider: HTMLInputElement, value: HTMLOutputElement }>} */
  #sliders = {};
  #frame = 0;

  build() {
    this.classList.add("panel");
    this.append(h("h2", null, t("sound")));
    for (const side of SIDES) this.append(this.#side(side, side));
    this.append(this.#ringer());
    const devices = document.createElement("spech-devices");
    this.append(devices);
    devices.phone = this.phone;
  }

  /** How loud an incoming call rings, whatever the volume of calls is. */
  #ringer() {
    const value = h("output", { class: "percent" });
    const slider = h("input", {
      type: "range",
      min: 0,
      max: MOST_PERCENT,
      step: 5,
      testid: "volume-ringer",
      "aria-label": t("volume.ringer"),
      oninput: () => this.phone.setVolume("ringer", slider.valueAsNumber / 100),
      ondblclick: () => this.phone.setVolume("ringer", 1),
    });
    this.#sliders.ringer = { slider, value };
    return h(
      "div",
      { class: "side-sound" },
      h("div", { class: "side-head" }, icon("bell"), h("span", null, t("ringer")), value),
      slider,
    );
  }

  /**
   * @param {Side} side
   * @param {IconName} symbol
   */
  #side(side, symbol) {
    const meter = new Meter(side);
    const value = h("output", { class: "percent" });
    const slider = h("input", {
      type: "range",
      min: 0,
      max: MOST_PERCENT,
      step: 5,
      testid: `volume-${side}`,
      "aria-label": t(`volume.${side}`),
      oninput: () => this.phone.setVolume(side, slider.valueAsNumber / 100),
      ondblclick: () => this.phone.setVolume(side, 1),
    });
    this.#meters[side] = meter;
    this.#sliders[side] = { slider, value };
    return h(
      "div",
      { class: "side-sound" },
      h("div", { class: "side-head" }, icon(symbol), h("span", null, t(side)), value),
      slider,
      meter.element,
      h("div", { class: "scale", "aria-hidden": "true" }, ...TICKS.map((dbfs) => this.#tick(dbfs))),
    );
  }

  /** @param {number} dbfs */
  #tick(dbfs) {
    const tick = h("span", null, dbfs === 0 ? "0 dBFS" : `−${-dbfs}`);
    tick.style.setProperty("--share", share(dbfs).toFixed(3));
    return tick;
  }

  update() {
    for (const [side, { slider, value }] of Object.entries(this.#sliders)) {
      const { sound, tones } = this.phone;
      const percent = Math.round(
        (side === "ringer" ? tones.ringerVolume : sound.volumes[/** @type {Side} */ (side)]) * 100,
      );
      if (slider.valueAsNumber !== percent) slider.value = String(percent);
      slider.style.setProperty("--share", (percent / MOST_PERCENT).toFixed(3));
      slider.setAttribute("aria-valuetext", `${percent} %`);
      setText(value, `${number(percent)} %`);
    }
    const muted = this.phone.selected?.muted && live(this.phone.selected);
    this.#meters.microphone.element.classList.toggle("muted", Boolean(muted));
    this.classList.toggle("live", this.#lively);
    if (this.#lively) this.#run();
  }

  get #lively() {
    return this.phone.calls.some(live) || this.phone.check.running;
  }

  #run() {
    if (this.#frame) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const pause = still ? STILL_FRAME_MS : FRAME_MS;
    const draw = (/** @type {number} */ now) => {
      const levels = this.phone.levels;
      const moving = SIDES.map((side) => this.#meters[side].move(levels[side], now)).some(Boolean);
      this.dispatchEvent(new CustomEvent("levels", { detail: levels, bubbles: true }));
      // Pages that nobody sees draw nothing: their frames wait.
      this.#frame = moving || this.#lively ? setTimeout(() => requestAnimationFrame(draw), pause) : 0;
    };
    this.#frame = requestAnimationFrame(draw);
  }
}

customElements.define("spech-sound", SoundPanel);
