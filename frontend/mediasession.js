// @ts-check
/** The call as the system's media controls and the buttons of headsets see it (Media Session API). */

import { live, nameOf } from "./calls.js";

/** @import { Phone } from "./phone.js" */

/** @param {Phone} phone */
export function joinMediaSession(phone) {
  const session = navigator.mediaSession;
  if (!session) return;
  const current = () => phone.calls.find((call) => call === phone.selected && live(call)) ?? null;
  /** @type {Record<string, () => void>} */
  const actions = {
    hangup: () => {
      const call = current();
      if (call) phone.hangUpAll(call);
    },
    togglemicrophone: () => {
      const call = current();
      if (call) phone.mute(call.id, !call.muted);
    },
  };
  let active = false;
  phone.addEventListener("change", () => {
    const call = current();
    if (Boolean(call) !== active) {
      active = Boolean(call);
      for (const [name, action] of Object.entries(actions)) {
        try {
          session.setActionHandler(/** @type {MediaSessionAction} */ (name), active ? action : null);
        } catch {
          // This browser does not have that action.
        }
      }
    }
    const title = call ? nameOf(call) : null;
    if (title !== (session.metadata?.title ?? null))
      session.metadata = title === null ? null : new MediaMetadata({ title, artist: "Spech" });
    if (call) session.setMicrophoneActive?.(!call.muted);
  });
}
