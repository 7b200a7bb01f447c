/** Which language is spoken, and how its numbers and times are written. Pure. */

/** Languages there are words in, by their tags (BCP 47). */
export const LANGUAGES = ["en", "de"] as const;
export type Language = (typeof LANGUAGES)[number];

/** What languages call themselves: whoever looks for theirs may not read the one that is shown. */
export const LANGUAGE_NAMES: Record<Language, string> = { en: "English", de: "Deutsch" };

export interface Locale {
  language: Language;
  /** Writes numbers, dates and times: the language as it is used where the person lives. */
  tag: string;
}

/**
 * The language the person chose; without a choice, the first of the system's there are words in,
 * else English.
 */
export function localeOf(choice: string | null, preferred: readonly string[]): Locale {
  const known = preferred.flatMap((text) => {
    // Some webviews hand on what the environment says, like `de_CH.UTF-8`.
    const tag = text.replace(/[.@].*/, "").replaceAll("_", "-");
    const language = LANGUAGES.find((one) => one === tag.split("-")[0]?.toLowerCase());
    return language ? [{ language, tag }] : [];
  });
  const chosen = LANGUAGES.find((one) => one === choice);
  if (!chosen) return known[0] ?? { language: "en", tag: "en" };
  return known.find(({ language }) => language === chosen) ?? { language: chosen, tag: chosen };
}
