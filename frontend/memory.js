/**
 * What the browser remembers: volumes, language and recent calls for good (localStorage), the calls
 * whose sound belongs to this tab until the tab closes (sessionStorage). Both may be forbidden by the
 * browser, and then the page works without a memory.
 */

const PREFIX = "spech.";

function read(storage, name, otherwise) {
  try {
    return JSON.parse(storage().getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(storage, name, value) {
  try {
    storage().setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Private windows and full quotas refuse; the value then lives as long as the page.
  }
}

const long = () => window.localStorage;
const short = () => window.sessionStorage;

export const recall = (name, otherwise) => read(long, name, otherwise);
export const remember = (name, value) => write(long, name, value);
export const recallTab = (name, otherwise) => read(short, name, otherwise);
export const rememberTab = (name, value) => write(short, name, value);
