// @ts-check
/** Who has signed in here, and the ways out. */

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { passwordFold } from "./password.js";

/** @import { PersonState } from "../messages.js" */

/** @param {"session" | "sessions"} what this one, or all of the person */
async function signOut(what) {
  await fetch(what, { method: "DELETE" });
  location.replace(`./${location.search}`);
}

/**
 * Who has signed in, buttons to sign out, here or everywhere, and a way to another password. That of the
 * administrator is set where the server is started.
 *
 * @param {PersonState} person
 */
export function session({ name, administrator }) {
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
    administrator ? null : passwordFold(name),
  );
}
