/** Giving an action another key. Pure. */

/** What a key press means while a new key is asked for. */
export type Rebound =
  /** Nothing yet: a key that only goes with others. */
  | { kind: "wait" }
  /** The person thought better of it; Tab moves on as well. */
  | { kind: "cancel" }
  /** The action gets this key; empty takes its own away. */
  | { kind: "set"; key: string };

const COMPANIONS = ["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "NumLock", "Dead"];
const CANCEL = ["Escape", "Tab"];
const CLEAR = ["Backspace", "Delete"];

/** `modified`: Ctrl, Alt or the command key is held, which is the system's or the webview's. */
export function reboundOf(key: string, modified: boolean): Rebound {
  if (modified || COMPANIONS.includes(key)) return { kind: "wait" };
  if (CANCEL.includes(key)) return { kind: "cancel" };
  if (CLEAR.includes(key)) return { kind: "set", key: "" };
  return { kind: "set", key: key.length === 1 ? key.toLowerCase() : key };
}
