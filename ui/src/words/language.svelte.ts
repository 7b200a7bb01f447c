/** The language in use. Everything that reads it in a view or an effect follows when it changes. */

import { de } from "./de";
import { en, type Words } from "./en";
import { localeOf, type Language, type Locale } from "./choose";

const catalogues: Record<Language, Words> = { en, de };

/** The system's, as the webview found them when it started. */
const preferred = navigator.languages;

class Spoken {
  locale: Locale = $state.raw(localeOf(null, preferred));

  get words(): Words {
    return catalogues[this.locale.language];
  }
}

export const spoken = new Spoken();

/** Speaks the language chosen, `null` the system's; tells screen readers and the webview. */
export function setLanguage(choice: string | null): void {
  const locale = localeOf(choice, preferred);
  const { language, tag } = spoken.locale;
  if (locale.language !== language || locale.tag !== tag) spoken.locale = locale;
  document.documentElement.lang = locale.language;
}
