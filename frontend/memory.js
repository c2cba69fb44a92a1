// @ts-check
/**
 * What the browser stores: volumes, language and the last number permanently (localStorage), and the ids of the
 * calls whose sound belongs to this tab until the tab closes (sessionStorage). Both may be forbidden by the
 * browser, and then the page works without a memory.
 */

const PREFIX = "spech.";

/**
 * @template T
 * @param {() => Storage} storage
 * @param {string} name
 * @param {T} otherwise
 * @returns {T}
 */
function read(storage, name, otherwise) {
  try {
    return JSON.parse(storage().getItem(PREFIX + name) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {() => Storage} storage
 * @param {string} name
 * @param {unknown} value
 */
function write(storage, name, value) {
  try {
    storage().setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Private windows and full quotas refuse; the value then lives as long as the page.
  }
}

const long = () => window.localStorage;
const short = () => window.sessionStorage;

/**
 * @template T
 * @param {string} name
 * @param {T} otherwise
 */
export const recall = (name, otherwise) => read(long, name, otherwise);

/**
 * @param {string} name
 * @param {unknown} value
 */
export const remember = (name, value) => write(long, name, value);

/**
 * @template T
 * @param {string} name
 * @param {T} otherwise
 */
export const recallTab = (name, otherwise) => read(short, name, otherwise);

/**
 * @param {string} name
 * @param {unknown} value
 */
export const rememberTab = (name, value) => write(short, name, value);
