// @ts-check
/**
 * What keeps a person who cannot see the page, or who uses the keyboard alone, in step with it: the focus never
 * falls to the body when the element that had it goes away, and changes that are only visible are said.
 */

import { live, nameOf } from "./calls.js";
import { setText } from "./dom.js";
import { t } from "./i18n.js";

/** @import { Phone } from "./phone.js" */

/**
 * Give the focus a place again after a change that took it away.
 *
 * @param {Phone} phone
 * @param {() => void} arrive puts the focus where the view wants it
 */
export function keepFocus(phone, arrive) {
  /** @type {Element | null} */
  let last = null;
  document.addEventListener("focusin", (event) => {
    last = event.target instanceof Element ? event.target : null;
  });
  // A click beside everything takes the focus away on purpose.
  document.addEventListener("pointerdown", () => {
    last = null;
  });
  phone.addEventListener("change", () =>
    requestAnimationFrame(() => {
      const lost = document.activeElement === document.body && last !== null;
      if (lost && !(last?.isConnected && last.checkVisibility())) arrive();
    }),
  );
}

/**
 * Say what happens to a call that nothing else says: a recording, a conference, a switch to another call.
 *
 * @param {Phone} phone
 * @param {Element} announcer a live region
 */
export function announce(phone, announcer) {
  let before = { call: "", recording: false, members: 1 };
  phone.addEventListener("change", () => {
    const call = phone.selected;
    if (!phone.control.connected || !call || !live(call)) return;
    const recording = phone.recording(call);
    const now = {
      call: call.id,
      recording: recording !== null && !recording.error,
      members: phone.members(call).length,
    };
    if (now.members !== before.members && now.members > 1)
      setText(announcer, t("announce.conference", { who: phone.labelOf(call) }));
    else if (now.call !== before.call && before.call !== "" && phone.lines.filter(live).length > 1)
      setText(announcer, t("announce.switched", { who: nameOf(call) }));
    else if (now.call === before.call && now.recording !== before.recording)
      setText(announcer, t(now.recording ? "recording" : "announce.recorded"));
    before = now;
  });
}
