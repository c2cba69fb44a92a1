// @ts-check
/**
 * Calls outside the page: in notifications, in the system's media controls, and on the buttons of a headset.
 * Text messages: in notifications.
 */

import { nameOf } from "./calls.js";
import { t } from "./i18n.js";

/** @import { CallState, Chat } from "./messages.js" */
/** @import { Announcement } from "./notifications.js" */
/** @import { Phone } from "./phone.js" */

/** Characters of a text message that a notification shows. */
const MOST_CHARACTERS = 200;

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
    const { tag, action } = /** @type {CustomEvent} */ (event).detail;
    const chat = phone.chats.list.find(({ latest }) => latest.id === tag);
    if (chat) {
      phone.chats.show({ account: chat.account, remote: chat.remote });
      phone.show("chats");
    }
    if (!phone.ringing.some(({ id }) => id === tag)) return;
    if (action === "answer") phone.answer(tag);
    else if (action === "decline") phone.decline(tag);
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

  /** Ids of the messages that were there while the page was in sight. */
  let known = new Set();
  const announce = () => {
    const { list } = phone.chats;
    if (!document.hidden) known = new Set(list.map(({ latest }) => latest.id));
    const fresh = list.filter(({ unread, latest }) => unread > 0 && !known.has(latest.id));
    notifications.show([...phone.ringing.map(ofCall), ...fresh.map(ofChat)]);
  };
  document.addEventListener("visibilitychange", announce);

  phone.addEventListener("change", () => {
    const { ringing, current } = phone;
    announce();
    headset.show({
      ringing: ringing.length > 0,
      talking: current !== null,
      muted: current?.muted === true,
    });
    if (session) showMedia();
  });
}

/**
 * @param {CallState} call
 * @returns {Announcement}
 */
const ofCall = (call) => ({
  tag: call.id,
  title: nameOf(call),
  body: t("incoming"),
  actions: ["answer", "decline"],
});

/**
 * The latest message of a chat, which takes the place of the one before.
 *
 * @param {Chat} chat
 * @returns {Announcement}
 */
const ofChat = ({ name, remote, latest }) => ({
  tag: latest.id,
  title: name || remote,
  body: latest.text.slice(0, MOST_CHARACTERS),
  actions: [],
});
