// @ts-check
/** What a person wants of calls, for all accounts. Each change is saved at once. */

import { h, setProblem, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";

/** @import { CallSettings } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

/** @typedef {"do_not_disturb" | "call_waiting" | "auto_answer" | "record" | "record_beep"} Switch */
/** @typedef {"forward" | "forward_busy" | "forward_unanswered"} Target */

/** @type {Switch[]} */
const SWITCHES = ["do_not_disturb", "call_waiting", "auto_answer", "record", "record_beep"];
/** @type {Target[]} */
const TARGETS = ["forward", "forward_busy", "forward_unanswered"];
const LEAST_SECONDS = 5;
const MOST_SECONDS = 120;

export class CallRules {
  #phone;
  /** @type {Record<Switch, HTMLInputElement>} */
  #switches = /** @type {any} */ ({});
  /** @type {Record<Target, HTMLInputElement>} */
  #targets = /** @type {any} */ ({});
  /** What is being changed, and keeps its new value meanwhile. */
  #changing = new Set();
  #seconds = h("input", {
    id: "rule-unanswered_s",
    testid: "rule-unanswered_s",
    type: "number",
    min: LEAST_SECONDS,
    max: MOST_SECONDS,
    required: true,
    onchange: () => {
      if (this.#seconds.checkValidity()) this.#change({ unanswered_s: this.#seconds.valueAsNumber });
    },
  });
  #problem = h("p", {
    class: "problem",
    role: "alert",
    id: "rules-problem",
    testid: "rules-problem",
    hidden: true,
  });
  /** @type {HTMLElement} */
  element;

  /** @param {Phone} phone */
  constructor(phone) {
    this.#phone = phone;
    this.element = h(
      "section",
      { class: "group", testid: "rules", "aria-labelledby": "rules-heading" },
      h("h2", { id: "rules-heading" }, t("rules")),
      h(
        "div",
        { class: "halves" },
        h("div", { class: "switches" }, ...SWITCHES.map((name) => this.#switch(name))),
        h(
          "div",
          { class: "fields" },
          this.#target("forward"),
          this.#target("forward_busy"),
          h(
            "div",
            { class: "pair" },
            this.#target("forward_unanswered"),
            h(
              "div",
              { class: "field" },
              h("label", { for: "rule-unanswered_s" }, t("rule.unanswered_s")),
              h("div", { class: "input" }, this.#seconds),
            ),
          ),
          h("p", { class: "help" }, t("rules.help")),
        ),
      ),
      this.#problem,
    );
  }

  /** @param {Switch} name */
  #switch(name) {
    const box = h("input", {
      type: "checkbox",
      testid: `rule-${name}`,
      onchange: () => this.#change({ [name]: box.checked }),
    });
    this.#switches[name] = box;
    return h("label", { class: "switch" }, box, h("span", null, t(`rule.${name}`)));
  }

  /** @param {Target} name */
  #target(name) {
    const input = h("input", {
      id: `rule-${name}`,
      testid: `rule-${name}`,
      autocomplete: "off",
      inputmode: "tel",
      maxlength: 256,
      placeholder: t("rule.nowhere"),
      onchange: () => this.#change({ [name]: input.value.trim() }, input),
    });
    this.#targets[name] = input;
    return h(
      "div",
      { class: "field" },
      h("label", { for: `rule-${name}` }, t(`rule.${name}`)),
      h("div", { class: "input" }, input),
    );
  }

  /** Show the settings of the snapshot; a field that is being edited keeps what was entered. */
  update() {
    const settings = this.#phone.state?.call_settings;
    if (!settings) return;
    for (const name of SWITCHES)
      if (!this.#changing.has(name)) this.#switches[name].checked = settings[name] === true;
    for (const name of TARGETS) fill(this.#targets[name], settings[name] ?? "");
    fill(this.#seconds, String(settings.unanswered_s));
    this.#switches.record_beep.disabled = !settings.record;
  }

  /**
   * @param {CallSettings} changes
   * @param {HTMLInputElement} [input]
   */
  async #change(changes, input) {
    show(this.#problem, false);
    for (const each of Object.values(this.#targets)) setProblem(each, null);
    const names = Object.keys(changes);
    for (const name of names) this.#changing.add(name);
    try {
      await this.#phone.changeCallSettings(changes);
    } catch (error) {
      setText(this.#problem, inWords(error).join(" ").trim());
      show(this.#problem, true);
      if (input) setProblem(input, this.#problem);
    } finally {
      for (const name of names) this.#changing.delete(name);
      this.update();
    }
  }
}

/**
 * @param {HTMLInputElement} input
 * @param {string} value
 */
function fill(input, value) {
  if (document.activeElement !== input && !input.hasAttribute("aria-invalid")) input.value = value;
}
