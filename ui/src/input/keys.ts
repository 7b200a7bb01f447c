/** Which key does what, apart from the DOM. */

export type KeyAction = "toggle_mute" | "toggle_camera" | "toggle_help" | "close";

export interface KeyPress {
  key: string;
  /** Ctrl, Alt or the command key is held: the shortcut belongs to the system or the webview. */
  modified: boolean;
  /** The person is typing into a field or choosing from a list. */
  editing: boolean;
  /** The key is held down and repeats. */
  repeat: boolean;
}

/** The action of a key press, or `null` when the key is not ours. */
export function actionOf(press: KeyPress): KeyAction | null {
  if (press.modified || press.repeat) return null;
  if (press.key === "Escape") return "close";
  if (press.editing) return null;
  switch (press.key) {
    case "m":
    case "M":
      return "toggle_mute";
    case "v":
    case "V":
      return "toggle_camera";
    case "?":
      return "toggle_help";
    default:
      return null;
  }
}

/** Reads a DOM event. */
export function pressOf(event: KeyboardEvent): KeyPress {
  const target = event.target;
  return {
    key: event.key,
    modified: event.ctrlKey || event.altKey || event.metaKey,
    editing:
      target instanceof HTMLElement &&
      (target.isContentEditable || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)),
    repeat: event.repeat,
  };
}
