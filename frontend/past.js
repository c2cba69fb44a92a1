// @ts-check
/** How a call of the history is shown: its kind, its icon, and when it was. */

import { currentLanguage } from "./i18n.js";

/** @import { CallEntry } from "./messages.js" */
/** @import { IconName } from "./icons.js" */

const DAY_MS = 86_400_000;

/**
 * A key of the texts: `missed`, `outgoing`, …
 *
 * @param {CallEntry} entry
 */
export const kindOf = ({ fate, direction }) => (fate === "answered" ? direction : fate);

/**
 * @param {CallEntry} entry
 * @returns {IconName}
 */
export function iconOf({ fate, direction }) {
  if (fate === "missed") return "missed";
  return fate === "declined" && direction === "incoming" ? "hangup" : direction;
}

/** @param {CallEntry} entry */
export const whoOf = ({ contact, name, remote }) => contact || name || remote;

/**
 * Whether there is a number to call.
 *
 * @param {CallEntry} entry
 */
export const canCall = ({ remote }) => !/^(anonymous|unknown|unavailable|restricted)?(@|$)/i.test(remote);

/**
 * Seconds from the answer to the end, 0 if there was none.
 *
 * @param {CallEntry} entry
 */
export const lengthOf = ({ answered, ended }) =>
  answered === null || ended === null ? 0 : Math.max(0, ended - answered);

/** @param {Date} date */
const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();

/**
 * Days between a moment and today, by the calendar.
 *
 * @param {Date} date
 */
const daysAgo = (date) => Math.round((midnight(new Date()) - midnight(date)) / DAY_MS);

/** @param {Date} date */
export const timeOf = (date) =>
  date.toLocaleTimeString(currentLanguage(), { hour: "numeric", minute: "2-digit" });

/**
 * The time of today, the day of this week, or the date.
 *
 * @param {Date} date
 */
export function whenOf(date) {
  const days = daysAgo(date);
  if (days === 0) return timeOf(date);
  if (days < 6) return date.toLocaleDateString(currentLanguage(), { weekday: "short" });
  return date.toLocaleDateString(currentLanguage(), { day: "numeric", month: "short" });
}

/**
 * A heading: today, yesterday, the weekday, the date.
 *
 * @param {Date} date
 */
export function dayOf(date) {
  const days = daysAgo(date);
  const language = currentLanguage();
  if (days < 2) {
    const text = new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-days, "day");
    return text.charAt(0).toLocaleUpperCase(language) + text.slice(1);
  }
  if (days < 6) return date.toLocaleDateString(language, { weekday: "long" });
  const thisYear = date.getFullYear() === new Date().getFullYear();
  const year = thisYear ? undefined : "numeric";
  return date.toLocaleDateString(language, { day: "numeric", month: "long", year });
}
