// @ts-check
/** Calls outside the page: in notifications, in the system's media controls, and on the buttons of a headset. */

import { nameOf } from "./calls.js";

/** @import { Phone } from "./phone.js" */

/** @param {Phone} phone */
export function joinDesktop(phone) {
  const { notifications, headset } = phone;
  const session = navigator.mediaSession;
  const hangUp = () => {
    if (phone.current) phone.hangUpAll(phone.current);
  };
  const toggleMute = () => {
    if (phone.current) phone.mute(phone.current.id, !phone.current.muted);
  };

  notifications.addEventListener("choice", (event) => {
    const { call, action } = /** @type {CustomEvent} */ (event).detail;
    if (!phone.ringing.some(({ id }) => id === call)) return;
    if (action === "answer") phone.answer(call);
    else if (action === "decline") phone.decline(call);
  });
  headset.onAnswer = () => phone.answer(phone.ringing[0].id);
  headset.onHangUp = hangUp;
  headset.onMute = toggleMute;

  /** @param {boolean} wanted */
  const takeMediaKeys = (wanted) => {
    for (const [name, action] of Object.entries({ hangup: hangUp, togglemicrophone: toggleMute })) {
      try {
        session.setActionHandler(/** @type {MediaSessionAction} */ (name), wanted ? action : null);
      } catch {
        // This browser does not have that action.
      }
    }
  };
  const showMedia = () => {
    const { current } = phone;
    const title = current && nameOf(current);
    if (title !== (session.metadata?.title ?? null)) {
      takeMediaKeys(title !== null);
      session.metadata = title === null ? null : new MediaMetadata({ title, artist: "Spech" });
    }
    if (current) session.setMicrophoneActive?.(!current.muted);
  };

  phone.addEventListener("change", () => {
    const { ringing, current } = phone;
    notifications.show(ringing);
    headset.show({
      ringing: ringing.length > 0,
      talking: current !== null,
      muted: current?.muted === true,
    });
    if (session) showMedia();
  });
}
