/** How keys are called. */

import { words } from "./words";

/** What a control does, and the key that does it, if there is one. */
export function withKey(text: string, key: string): string {
  return key === "" ? text : `${text} (${keyName(key)})`;
}

/** A key as a person knows it, of `KeyboardEvent.key`. */
export function keyName(key: string): string {
  const names: Record<string, string | undefined> = words.help.keyNames;
  return names[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}
