// @ts-check
/**
 * The page for those who have not signed in. They do so with a name and a password, or with a link, whose
 * token is behind the `#` of the address: browsers do not send that part, so that it is in no log.
 */

import { element, h, setProblem, setText, show } from "./dom.js";
import { loadLanguage, t } from "./i18n.js";

const link = new URLSearchParams(location.hash.slice(1)).get("link");
history.replaceState(null, "", location.pathname + location.search);
await loadLanguage();

const problem = h("p", { class: "problem", role: "alert", id: "problem", testid: "problem", hidden: true });
const name = field("name", { type: "text", autocomplete: "username", autocapitalize: "off" });
const password = field("password", { type: "password", autocomplete: "current-password" });
const go = h("button", { type: "submit", class: "pill primary large", testid: "sign-in" }, t("sign_in.go"));
const form = h(
  "form",
  { class: "card", novalidate: true, onsubmit: submit },
  labelled(t("sign_in.name"), name),
  labelled(t("sign_in.password"), password),
  problem,
  go,
);

/**
 * @param {string} id
 * @param {Record<string, unknown>} attributes
 */
function field(id, attributes) {
  return h("input", { id, testid: id, spellcheck: "false", oninput: () => complain(null), ...attributes });
}

/**
 * @param {string} label
 * @param {HTMLInputElement} input
 */
function labelled(label, input) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    h("div", { class: "input" }, input),
  );
}

/**
 * Show what is wrong, or that nothing is.
 *
 * @param {string | null} text
 */
function complain(text) {
  show(problem, text !== null);
  setText(problem, text ?? "");
  for (const input of [name, password]) setProblem(input, text === null ? null : problem);
}

/** Open the telephone. The browser keeps the cookie. */
function enter() {
  location.replace(location.pathname.replace(/sign-in\.html$/, "") + location.search);
}

/**
 * Sign in. Resolves with what is wrong, or null if nothing is.
 *
 * @param {{name: string, password: string} | {link: string}} attempt
 */
async function signIn(attempt) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch("session", { method: "POST", body: JSON.stringify(attempt) });
  } catch {
    return t("sign_in.away");
  }
  if (answer.ok) return null;
  if (answer.status === 429) return t("sign_in.wait", { seconds: answer.headers.get("Retry-After") });
  if (answer.status === 401) return "link" in attempt ? t("sign_in.old") : t("sign_in.wrong");
  return t("sign_in.away");
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  if (go.disabled) return;
  go.disabled = true;
  const wrong = await signIn({ name: name.value.trim(), password: password.value });
  go.disabled = false;
  if (wrong === null) return enter();
  complain(wrong);
  password.select();
}

/** Whether the browser has signed in: after a link on another site, it shows this page all the same. */
async function signedIn() {
  try {
    return (await fetch("session")).ok;
  } catch {
    return false;
  }
}

const wrong = link === null ? null : await signIn({ link });
if (link === null ? await signedIn() : wrong === null) {
  enter();
} else {
  element("main").append(
    h(
      "header",
      null,
      h("img", { src: "favicon.svg", alt: "", width: 56, height: 56 }),
      h("h1", null, t("sign_in")),
    ),
    form,
    h("p", { class: "help" }, t("sign_in.help"), " ", h("code", null, "spech link")),
  );
  if (wrong) setText(problem, wrong);
  show(problem, Boolean(wrong));
  name.focus();
}
