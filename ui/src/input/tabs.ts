/** Keys that move among tabs (WAI-ARIA's pattern). Pure. */

/** The tab a key leads to; `null` where the key is none of those. */
export function tabAfter<Key>(tabs: readonly Key[], chosen: Key, key: string): Key | null {
  const at = tabs.indexOf(chosen);
  const step = (by: number) => tabs[(at + by + tabs.length) % tabs.length] ?? null;
  switch (key) {
    case "ArrowDown":
    case "ArrowRight":
      return step(1);
    case "ArrowUp":
    case "ArrowLeft":
      return step(-1);
    case "Home":
      return tabs[0] ?? null;
    case "End":
      return tabs.at(-1) ?? null;
    default:
      return null;
  }
}
