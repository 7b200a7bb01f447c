/**
 * Room codes as people type and paste them. Shown `XXXX-XXXX-XXXX`, 12 symbols of Crockford's
 * base32; read back forgivingly: any case, O for 0, I and L for 1, dashes anywhere or nowhere.
 */

/** Symbols of a code, without dashes. */
export const CODE_SYMBOLS = 12;
const GROUP = 4;
/** Symbols kept in the field; what is longer is an error the person should see, not a cut. */
const MOST_SYMBOLS = 24;
const SYMBOL = /^[0-9A-HJKMNP-TV-Z]$/;
const DASHED =
  /(?<![0-9a-z\-‐‑–])[0-9a-z]{4}[-‐‑–][0-9a-z]{4}[-‐‑–][0-9a-z]{4}(?![0-9a-z]|[-‐‑–][0-9a-z])/i;
const SEPARATORS = /[\s\-‐‑‒–—_.]+/g;

export type CodeCheck =
  | { kind: "empty" }
  | { kind: "short"; symbols: number }
  | { kind: "long"; symbols: number }
  | { kind: "bad_symbol"; symbol: string }
  | { kind: "complete"; code: string };

function symbolsOf(text: string): string[] {
  const upper = text.replace(SEPARATORS, "").toUpperCase();
  return Array.from(upper.replace(/O/g, "0").replace(/[IL]/g, "1"));
}

function group(symbols: string[]): string {
  const groups: string[] = [];
  for (let at = 0; at < symbols.length; at += GROUP) {
    groups.push(symbols.slice(at, at + GROUP).join(""));
  }
  return groups.join("-");
}

/** The code inside a link or a longer text, as written there; `null` when there is none. */
function embedded(text: string): string | null {
  const link =
    /visavis:(?:\/\/)?join\/([^\s/?#]+)/i.exec(text) ?? /\/join\/([^\s/?#]+)/i.exec(text);
  if (link?.[1] !== undefined) return link[1];
  // Runs of letters with spaces between them are prose, so inside a text only dashes may separate.
  return DASHED.exec(text)?.[0] ?? null;
}

/** What the field shows for a text: the code in groups, characters that mean nothing kept. */
export function formatCode(text: string): string {
  return group(symbolsOf(embedded(text) ?? text).slice(0, MOST_SYMBOLS));
}

/** {@link formatCode} with the caret kept behind the same symbol. */
export function formatCodeAt(text: string, caret: number): { text: string; caret: number } {
  const formatted = formatCode(text);
  if (caret >= text.length || embedded(text) !== null) {
    return { text: formatted, caret: formatted.length };
  }
  const before = symbolsOf(text.slice(0, caret)).length;
  const dashes = before === 0 ? 0 : Math.floor((before - 1) / GROUP);
  return { text: formatted, caret: Math.min(formatted.length, before + dashes) };
}

/** Judges a text before it is sent. */
export function checkCode(text: string): CodeCheck {
  const symbols = symbolsOf(embedded(text) ?? text);
  if (symbols.length === 0) return { kind: "empty" };
  const bad = symbols.find((symbol) => !SYMBOL.test(symbol));
  if (bad !== undefined) return { kind: "bad_symbol", symbol: bad };
  if (symbols.length < CODE_SYMBOLS) return { kind: "short", symbols: symbols.length };
  if (symbols.length > CODE_SYMBOLS) return { kind: "long", symbols: symbols.length };
  return { kind: "complete", code: group(symbols) };
}
