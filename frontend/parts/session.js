// @ts-check
/** Who has signed in here, and the ways out. */

import { h } from "../dom.js";
import { t } from "../i18n.js";

/** @param {"session" | "sessions"} what this one, or all of the person */
async function signOut(what) {
  await fetch(what, { method: "DELETE" });
  location.replace(`./${location.search}`);
}

/**
 * Who has signed in, and buttons to sign out, here or everywhere.
 *
 * @param {string} name
 */
export function session(name) {
  const button = (/** @type {"session" | "sessions"} */ what, /** @type {string} */ text) =>
    h(
      "button",
      { type: "button", class: "quiet", testid: `end-${what}`, onclick: () => signOut(what) },
      text,
    );
  return h(
    "div",
    { class: "session" },
    h("span", { class: "name" }, t("signed_in", { name })),
    button("session", t("sign_out")),
    button("sessions", t("sign_out.everywhere")),
  );
}
