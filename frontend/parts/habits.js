// @ts-check
/** What belongs to the person and not to an account, kept by the browser: language and tones. */

import { h } from "../dom.js";
import { currentLanguage, LANGUAGES, t } from "../i18n.js";
import { icon } from "../icons.js";
import { remember } from "../memory.js";

/** @import { Tones } from "../sound/tones.js" */

/** The language of the page. */
export function languageChoice() {
  const select = h(
    "select",
    {
      testid: "language",
      "aria-label": t("language"),
      onchange: () => {
        remember("language", select.value);
        location.reload();
      },
    },
    ...Object.entries(LANGUAGES).map(([value, name]) =>
      h("option", { value, selected: value === currentLanguage() }, name),
    ),
  );
  return h("div", { class: "input select small" }, select, icon("down"));
}

/**
 * The country whose call tones are used.
 *
 * @param {Tones} tones
 */
export function countryChoice(tones) {
  const select = h("select", {
    testid: "country",
    "aria-label": t("country"),
    title: t("country"),
    onchange: () => tones.choose(select.value),
  });
  const names = new Intl.DisplayNames([currentLanguage()], { type: "region" });
  Promise.all([tones.table(), tones.country()]).then(([table, country]) => {
    const options = Object.keys(table)
      .map((code) => [code, code ? (names.of(code.toUpperCase()) ?? code) : t("country.none")])
      .sort(([code, one], [, other]) => (code ? one.localeCompare(other, currentLanguage()) : -1));
    select.append(...options.map(([value, name]) => h("option", { value }, name)));
    select.value = country;
  });
  return h("div", { class: "input select small" }, select, icon("down"));
}
