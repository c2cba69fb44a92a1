// @ts-check
/** Numbers on other pages: the browser opens `tel:` and `sip:` links here, and a bookmark calls what is selected. */

import { h, setText } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

const SCHEMES = ["tel", "sip"];

/** The address that opens this page with the number behind it. */
const address = () => `${location.origin}${location.pathname}?call=`;

/** The section of the settings. */
export function links() {
  const told = h("p", { class: "help", role: "status" });
  const take = h(
    "button",
    {
      type: "button",
      class: "pill",
      testid: "links-take",
      hidden: !navigator.registerProtocolHandler,
      onclick: () => {
        for (const scheme of SCHEMES) navigator.registerProtocolHandler(scheme, `${address()}%s`);
        setText(told, t("links.taken"));
      },
    },
    t("links.take"),
  );
  const code = `open(${JSON.stringify(address())}+encodeURIComponent(String(getSelection())))`;
  const bookmark = h(
    "a",
    {
      class: "pill bookmark",
      testid: "links-bookmark",
      href: `javascript:void(${code})`,
      // It is for the bookmarks; here it has nothing to call.
      onclick: (/** @type {MouseEvent} */ event) => event.preventDefault(),
    },
    icon("grip"),
    t("links.bookmark"),
  );
  return h(
    "section",
    { class: "group", "aria-labelledby": "links-heading" },
    h("h2", { id: "links-heading" }, t("links")),
    h("p", { class: "help" }, t("links.help")),
    h("div", { class: "links" }, take),
    told,
    h("p", { class: "help" }, t("links.drag")),
    h("div", { class: "links" }, bookmark),
  );
}

/** The number that the page was opened with, or null. It is taken off the address: a reload asks for nothing. */
export function askedNumber() {
  const query = new URLSearchParams(location.search);
  const asked = query.get("call");
  if (asked === null) return null;
  query.delete("call");
  const rest = query.toString();
  history.replaceState(null, "", `${location.pathname}${rest ? `?${rest}` : ""}`);
  return asked;
}
