/** Which key does what, apart from the DOM. */

export type KeyAction =
  | "toggle_mute"
  | "toggle_camera"
  | "toggle_chat"
  | "toggle_hand"
  | "toggle_share"
  | "toggle_help"
  | "close";

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
  switch (press.key.toLowerCase()) {
    case "m":
      return "toggle_mute";
    case "v":
      return "toggle_camera";
    case "c":
      return "toggle_chat";
    case "s":
      return "toggle_share";
    case "h":
      return "toggle_hand";
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

/**
 * Whether a key in the message field sends it. Enter does; with Shift it is a new line, and while
 * an input method composes it only accepts what was composed.
 */
export function sendsMessage(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}
