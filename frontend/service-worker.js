// @ts-check
/** Hands the answer that a person gives to a notification to the page. Nothing is cached here. */

/** @type {any} ServiceWorkerGlobalScope, which the types of pages do not have. */
const worker = self;

/** @param {{ tag: string }} notification @param {string} action */
async function tell(notification, action) {
  // The window that was used last comes first.
  const [page] = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (!page) return;
  page.postMessage({ tag: notification.tag, action });
  if (action !== "decline") await page.focus();
}

worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(tell(event.notification, event.action));
});
