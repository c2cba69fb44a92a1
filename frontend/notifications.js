// @ts-check
/**
 * Calls that ring while the page is in the background, as notifications of the system with the two answers. Only
 * if the person chose so. Notifications with buttons belong to a service worker; it does nothing else.
 *
 * Events: `change` when `wanted` changes, `choice` with `{call, action}` when a notification was used; `action` is
 * `answer`, `decline`, or "" where the person only wants to see the page.
 */

import { nameOf } from "./calls.js";
import { t } from "./i18n.js";
import { recall, remember } from "./memory.js";

/** @import { CallState } from "./messages.js" */

export class Notifications extends EventTarget {
  /** @type {CallState[]} */
  #ringing = [];
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

  /** @param {CallState[]} ringing */
  show(ringing) {
    const same =
      ringing.length === this.#ringing.length && ringing.every(({ id }, at) => id === this.#ringing[at].id);
    this.#ringing = ringing;
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
    const wanted = document.hidden && this.wanted ? this.#ringing : [];
    const shown = await worker.getNotifications();
    for (const notification of shown)
      if (!wanted.some(({ id }) => id === notification.tag)) notification.close();
    for (const call of wanted) {
      if (shown.some(({ tag }) => tag === call.id)) continue;
      const options = {
        tag: call.id,
        body: t("incoming"),
        icon: "favicon.svg",
        requireInteraction: true,
        actions: ["answer", "decline"].map((action) => ({ action, title: t(action) })),
      };
      await worker.showNotification(nameOf(call), options);
    }
  }
}
