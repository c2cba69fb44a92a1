// @ts-check
/** Questions about a call of a snapshot. */

/** @import { CallState } from "./messages.js" */

/** @param {CallState} call */
export const live = (call) => call.state !== "ended";

/**
 * Whether two calls are in one conference.
 *
 * @param {CallState} one
 * @param {CallState} other
 */
export const together = (one, other) =>
  Boolean(one.conference) && one.conference?.id === other.conference?.id;

/** @param {CallState} call */
export const nameOf = (call) => call.contact || call.display_name || call.remote;

/**
 * What stands below the name: the address, unless it says the same; empty for none.
 *
 * @param {CallState} call
 */
export const addressOf = (call) =>
  nameOf(call).toLowerCase() === call.remote.toLowerCase() ? "" : call.remote;

/** @param {CallState} call */
export const ringsHere = (call) => call.direction === "incoming" && call.state === "ringing";

/**
 * A number without the marks that people write into it; a SIP address as it is.
 *
 * @param {string} text
 */
export function tidy(text) {
  // The parameters of a tel: URI (RFC 3966) are not dialed.
  const plain = text.trim().replace(/^tel:([^;]*).*$/i, "$1");
  return /^[+\d\s().\-/*#]*$/.test(plain) ? plain.replace(/[\s().\-/]/g, "") : plain;
}

/** The id of the call that `dialling` makes up. */
export const DIALLING = "dialling";

/**
 * A call as it looks between the press of the button and the server's answer.
 *
 * @param {string} remote
 * @param {string} account
 * @returns {CallState}
 */
export function dialling(remote, account) {
  return {
    id: DIALLING,
    account,
    direction: "outgoing",
    remote,
    display_name: null,
    contact: null,
    state: "trying",
    status: null,
    reason: "",
    codec: null,
    encrypted: null,
    muted: false,
    on_hold: false,
    held: false,
    no_sound: false,
    conference: null,
    recording: null,
    transfer: null,
    referral: null,
    answered_s: null,
    audio_attached: false,
    digits_received: "",
    ended: null,
  };
}
