// @ts-check
/** A button that is pressed twice, so that nothing is lost by one click. */

import { h, setText } from "../dom.js";
import { t } from "../i18n.js";

/** How long it asks. */
const UNSURE_MS = 4000;

export class SureButton {
  #label;
  #timer = 0;
  #asks = false;

  /**
   * @param {string} label the key of its text; the key of what it asks has `.sure` behind it
   * @param {string} testid
   * @param {() => void} action
   */
  constructor(label, testid, action) {
    this.#label = label;
    this.element = h(
      "button",
      { type: "button", class: "quiet danger", testid, onclick: () => this.#press(action) },
      t(label),
    );
  }

  /** @param {() => void} action */
  #press(action) {
    if (this.#asks) {
      this.reset();
      action();
      return;
    }
    this.#asks = true;
    setText(this.element, t(`${this.#label}.sure`));
    this.#timer = setTimeout(() => this.reset(), UNSURE_MS);
  }

  /** Ask no longer. */
  reset() {
    clearTimeout(this.#timer);
    this.#asks = false;
    setText(this.element, t(this.#label));
  }
}
