/** How the person likes the call window, kept in the webview's own storage. Reading is pure. */

export const CORNERS = ["top_left", "top_right", "bottom_left", "bottom_right"] as const;
export type Corner = (typeof CORNERS)[number];

const LAYOUTS = ["grid", "speaker"] as const;

export interface Preferences {
  /** Where one's own picture floats. */
  corner: Corner;
  /** Whether one sees oneself. */
  self_view: boolean;
  /** Everybody alike, or who speaks large. */
  layout: (typeof LAYOUTS)[number];
}

export const defaultPreferences: Preferences = {
  corner: "bottom_right",
  self_view: true,
  layout: "grid",
};

/** What was kept; whatever is none of it counts as not chosen. */
export function parsePreferences(text: string | null): Preferences {
  const kept = fieldsOf(text);
  const { corner, layout } = kept;
  return {
    corner: CORNERS.find((one) => one === corner) ?? defaultPreferences.corner,
    self_view: typeof kept.self_view === "boolean" ? kept.self_view : defaultPreferences.self_view,
    layout: LAYOUTS.find((one) => one === layout) ?? defaultPreferences.layout,
  };
}

function fieldsOf(text: string | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? "");
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

const KEY = "visavis.call-window";

/** A webview may keep nothing; the defaults do then. */
export function loadPreferences(): Preferences {
  try {
    return parsePreferences(localStorage.getItem(KEY));
  } catch {
    return defaultPreferences;
  }
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Forgotten with the window; nothing else depends on it.
  }
}
