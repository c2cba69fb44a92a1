// @ts-check
/** What a long-lived page owes its person: a screen that stays on in a call, and the server's present version. */

import { live } from "./calls.js";

/** @import { Phone } from "./phone.js" */

/**
 * Keep the screen on while there is a call (Screen Wake Lock API). The browser takes the lock away when the page
 * goes into the background.
 *
 * @param {Phone} phone
 */
export function keepScreenOn(phone) {
  /** @type {WakeLockSentinel | null} */
  let lock = null;
  let asking = false;
  const follow = async () => {
    const wanted = () => phone.calls.some(live) && !document.hidden;
    if (!wanted()) {
      lock?.release();
      lock = null;
    } else if ((lock === null || lock.released) && !asking && "wakeLock" in navigator) {
      asking = true;
      // A low battery is a reason to refuse it.
      lock = await navigator.wakeLock.request("screen").catch(() => null);
      asking = false;
      if (!wanted()) follow();
    }
  };
  phone.addEventListener("change", follow);
  document.addEventListener("visibilitychange", follow);
}

/**
 * Load the page again when the server runs another version than before, as soon as nothing is lost by it.
 *
 * @param {Phone} phone
 */
export function keepCurrent(phone) {
  /** @type {string | null} */
  let version = null;
  phone.addEventListener("change", () => {
    if (!phone.state) return;
    version ??= phone.state.version;
    const idle =
      phone.asked !== "settings" &&
      phone.asked !== "history" &&
      phone.asked !== "contacts" &&
      phone.reading === null &&
      phone.number === "" &&
      !phone.isDialling &&
      !phone.check.running &&
      !phone.calls.some(live);
    if (phone.state.version !== version && idle) location.reload();
  });
}
