/** How keys are called. */

import { words } from "./words";

/** A key as a person knows it, of `KeyboardEvent.key`. */
export function keyName(key: string): string {
  const names: Record<string, string | undefined> = words.help.keyNames;
  return names[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}
