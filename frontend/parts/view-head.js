// @ts-check
/** The head of a view that covers the dialer. */

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/**
 * A button that leads back, and what stands beside it.
 *
 * @param {string} testid of the button
 * @param {() => void} back
 * @param {...(Node | null)} content
 */
export function viewHead(testid, back, ...content) {
  return h(
    "div",
    { class: "view-head" },
    h(
      "button",
      { type: "button", class: "quiet", testid, "aria-label": t("back"), onclick: back },
      icon("back"),
    ),
    ...content,
  );
}
