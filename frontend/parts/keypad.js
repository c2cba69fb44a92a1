// @ts-check
/**
 * The twelve keys. Calls `onKey` with the character on a click, with `+` after a long press on 0; where it
 * `holds`, it calls `onPress` and `onRelease` instead, as a key goes down and up.
 */

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
/** @type {Record<string, string>} */
const TEST_IDS = { "*": "star", "#": "hash" };
const LONG_PRESS_MS = 550;
const FLASH_MS = 140;

export class Keypad extends Part {
  /** Whether keys are held rather than clicked. To be set before the phone. */
  holds = false;
  /** @type {(character: string) => void} */
  onKey = () => {};
  /** @type {(character: string) => void} */
  onPress = () => {};
  /** @type {(character: string) => void} */
  onRelease = () => {};

  /** @type {Map<string, HTMLButtonElement>} */
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
          "aria-label": t(`key.${TEST_IDS[character] ?? "digit"}`, {
            digit: `${character} ${letters}`.trim(),
          }),
          onclick: (/** @type {MouseEvent} */ event) => this.#click(character, event),
          oncontextmenu: (/** @type {MouseEvent} */ event) => event.preventDefault(),
        },
        h("span", { class: "key-digit" }, character === "*" ? "∗" : character),
        // Its name is what is written on it.
        " ",
        h("span", { class: "key-letters" }, letters),
      );
      if (this.holds) this.#makeHeld(key, character);
      else if (character === "0") {
        key.addEventListener("pointerdown", () => this.#startLongPress());
        for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
          key.addEventListener(end, () => clearTimeout(this.#timer));
        }
      }
      this.#keys.set(character, key);
      this.append(key);
    }
  }

  /**
   * Show a key as pressed for a moment: the answer to a key typed on a keyboard.
   *
   * @param {string} character
   */
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

  /**
   * @param {HTMLButtonElement} key
   * @param {string} character
   */
  #makeHeld(key, character) {
    let down = false;
    key.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button !== 0 || down) return;
      down = true;
      // A finger that slides off the key still holds it.
      key.setPointerCapture(event.pointerId);
      key.classList.add("pressed");
      this.onPress(character);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      key.addEventListener(end, () => {
        if (!down) return;
        down = false;
        key.classList.remove("pressed");
        this.onRelease(character);
      });
    }
  }

  /**
   * @param {string} character
   * @param {MouseEvent} event
   */
  #click(character, event) {
    if (this.holds) {
      // A pointer has had its effect; `detail` is 0 when a keyboard or a screen reader clicks.
      if (event.detail > 0) return;
      this.flash(character);
      this.onPress(character);
      this.onRelease(character);
      return;
    }
    // The click that ends a long press has had its effect already.
    if (character === "0" && this.#longPressed) this.#longPressed = false;
    else this.#emit(character);
  }

  /** @param {string} character */
  #emit(character) {
    this.flash(character);
    this.onKey(character);
  }
}

customElements.define("spech-keypad", Keypad);
