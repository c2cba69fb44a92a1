// @ts-check

/**
 * Whether a context that does not run waits for a gesture, rather than for a device that works. Only Firefox
 * tells; elsewhere it is likely.
 *
 * @param {AudioContext} context
 */
export const waitsForGesture = (context) =>
  context.state !== "running" && navigator.getAutoplayPolicy?.(context) !== "allowed";
