// @ts-check
/**
 * The page's entry: loads the texts, makes the phone, and shows the view that fits its state.
 *
 * `window.spech` is the page's diagnostic surface, for tests and for a developer's console:
 * `state` is the last snapshot, `speakerLevel()` the RMS in dBFS of what the page plays, and
 * `capture(seconds)` resolves with `{rate, samples}` of it, floats in -1..1, taken after the volume.
 */

import { Control } from "./control.js";
import { announce, keepFocus } from "./attention.js";
import { keepCurrent, keepScreenOn } from "./awake.js";
import { element, setText } from "./dom.js";
import { texts } from "./early.js";
import { clock, t } from "./i18n.js";
import { live, nameOf, tidy } from "./calls.js";
import { listenForHelp } from "./keys.js";
import { joinDesktop } from "./desktop.js";
import { Phone } from "./phone.js";
import "./parts/banner.js";
import "./parts/call.js";
import "./parts/connection.js";
import "./parts/devices.js";
import "./parts/dialer.js";
import "./parts/favourites.js";
import "./parts/incoming.js";
import "./parts/keypad.js";
import "./parts/lines.js";
import { askedNumber } from "./parts/links.js";
import "./parts/members.js";
import "./parts/navigation.js";
import "./parts/notices.js";
import "./parts/numbers.js";
import "./parts/recent.js";
import "./parts/recordings.js";
import "./parts/registration.js";
import "./parts/sound.js";
import "./parts/transfer.js";
import "./parts/voicemail.js";
import "./parts/welcome.js";
import { watchMissed } from "./seen.js";

/** @import { Part } from "./dom.js" */

const TITLE_BLINK_MS = 1000;

// A link to sign in that was opened where someone has signed in already.
if (location.hash.startsWith("#link=")) location.replace(`sign-in.html${location.search}${location.hash}`);
// The elements take their texts while they are built.
await texts;

const control = new Control();
const phone = new Phone(control);

window.spech = {
  get state() {
    return phone.state;
  },
  speakerLevel: () => phone.sound.levels.speaker,
  capture: (seconds) => phone.sound.capture(seconds),
};

const stage = element("#stage");
const announcer = element("#announcer");
const views = {
  welcome: document.createElement("spech-welcome"),
  dialer: document.createElement("spech-dialer"),
  call: document.createElement("spech-call"),
  settings: document.createElement("spech-settings"),
  history: document.createElement("spech-history"),
  chats: document.createElement("spech-chats"),
  contacts: document.createElement("spech-contacts"),
};
/** @type {Part[]} What nobody sees at first. */
const later = [
  views.settings,
  views.history,
  views.chats,
  views.contacts,
  /** @type {Part} */ (element("spech-story")),
];
for (const view of [views.welcome, views.dialer, views.call]) view.phone = phone;
for (const name of [
  "registration",
  "voicemail",
  "navigation",
  "banner",
  "incoming",
  "lines",
  "sound",
  "connection",
  "numbers",
  "favourites",
  "recent",
  "recordings",
]) {
  /** @type {Part} */ (element(`spech-${name}`)).phone = phone;
}

/** @type {keyof typeof views | "loading" | null} */
let shown = null;
let whole = false;
let completing = false;

/** Load what nobody sees at first. */
async function complete() {
  if (completing) return;
  completing = true;
  try {
    await import("./later.js");
  } catch {
    // The server is away: another try when one of the views is asked for.
    completing = false;
    return;
  }
  for (const part of later) {
    customElements.upgrade(part);
    part.phone = phone;
  }
  whole = true;
  showView();
}

function showView() {
  const wanted = phone.view;
  const view = wanted === "loading" || whole || !later.includes(views[wanted]) ? wanted : "loading";
  if (wanted !== "loading") complete();
  const ringing = phone.ringing.length > 0;
  document.body.dataset.view = view;
  // With nothing else going on, a ringing call has the stage to itself.
  const busy = ["settings", "history", "contacts", "chats"].includes(view) || phone.lines.some(live);
  document.body.dataset.busy = String(busy);
  stage.hidden = ringing && !busy;
  if (view === shown) return;
  shown = view;
  stage.replaceChildren(...(view === "loading" ? [] : [views[view]]));
  scrollTo(0, 0);
  if (view !== "loading") views[view].arrive();
}

function title() {
  const [caller] = phone.ringing;
  if (caller && Math.floor(Date.now() / TITLE_BLINK_MS) % 2 === 0) {
    return t("title.incoming", { who: nameOf(caller) });
  }
  const call = phone.selected;
  const { missed } = phone.history;
  if (!call || !live(call)) return missed ? `(${missed}) Spech` : "Spech";
  const seconds = phone.seconds(call);
  return `${seconds === null ? t(`short.${call.state}`) : clock(seconds)} · ${nameOf(call)}`;
}

const favicon = element("link[rel=icon]");

/** The tab names the caller or counts the missed calls, and then its icon has a red dot. */
function showTitle() {
  const text = title();
  if (document.title !== text) document.title = text;
  const marked = phone.ringing.length > 0 || phone.history.missed > 0;
  const symbol = marked ? "favicon-marked.svg" : "favicon.svg";
  if (favicon.getAttribute("href") !== symbol) favicon.setAttribute("href", symbol);
}

phone.addEventListener("change", () => {
  showView();
  showTitle();
  if (!control.connected && phone.state) setText(announcer, t("lost"));
  else if (announcer.textContent === t("lost")) setText(announcer, "");
});
phone.addEventListener("tick", showTitle);
document.addEventListener("levels", (event) =>
  views.call.breathe(/** @type {CustomEvent} */ (event).detail.speaker),
);

announce(phone, announcer);
keepFocus(phone, () => {
  if (!stage.hidden && shown !== null && shown !== "loading") views[shown].arrive();
  else document.querySelector("spech-incoming")?.arrive();
});
listenForHelp();
keepScreenOn(phone);
keepCurrent(phone);
joinDesktop(phone);
watchMissed(phone, [element("spech-recent"), views.history]);

showView();
control.open();

// A link or a bookmark on another page brings a number: it is shown, and the person presses the button.
const asked = askedNumber();
if (asked !== null) {
  phone.number = tidy(asked);
  phone.show("dialer");
}
