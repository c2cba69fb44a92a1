// @ts-check
/**
 * Missed calls count until a person has looked at them: until a list with them was in sight for a moment while the
 * person moved, typed or came back to the page.
 */

/** @import { Phone } from "./phone.js" */

const A_LOOK_MS = 2000;

/**
 * @param {Phone} phone
 * @param {Element[]} lists show missed calls
 */
export function watchMissed(phone, lists) {
  /** @type {Set<Element>} */
  const inSight = new Set();
  let look = 0;
  let active = -Infinity;
  // A list can come into sight after the last movement, as at the end of scrolling.
  const consider = () => {
    if (look || phone.history.missed === 0 || inSight.size === 0) return;
    if (performance.now() - active > A_LOOK_MS) return;
    look = setTimeout(() => {
      look = 0;
      if (document.visibilityState === "visible") phone.history.see();
    }, A_LOOK_MS);
  };
  const observer = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) inSight.add(target);
      else inSight.delete(target);
    }
    if (inSight.size === 0) {
      clearTimeout(look);
      look = 0;
    }
    consider();
  });
  for (const list of lists) observer.observe(list);
  const notice = () => {
    active = performance.now();
    consider();
  };
  for (const event of ["pointermove", "pointerdown", "keydown", "scroll", "focus"])
    addEventListener(event, notice, { capture: true, passive: true });
}
