import { expect, it } from "vitest";
import { actionOf, type KeyPress } from "./keys";

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({
  key,
  modified: false,
  editing: false,
  repeat: false,
  ...more,
});

it.each([
  [press("m"), "toggle_mute"],
  [press("M"), "toggle_mute"],
  [press("v"), "toggle_camera"],
  [press("?"), "toggle_help"],
  [press("Escape"), "close"],
  [press("Escape", { editing: true }), "close"],
  [press("m", { editing: true }), null],
  [press("m", { modified: true }), null],
  [press("m", { repeat: true }), null],
  [press("x"), null],
])("%j → %j", (given, action) => {
  expect(actionOf(given)).toBe(action);
});
