/**
 * Which key does what, apart from the DOM: one table, which the key map (`Help`) and the settings
 * are made from as well, so that they cannot lie.
 */

export type KeyAction =
  | "talk"
  | "toggle_mute"
  | "toggle_camera"
  | "toggle_share"
  | "toggle_hand"
  | "toggle_chat"
  | "toggle_people"
  | "toggle_layout"
  | "previous_page"
  | "next_page"
  | "toggle_self_view"
  | "toggle_full_screen"
  | "toggle_mini"
  | "toggle_help"
  | "toggle_settings"
  | "close";

export interface Binding {
  action: KeyAction;
  /** As `KeyboardEvent.key` names it, letters in lower case; empty when the action has no key. */
  key: string;
  /** Works on the home screen too. */
  home?: boolean;
  /** Works while typing, and cannot be given away. */
  fixed?: boolean;
}

/** The table unless the person chose otherwise, in the order it is shown. */
export const BINDINGS: readonly Binding[] = [
  { action: "talk", key: " " },
  { action: "toggle_mute", key: "m", home: true },
  { action: "toggle_camera", key: "v", home: true },
  { action: "toggle_share", key: "s" },
  { action: "toggle_hand", key: "h" },
  { action: "toggle_chat", key: "c" },
  { action: "toggle_people", key: "p" },
  { action: "toggle_layout", key: "g" },
  { action: "previous_page", key: "PageUp" },
  { action: "next_page", key: "PageDown" },
  { action: "toggle_self_view", key: "o" },
  { action: "toggle_full_screen", key: "f" },
  { action: "toggle_mini", key: "w" },
  { action: "toggle_settings", key: ",", home: true },
  { action: "toggle_help", key: "?", home: true },
  { action: "close", key: "Escape", home: true, fixed: true },
];

/** Keys the person gave to actions, by the action's name; empty takes it away. */
export type ChosenKeys = Readonly<Record<string, string | undefined>>;

/** The table with the person's choices in it. A chosen key is no other action's any more. */
export function bindingsOf(chosen: ChosenKeys): Binding[] {
  const own = (one: Binding) => (one.fixed ? undefined : chosen[one.action]);
  const given = new Set(BINDINGS.flatMap((one) => own(one) ?? []).map(normal));
  return BINDINGS.map((one) => {
    const key = own(one);
    if (key !== undefined) return { ...one, key: normal(key) };
    return given.has(one.key) && !one.fixed ? { ...one, key: "" } : one;
  });
}

/** The key of an action; empty when it has none. */
export function keyOf(action: KeyAction, chosen: ChosenKeys): string {
  return bindingsOf(chosen).find((one) => one.action === action)?.key ?? "";
}

/** A key for `aria-keyshortcuts` (WAI-ARIA 1.2, 6.8); nothing when there is none. */
export function ariaKey(key: string): string | undefined {
  const spelled: Record<string, string | undefined> = { " ": "Space", "+": "Plus" };
  return spelled[key] ?? (key === "" ? undefined : key);
}

export interface KeyPress {
  key: string;
  /** Ctrl, Alt or the command key is held: the shortcut belongs to the system or the webview. */
  modified: boolean;
  /** The person is typing into a field or choosing from a list. */
  editing: boolean;
  /** The key means something to what has the focus, like space to a button. */
  taken: boolean;
  /** The key is held down and repeats. */
  repeat: boolean;
}

/** The action of a key press on the home screen or in a call; `null` when the key is not ours. */
export function actionOf(
  press: KeyPress,
  where: "home" | "call" = "call",
  chosen: ChosenKeys = {},
): KeyAction | null {
  if (press.modified || press.repeat) return null;
  const key = normal(press.key);
  const found = bindingsOf(chosen).find((one) => one.key !== "" && one.key === key);
  if (!found || (where === "home" && !found.home)) return null;
  if ((press.editing || press.taken) && !found.fixed) return null;
  return found.action;
}

/** Letters count whether or not Shift or Caps Lock makes them large. */
function normal(key: string): string {
  return key.length === 1 ? key.toLowerCase() : key;
}

const FIELDS = ["INPUT", "SELECT", "TEXTAREA"];
const PRESSED = "button, a[href], summary, [role='button'], [role='switch'], [role='tab']";

/**
 * Reads a DOM event. `pointed` is what the person pressed with the pointer last: a button that has
 * the focus only for having been clicked does not take the space bar from talking.
 */
export function pressOf(event: KeyboardEvent, pointed: EventTarget | null = null): KeyPress {
  const target = event.target instanceof HTMLElement ? event.target : null;
  const control = target?.closest(PRESSED) ?? null;
  const presses = event.key === " " || event.key === "Enter";
  const scrolls = event.key.startsWith("Page") && (target?.closest(".scrolls") ?? null) !== null;
  return {
    key: event.key,
    modified: event.ctrlKey || event.altKey || event.metaKey,
    editing: target !== null && (target.isContentEditable || FIELDS.includes(target.tagName)),
    taken: scrolls || (presses && control !== null && control !== pointed),
    repeat: event.repeat,
  };
}

/** The control a pointer press goes to, for {@link pressOf}. */
export function pointedAt(event: PointerEvent): EventTarget | null {
  return event.target instanceof Element ? event.target.closest(PRESSED) : null;
}

/**
 * Whether a key in the message field sends it. Enter does; with Shift it is a new line, and while
 * an input method composes it only accepts what was composed.
 */
export function sendsMessage(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}
