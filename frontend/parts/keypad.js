/** The twelve keys. Dispatches `key` (detail: the character) on click, `+` after a long press on 0. */

import { h, Part } from "../dom.js";
import { t } from "../i18n.js";

const KEYS = [
  ["1", ""],
  ["2", "ABC"],
  ["3", "DEF"],
  ["4", "GHI"],
  ["5", "JKL"],
  ["6", "MNO"],
  ["7", "PQRS"],
  ["8", "TUV"],
  ["9", "WXYZ"],
  ["*", ""],
  ["0", "+"],
  ["#", ""],
];
const TEST_IDS = { "*": "star", "#": "hash" };
const LONG_PRESS_MS = 550;
const FLASH_MS = 140;

export class Keypad extends Part {
  #keys = new Map();
  #timer = 0;
  #longPressed = false;

  build() {
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", t("keypad"));
    for (const [character, letters] of KEYS) {
      const key = h(
        "button",
        {
          type: "button",
          class: "key",
          testid: `key-${TEST_IDS[character] ?? character}`,
          "aria-label": t(`key.${TEST_IDS[character] ?? "digit"}`, { digit: character }),
          onclick: () => this.#press(character),
          oncontextmenu: (event) => event.preventDefault(),
        },
        h("span", { class: "key-digit" }, character === "*" ? "∗" : character),
        h("span", { class: "key-letters" }, letters),
      );
      if (character === "0") {
        key.addEventListener("pointerdown", () => this.#startLongPress());
        for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
          key.addEventListener(end, () => clearTimeout(this.#timer));
        }
      }
      this.#keys.set(character, key);
      this.append(key);
    }
  }

  /** Show a key as pressed for a moment: the answer to a key typed on a keyboard. */
  flash(character) {
    const key = this.#keys.get(character === "+" ? "0" : character);
    if (!key) return;
    key.classList.add("pressed");
    setTimeout(() => key.classList.remove("pressed"), FLASH_MS);
  }

  #startLongPress() {
    this.#longPressed = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#longPressed = true;
      this.#emit("+");
    }, LONG_PRESS_MS);
  }

  #press(character) {
    // The click that ends a long press has had its effect already.
    if (character === "0" && this.#longPressed) this.#longPressed = false;
    else this.#emit(character);
  }

  #emit(character) {
    this.flash(character);
    this.dispatchEvent(new CustomEvent("key", { detail: character }));
  }
}

customElements.define("spech-keypad", Keypad);
