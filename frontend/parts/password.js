// @ts-check
/** Another password for whoever has signed in, behind a fold. */

import { h, setProblem, setText, show } from "../dom.js";
import { t, translated } from "../i18n.js";

const SHORTEST = 10;
const WRONG = 401;
const WAIT = 429;

/** @param {string} user whose password it is */
export function passwordFold(user) {
  const old = field("password-old", "current-password");
  const wanted = field("password-new", "new-password");
  const problem = h("p", {
    class: "problem",
    role: "alert",
    id: "password-problem",
    testid: "password-problem",
    hidden: true,
  });
  const done = h("p", { class: "told", role: "status", testid: "password-done", hidden: true });
  const save = h("button", { type: "submit", class: "pill", testid: "password-save" }, t("settings.save"));
  const form = h(
    "form",
    { novalidate: true, onsubmit: change },
    // Password managers want to know whose it is.
    h("input", { autocomplete: "username", value: user, hidden: true, readonly: true }),
    labelled(t("password.old"), old),
    labelled(t("password.new"), wanted, t("password.new.help", { count: SHORTEST })),
    problem,
    save,
  );
  for (const input of [old, wanted]) input.addEventListener("input", () => complain(null, null));

  /**
   * Show what is wrong with a field, or that nothing is.
   *
   * @param {HTMLInputElement | null} culprit
   * @param {string | null} text
   */
  function complain(culprit, text) {
    show(done, false);
    show(problem, text !== null);
    setText(problem, text ?? "");
    for (const input of [old, wanted]) setProblem(input, input === culprit ? problem : null);
    culprit?.focus();
  }

  /** @param {SubmitEvent} event */
  async function change(event) {
    event.preventDefault();
    if (wanted.value.length < SHORTEST) {
      complain(wanted, t("password.short", { count: SHORTEST }));
      return;
    }
    save.disabled = true;
    /** @type {Response | null} */
    let answer = null;
    try {
      const body = JSON.stringify({ old: old.value, new: wanted.value });
      answer = await fetch("password", { method: "POST", body });
    } catch {
      // The server is away.
    }
    save.disabled = false;
    if (answer === null) complain(null, t("sign_in.away"));
    else if (answer.status === WRONG) complain(old, t("password.wrong"));
    else if (answer.status === WAIT)
      complain(null, t("sign_in.wait", { seconds: answer.headers.get("Retry-After") }));
    else if (!answer.ok) complain(null, translated((await answer.text()).trim()));
    else {
      form.reset();
      complain(null, null);
      setText(done, t("password.done"));
      show(done, true);
    }
  }

  return h(
    "details",
    { class: "password", testid: "password-fold" },
    h("summary", { class: "quiet" }, t("password.change")),
    form,
    done,
  );
}

/**
 * @param {string} id
 * @param {string} autocomplete
 */
function field(id, autocomplete) {
  return h("input", { id, testid: id, type: "password", autocomplete, maxlength: 256 });
}

/**
 * @param {string} label
 * @param {HTMLInputElement} input
 * @param {string} [help]
 */
function labelled(label, input, help) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    help ? h("p", { class: "help" }, help) : null,
    h("div", { class: "input" }, input),
  );
}
