// @ts-check
/** The steps of a check-up as the server makes them, in the order in which they come. */

import { h, setText, show } from "../dom.js";
import { filled, t } from "../i18n.js";

/** @import { Step } from "../messages.js" */

// Steps of which the mark says it all when they have passed.
const TELLS_NOTHING = new Set(["registration"]);

export class Steps {
  element = h("ol", { class: "steps", testid: "steps", "aria-live": "polite", hidden: true });
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();

  /**
   * Show the steps that are to come: the first one is under way.
   *
   * @param {string[]} names
   */
  begin(names) {
    this.#rows = new Map(names.map((name) => [name, row(name)]));
    this.element.replaceChildren(...this.#rows.values());
    this.#work();
    show(this.element, true);
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {Step} step */
  add(step) {
    const found = this.#rows.get(step.name);
    if (!found) return;
    found.dataset.state = step.passed ? "passed" : "failed";
    const [finding, remedy] = told(step);
    setText(found.children[2], step.passed && TELLS_NOTHING.has(step.name) ? "" : finding);
    setText(found.children[3], remedy);
    this.#work();
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** Nothing more comes: take away what was not reached. */
  end() {
    for (const each of this.#rows.values())
      if (each.dataset.state === "pending" || each.dataset.state === "busy") each.remove();
  }

  clear() {
    show(this.element, false);
    this.element.replaceChildren();
    this.#rows.clear();
  }

  /** The step after those that were made is under way. */
  #work() {
    const next = [...this.#rows.values()].find(({ dataset }) => dataset.state === "pending");
    const busy = [...this.#rows.values()].some(({ dataset }) => dataset.state === "busy");
    if (next && !busy) next.dataset.state = "busy";
  }
}

/**
 * What a step has found, and what to change (may be empty).
 *
 * @param {Step} step
 * @returns {[string, string]}
 */
export function told({ finding, remedy = "", values = {} }) {
  return [filled(finding, values), filled(remedy, values)];
}

/** @param {string} name */
function row(name) {
  const item = h(
    "li",
    { testid: `step-${name}` },
    h("span", { class: "step-mark", "aria-hidden": "true" }),
    h("span", { class: "step-name" }, t(`step.${name}`)),
    h("span", { class: "step-finding" }),
    h("span", { class: "step-remedy" }),
  );
  item.dataset.state = "pending";
  return item;
}
