import { afterEach, describe, expect, it } from "vitest";
import { localeOf } from "./choose";
import { de } from "./de";
import { en } from "./en";
import {
  formatBitrate,
  formatBytes,
  formatRate,
  formatShare,
  formatTime,
  formatWhen,
} from "./format";
import { setLanguage } from "./language.svelte";
import { sizeText } from "./network";

afterEach(() => {
  setLanguage(null);
});

type Leaf = [path: string, value: unknown];

/** Everything that is said, with where it stands. */
function leaves(value: unknown, path = ""): Leaf[] {
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, one]) =>
    leaves(one, path === "" ? key : `${path}.${key}`),
  );
}

/** Stands for names and numbers. */
const GIVEN = ["«Ada»", "«more»", "«third»"] as const;

/** What a leaf says: itself, or what it makes of names and numbers. */
function said(value: unknown): string {
  return typeof value === "function"
    ? (value as (...given: string[]) => string)(...GIVEN)
    : String(value);
}

/** Said alike in both languages: names, symbols, and words German took over. */
const ALIKE = [
  /^app$/,
  /^connection\.(server|placeholder)$/,
  /^chat\.title$/,
  /^settings\.version$/,
  /^network\.(details|codecs\..*|paths\.(relay|sfu)|size)$/,
  /^call\.(percent|links\.connected)$/,
  /^files\.progress$/,
  /^announced\.(message|reaction)$/,
  /^reactions\.\d+\.0$/,
  /^help\.keyNames\.Escape$/,
];
/** Empty in both. */
const EMPTY = ["call.links.connected"];

describe("the catalogues", () => {
  const german = new Map(leaves(de));

  it("say the same things", () => {
    const paths = (words: unknown) => leaves(words).map(([path]) => path);
    expect(paths(de).sort()).toEqual(paths(en).sort());
  });

  it("say all of it, each in its language", () => {
    const wrong = leaves(en).flatMap(([path, english]) => {
      const [from, to] = [said(english), said(german.get(path))];
      const problems = [
        (to === "") !== EMPTY.includes(path) && "empty",
        to === from && !ALIKE.some((alike) => alike.test(path)) && "not translated",
        typeof german.get(path) !== typeof english && "of another kind",
        to.trim() !== to && "white space at its ends",
        /undefined|null|NaN|\[object/.test(to) && "not a sentence",
        // Whoever speaks to a friend does not say "Sie" to them.
        /\b(Ihnen|Ihre[nmrs]?|können Sie|Sie können)\b/.test(to) && "formal",
        GIVEN.some((given) => to.includes(given) !== from.includes(given)) &&
          "forgets what it is given",
      ];
      return problems.filter(Boolean).map((problem) => `${path} is ${String(problem)}: ${to}`);
    });
    expect(wrong).toEqual([]);
  });

  it("count one and many", () => {
    for (const { home, chat, files, hands } of [en, de]) {
      for (const count of [home.codeShort, chat.unread, files.count, files.queue, hands]) {
        expect(count(1).replace("1", "2")).not.toBe(count(2));
        expect(count(2).replace("2", "3")).toBe(count(3));
      }
    }
    expect([de.files.count(1), de.files.count(2)]).toEqual(["1 Datei", "2 Dateien"]);
    expect([de.home.codeShort(1), de.home.codeShort(3)]).toEqual([
      "Ein Zeichen fehlt.",
      "3 Zeichen fehlen.",
    ]);
    expect(de.files.dropped(["a"])).toBe("a");
    expect(de.files.dropped(["a", "b", "c"])).toBe("a und 2 weitere");
  });
});

describe("the language", () => {
  it.each([
    [null, ["de-AT", "en"], "de", "de-AT"],
    [null, ["fr-FR", "de", "en-GB"], "de", "de"],
    [null, ["fr-FR", "ja"], "en", "en"],
    [null, [], "en", "en"],
    ["en", ["de-AT", "en-GB"], "en", "en-GB"],
    ["de", ["en-US"], "de", "de"],
    ["fr", ["de_CH.UTF-8"], "de", "de-CH"],
    ["", ["deu"], "en", "en"],
  ])("of choice %j and system %j is %s", (choice, preferred, language, tag) => {
    const locale = localeOf(choice, preferred);
    expect(locale.language).toBe(language);
    expect(locale.tag).toBe(tag);
    expect(() => new Intl.NumberFormat(locale.tag)).not.toThrow();
  });

  it("writes numbers and times", () => {
    setLanguage("de");
    const plain = (text: string) => text.replaceAll("\u00a0", " ");
    expect(plain(formatBytes(1449))).toBe("1,4 kB");
    expect(plain(formatRate(1_240_000))).toBe("1,2 MB/s");
    expect(plain(formatBitrate(1_740_000))).toBe("1,7 Mbit/s");
    expect(plain(formatShare(0.0123))).toBe("1,2 %");
    expect(plain(sizeText({ width: 1280, height: 720, fps: 30 }))).toBe("1280 × 720, 30 fps");
    expect(formatTime(new Date(2026, 0, 2, 15, 4).getTime())).toBe("15:04");
    setLanguage("en");
    expect(plain(formatTime(new Date(2026, 0, 2, 15, 4).getTime()))).toMatch(/^3:04.PM$/);
  });

  it("tells days as people do", () => {
    const at = (day: number, hour: number) => new Date(2026, 4, day, hour).getTime();
    setLanguage("de");
    expect(formatWhen(at(20, 0), at(20, 23))).toBe("00:00");
    expect(formatWhen(at(19, 23), at(20, 1))).toBe("gestern, 23:00");
    expect(formatWhen(at(18, 23), at(20, 1))).toBe("18.05.2026");
    setLanguage("en");
    expect(formatWhen(at(19, 23), at(20, 1))).toMatch(/^yesterday, 11:00.PM$/);
    expect(formatWhen(at(1, 23), at(20, 1))).toBe("May 1, 2026");
  });
});
