// @ts-check
/** The sheet that names the keys, opened by `?`. */

import { h, takesText } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

const KEYS = [
  ["A", "answer"],
  ["D", "decline"],
  ["M", "mute"],
  ["H", "hold"],
  ["E", "hang_up"],
  ["0–9 * #", "keypad"],
  ["Esc", "back"],
  ["?", "keys"],
];

/** Have `?` open and close the sheet. */
export function listenForHelp() {
  const dialog = h(
    "dialog",
    { class: "sheet keys", testid: "keys", "aria-labelledby": "keys-title" },
    h(
      "header",
      { class: "sheet-head" },
      h("h1", { id: "keys-title" }, t("keys")),
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": t("close"), onclick: () => dialog.close() },
        icon("close"),
      ),
    ),
    h(
      "dl",
      { class: "sheet-body key-list" },
      ...KEYS.map(([key, label]) =>
        h("div", null, h("dt", null, h("kbd", null, key)), h("dd", null, t(label))),
      ),
    ),
  );
  document.body.append(dialog);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || takesText(event.target)) return;
    if (dialog.open) dialog.close();
    else dialog.showModal();
    event.preventDefault();
  });
}
