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
import { clock, loadLanguage, t } from "./i18n.js";
import { live, nameOf } from "./calls.js";
import { listenForHelp } from "./keys.js";
import { joinDesktop } from "./desktop.js";
import { Phone } from "./phone.js";

/** @import { Part } from "./dom.js" */

const TITLE_BLINK_MS = 1000;

// A link to sign in that was opened where someone has signed in already.
if (location.hash.startsWith("#link=")) location.replace(`sign-in.html${location.search}${location.hash}`);
await loadLanguage();
// The elements take their texts while they are built, so they load after the language.
const names = [
  "banner",
  "call",
  "connection",
  "devices",
  "dialer",
  "incoming",
  "keypad",
  "lines",
  "members",
  "notices",
  "numbers",
  "recent",
  "recordings",
  "registration",
  "settings",
  "sound",
  "story",
  "transfer",
  "welcome",
];
await Promise.all(names.map((name) => import(`./parts/${name}.js`)));

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
};
for (const view of Object.values(views)) view.phone = phone;
for (const name of [
  "registration",
  "banner",
  "incoming",
  "lines",
  "sound",
  "connection",
  "numbers",
  "recent",
  "recordings",
  "story",
]) {
  /** @type {Part} */ (element(`spech-${name}`)).phone = phone;
}

/** @type {keyof typeof views | "loading" | null} */
let shown = null;

function showView() {
  const { view } = phone;
  const ringing = phone.ringing.length > 0;
  document.body.dataset.view = view;
  // With nothing else going on, a ringing call has the stage to itself.
  const busy = view === "settings" || phone.lines.some(live);
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
  if (!call || !live(call)) return "Spech";
  const seconds = phone.seconds(call);
  return `${seconds === null ? t(`short.${call.state}`) : clock(seconds)} · ${nameOf(call)}`;
}

const favicon = element("link[rel=icon]");

/** The tab names the caller, and its icon has a red dot while a call rings. */
function showTitle() {
  const text = title();
  if (document.title !== text) document.title = text;
  const symbol = phone.ringing.length > 0 ? "favicon-ringing.svg" : "favicon.svg";
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

showView();
control.open();
