/** A message before it is sent. */

import { countChars } from "../words/format";

/** Longest message in characters, as the engine accepts it. */
export const MOST_CHARS = 4000;
/** Beginning with so many characters left, how many are left is shown. */
const COUNTED_FROM = 400;

export interface Draft {
  /** What would be sent: without white space at its ends. */
  text: string;
  sendable: boolean;
  /** Characters left, negative when there are too many; `null` while there is no need to count. */
  left: number | null;
}

export function draftOf(typed: string): Draft {
  const text = typed.trim();
  const left = MOST_CHARS - countChars(text);
  return {
    text,
    sendable: text !== "" && left >= 0,
    left: left <= COUNTED_FROM ? left : null,
  };
}
