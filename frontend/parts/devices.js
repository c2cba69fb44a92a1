// @ts-check
/** Which devices calls use, how the microphone is processed, and a trial of both before a call. */

import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { live } from "../calls.js";
import { PROCESSING } from "../sound/devices.js";

/** @import { Role } from "../sound/devices.js" */

/** @type {Role[]} */
const ROLES = ["microphone", "speaker", "ringer"];

export class DevicesPanel extends Part {
  /** @type {Record<string, HTMLSelectElement>} */
  #selects = {};
  /** @type {Record<string, HTMLInputElement>} */
  #boxes = {};
  /** @type {HTMLButtonElement} */
  #try;
  /** @type {HTMLParagraphElement} */
  #outcome;
  /** @type {HTMLButtonElement} */
  #headset;

  build() {
    this.#try = h(
      "button",
      { type: "button", class: "pill", testid: "sound-check", onclick: () => this.phone.tryOut() },
      t("check"),
    );
    this.#outcome = h("p", { class: "help outcome", role: "status", testid: "sound-check-outcome" });
    const { devices, tones, notifications, headset } = this.phone;
    this.#headset = h(
      "button",
      {
        type: "button",
        class: "pill",
        testid: "headset",
        hidden: !headset.possible,
        onclick: () => headset.connect(),
      },
      t("headset"),
    );
    this.append(
      h("div", { class: "check" }, this.#try, this.#outcome),
      h(
        "details",
        { class: "devices", testid: "devices", ontoggle: () => devices.refresh() },
        h("summary", null, t("devices"), icon("down")),
        ...ROLES.map((role) => this.#role(role)),
        ...PROCESSING.map((name) =>
          this.#box(name, t(`processing.${name}`), (wanted) => devices.process(name, wanted)),
        ),
        this.#box("keys", t("keys.sound"), (wanted) => tones.soundKeys(wanted)),
        this.#box("notify", t("notify"), (wanted) => notifications.choose(wanted)),
        this.#headset,
      ),
    );
  }

  /** @param {Role} role */
  #role(role) {
    const select = h("select", {
      id: `device-${role}`,
      testid: `device-${role}`,
      onchange: () => this.phone.devices.choose(role, select.value),
    });
    this.#selects[role] = select;
    return h(
      "div",
      { class: "field", hidden: !this.phone.devices.selectable(role) },
      h("label", { for: `device-${role}` }, t(role)),
      h("div", { class: "input select small" }, select, icon("down")),
    );
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {(wanted: boolean) => void} choose
   */
  #box(name, label, choose) {
    const box = h("input", {
      type: "checkbox",
      testid: `switch-${name}`,
      onchange: () => choose(box.checked),
    });
    this.#boxes[name] = box;
    return h("label", { class: "switch" }, box, h("span", null, label));
  }

  update() {
    const { devices, check, tones, notifications, sound } = this.phone;
    for (const role of ROLES) this.#fill(role);
    for (const name of PROCESSING) this.#boxes[name].checked = devices.processing[name];
    this.#boxes.keys.checked = tones.keysSound;
    this.#boxes.notify.checked = notifications.wanted;
    this.#boxes.notify.disabled = !notifications.possible;
    const { name } = this.phone.headset;
    setText(this.#headset, name === null ? t("headset") : t("headset.connected", { name }));
    const talking = this.phone.calls.some(live);
    show(this.#try, sound.possible && !talking);
    this.#try.disabled = check.running;
    show(this.#outcome, !talking && check.phase !== "idle");
    setText(this.#outcome, check.phase === "idle" ? "" : t(`check.${check.phase}`));
  }

  /** @param {Role} role */
  #fill(role) {
    const { devices } = this.phone;
    const select = this.#selects[role];
    const choices = devices.list(role).map(({ deviceId, label }) => ({ deviceId, label }));
    const chosen = devices.chosen[role];
    // A device that is not plugged in keeps its place.
    if (chosen && !choices.some(({ deviceId }) => deviceId === chosen))
      choices.push({ deviceId: chosen, label: t("device.absent") });
    choices.unshift({ deviceId: "", label: t("device.system") });
    const same =
      choices.length === select.length &&
      choices.every(({ deviceId, label }, at) => {
        const option = select.options[at];
        return option.value === deviceId && option.text === label;
      });
    if (!same)
      select.replaceChildren(
        ...choices.map(({ deviceId, label }) => h("option", { value: deviceId }, label)),
      );
    select.value = chosen;
  }
}

customElements.define("spech-devices", DevicesPanel);
