// @ts-check
/**
 * What happens while the page is in the background, as notifications of the system, with buttons. Only if the
 * person chose so. Notifications with buttons belong to a service worker; it does nothing else.
 *
 * Events: `change` when `wanted` changes, `choice` with `{tag, action}` when a notification was used; `action` is
 * that of a button, or "" where the person only wants to see the page.
 */

import { t } from "./i18n.js";
import { recall, remember } from "./memory.js";

/**
 * @typedef {object} Announcement
 * @property {string} tag what it is about
 * @property {string} title
 * @property {string} body
 * @property {string[]} actions keys of the texts of its buttons; with buttons it stays until it is used
 */

export class Notifications extends EventTarget {
  /** @type {Announcement[]} */
  #announced = [];
  #chosen = recall("notify", false);
  /** @type {Promise<ServiceWorkerRegistration> | null} */
  #worker = null;
  #turn = Promise.resolve();

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#follow());
    navigator.serviceWorker?.addEventListener("message", ({ data }) =>
      this.dispatchEvent(new CustomEvent("choice", { detail: data })),
    );
  }

  /** Whether this browser can show them, and the person has not forbidden it. */
  get possible() {
    return "Notification" in window && "serviceWorker" in navigator && Notification.permission !== "denied";
  }

  get wanted() {
    return this.#chosen && this.possible && Notification.permission === "granted";
  }

  /** @param {boolean} wanted */
  async choose(wanted) {
    this.#chosen = wanted && (await Notification.requestPermission()) === "granted";
    remember("notify", this.#chosen);
    this.dispatchEvent(new Event("change"));
    this.#follow();
  }

  /**
   * Show these, and no others any more.
   *
   * @param {Announcement[]} announced
   */
  show(announced) {
    const before = this.#announced;
    const same =
      announced.length === before.length && announced.every(({ tag }, at) => tag === before[at].tag);
    this.#announced = announced;
    if (!same) this.#follow();
  }

  #follow() {
    if (!this.wanted && !this.#worker) return;
    this.#worker ??= navigator.serviceWorker.register("service-worker.js");
    // One after the other, so that a call that stops ringing finds its notification.
    this.#turn = this.#turn.then(() => this.#compare()).catch((error) => console.warn(error));
  }

  async #compare() {
    await this.#worker;
    const worker = await navigator.serviceWorker.ready;
    const wanted = document.hidden && this.wanted ? this.#announced : [];
    const shown = await worker.getNotifications();
    for (const notification of shown)
      if (!wanted.some(({ tag }) => tag === notification.tag)) notification.close();
    for (const { tag, title, body, actions } of wanted) {
      if (shown.some((notification) => notification.tag === tag)) continue;
      const options = {
        tag,
        body,
        icon: "favicon.svg",
        requireInteraction: actions.length > 0,
        actions: actions.map((action) => ({ action, title: t(action) })),
      };
      await worker.showNotification(title, options);
    }
  }
}
