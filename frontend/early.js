// @ts-check
/**
 * Requests that the page starts while its other scripts load: the texts and the control connection. Started later,
 * each would cost another round trip.
 */

import { loadLanguage } from "./i18n.js";

const open = () =>
  new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/control`);

const KINDS = ["message", "close"];

/** @type {WebSocket | null} The first connection, until it is taken. */
let first = open();
/** @type {Event[]} What happened on it until then. */
const missed = [];
const keep = (/** @type {Event} */ event) => missed.push(event);
for (const kind of KINDS) first.addEventListener(kind, keep);

/** Resolves when the texts are there. */
export const texts = loadLanguage();

/** A control connection, and the events that happened on it before: dispatch them to your own listeners. */
export function takeSocket() {
  const socket = first ?? open();
  first = null;
  for (const kind of KINDS) socket.removeEventListener(kind, keep);
  return { socket, missed: missed.splice(0) };
}
