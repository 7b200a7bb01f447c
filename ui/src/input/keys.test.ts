import { expect, it } from "vitest";
import { actionOf, sendsMessage, type KeyPress } from "./keys";

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
  [press("c"), "toggle_chat"],
  [press("C"), "toggle_chat"],
  [press("h"), "toggle_hand"],
  [press("h", { editing: true }), null],
  [press("c", { modified: true }), null],
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

it.each([
  [{ key: "Enter" }, true],
  [{ key: "Enter", shiftKey: true }, false],
  [{ key: "Enter", isComposing: true }, false],
  [{ key: "x" }, false],
])("%j sends a message: %s", (given, sends) => {
  expect(sendsMessage(new KeyboardEvent("keydown", given))).toBe(sends);
});
