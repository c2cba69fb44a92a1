/**
 * The few lines that stand in for a framework: elements are built once and then updated in place,
 * so that focus, selection and running animations survive every state snapshot.
 */

const LONG_ADDRESS = 18;
/** What no voice is softer than. */
const QUIET_DBFS = -55;

/**
 * Make an element. `on…` attributes are listeners, `testid` is short for `data-testid`;
 * null, undefined and false leave an attribute out, true sets it without a value.
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === "testid" ? "data-testid" : name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Write `text` only if it differs, so that live regions speak once for each change. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Write a name or a SIP address; a long one is set smaller, and breaks after its `@` before anywhere else. */
export function setAddress(element, text) {
  if (element.textContent === text) return;
  const pieces = text.split(/(?<=@)/).flatMap((piece) => [document.createElement("wbr"), piece]);
  element.replaceChildren(...pieces.slice(1));
  element.classList.toggle("long", text.length > LONG_ADDRESS);
}

/** Let an element follow a voice, `level` in dBFS: the style sheet reads `--voice`, 0 to 1. */
export function setVoice(element, level) {
  element.style.setProperty("--voice", Math.max(0, Math.min(1, 1 - level / QUIET_DBFS)).toFixed(3));
}

/** Show or hide an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Whether `target` takes what is typed for itself; a slider or a box leaves digits to the telephone. */
export function takesText(target) {
  return (
    target instanceof Element &&
    target.closest("input:not([type=range], [type=checkbox]), select, textarea") !== null
  );
}

/** A custom element that is built once, when it is given its phone, and updated on each change. */
export class Part extends HTMLElement {
  #phone = null;

  get phone() {
    return this.#phone;
  }

  set phone(phone) {
    this.#phone = phone;
    this.build();
    phone.addEventListener("change", () => this.refresh());
    this.refresh();
  }

  connectedCallback() {
    this.refresh();
  }

  refresh() {
    if (this.#phone && this.isConnected) this.update();
  }

  build() {}

  update() {}
}
