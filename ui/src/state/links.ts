/**
 * Finds the web links in a message. Only `http` and `https`, and only such that look like what they
 * open: anything else stays text.
 */

/** Longest link, in characters; the command that opens one takes no longer ones. */
export const MOST_LINK_CHARS = 2048;

export type Segment = { kind: "text"; text: string } | { kind: "link"; text: string; url: string };

const CANDIDATE = /\bhttps?:\/\/[^\s<>"“”„«»`]+/giu;
/** Punctuation that ends a sentence rather than a link. */
const TRAILING = /[.,:;!?'’*_~…]$/u;
const PAIRS: readonly (readonly [string, string])[] = [
  ["(", ")"],
  ["[", "]"],
  ["{", "}"],
];

/** A message in pieces; joined, they are the message. */
export function segmentsOf(text: string): Segment[] {
  const segments: Segment[] = [];
  let done = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const shown = withoutTrailing(match[0]);
    const url = safeUrl(shown);
    if (url === null) continue;
    if (match.index > done) segments.push({ kind: "text", text: text.slice(done, match.index) });
    segments.push({ kind: "link", text: shown, url });
    done = match.index + shown.length;
  }
  if (done < text.length) segments.push({ kind: "text", text: text.slice(done) });
  return segments;
}

/** The address to open, or `null` where the text should not be one to press on. */
export function safeUrl(text: string): string | null {
  if (text.length > MOST_LINK_CHARS || !URL.canParse(text)) return null;
  const url = new URL(text);
  const isWeb = url.protocol === "https:" || url.protocol === "http:";
  // A name before the host only serves to make it look like another.
  const plain = url.username === "" && url.password === "" && url.hostname !== "";
  return isWeb && plain && url.href.length <= MOST_LINK_CHARS ? url.href : null;
}

function withoutTrailing(text: string): string {
  let shown = text;
  for (;;) {
    const closing = PAIRS.find(([, close]) => shown.endsWith(close));
    const unopened = closing && count(shown, closing[1]) > count(shown, closing[0]);
    if (!TRAILING.test(shown) && !unopened) return shown;
    shown = shown.slice(0, -1);
  }
}

function count(text: string, symbol: string): number {
  return text.split(symbol).length - 1;
}
