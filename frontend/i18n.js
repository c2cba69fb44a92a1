// @ts-check
/**
 * Texts. A locale is one flat JSON file of `locales/`, with all texts.
 * The language is `?lang=`, or the one chosen in the settings, or the browser's first that we have.
 */

import { recall } from "./memory.js";

/** @type {Record<string, string>} */
export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", "pt-BR": "Português (Brasil)" };

/** @type {Record<string, string>} */
let texts = {};
let language = "en";

function pick() {
  const asked = [
    new URLSearchParams(location.search).get("lang"),
    recall("language", null),
    ...navigator.languages,
  ];
  const base = (/** @type {string | null} */ name) => name?.toLowerCase().split("-")[0];
  for (const name of asked) {
    // Other countries' variants are better than another language.
    const found = Object.keys(LANGUAGES).find((ours) => base(ours) === base(name));
    if (found) return found;
  }
  return "en";
}

/** Load the texts; to be awaited before the first element is built. */
export async function loadLanguage() {
  language = pick();
  document.documentElement.lang = language;
  const answer = await fetch(new URL(`locales/${language}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`locales/${language}.json: ${answer.status}`);
  texts = await answer.json();
}

export const currentLanguage = () => language;

// Letters that are written from right to left.
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/**
 * A value that is written from right to left must not turn the sentence around it (Unicode UAX 9, isolates).
 *
 * @param {string} value
 */
function isolated(value) {
  return RIGHT_TO_LEFT.test(value) ? `\u2068${value}\u2069` : value;
}

/**
 * The text `key`, with each `{name}` taken from `values`.
 *
 * @param {string} key
 * @param {Record<string, unknown>} [values]
 */
export function t(key, values = {}) {
  return fill(texts[key] ?? key, values);
}

/**
 * @param {string} text
 * @param {Record<string, unknown>} values
 */
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (/** @type {string} */ whole, /** @type {string} */ name) =>
    name in values ? isolated(String(values[name])) : whole,
  );
}

/**
 * A sentence of the server, with each `{name}` taken from `values`, in this language.
 *
 * @param {string} sentence
 * @param {Record<string, string>} values
 */
export function filled(sentence, values) {
  return fill(translated(sentence), values);
}

/**
 * What the server said, which is English, in this language: by the sentence itself (locales have it behind
 * an equals sign), else by `key`; a sentence without a translation stays English.
 *
 * @param {string} sentence
 */
export function translated(sentence, key = "") {
  return texts[`=${sentence}`] ?? texts[key] ?? sentence;
}

/**
 * A CommandError in words: what is wrong, and what to do about it (may be empty).
 *
 * @param {{code: string, message: string, hint: string}} error
 * @returns {[string, string]}
 */
export function inWords({ code, message, hint }) {
  if (code === "offline") return [t("error.offline"), ""];
  return [translated(message, `error.${code}`), translated(hint, `hint.${code}`)];
}

/** @param {number} value */
export function number(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/**
 * Seconds as `m:ss` or `h:mm:ss`.
 *
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
