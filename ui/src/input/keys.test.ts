import { expect, it } from "vitest";
import {
  actionOf,
  ariaKey,
  BINDINGS,
  bindingsOf,
  keyOf,
  pressOf,
  sendsMessage,
  type KeyPress,
} from "./keys";

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({
  key,
  modified: false,
  editing: false,
  taken: false,
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
  [press("PageDown"), "next_page"],
  [press("PageDown", { editing: true }), null],
  [press(" "), "talk"],
  [press(" ", { taken: true }), null],
  [press(" ", { repeat: true }), null],
  [press("m", { editing: true }), null],
  [press("m", { modified: true }), null],
  [press("m", { repeat: true }), null],
  [press("ü"), null],
  [press(""), null],
])("%j → %j", (given, action) => {
  expect(actionOf(given)).toBe(action);
});

it("has one key for each action and one action for each key", () => {
  expect(new Set(BINDINGS.map((one) => one.action)).size).toBe(BINDINGS.length);
  expect(new Set(BINDINGS.map((one) => one.key)).size).toBe(BINDINGS.length);
});

it("leaves the keys of a call alone on the home screen", () => {
  expect(actionOf(press("m"), "home")).toBe("toggle_mute");
  expect(actionOf(press("c"), "home")).toBeNull();
  expect(actionOf(press(" "), "home")).toBeNull();
});

it("follows the person's choices, a key never doing two things", () => {
  const chosen = { toggle_mute: "H", talk: "", close: "q", nonsense: "g" };
  const act = (key: string) => actionOf(press(key), "call", chosen);
  expect(act("h")).toBe("toggle_mute");
  expect(act("m")).toBeNull();
  expect(act(" ")).toBeNull();
  expect(act("q")).toBeNull();
  expect(act("Escape")).toBe("close");
  expect(act("g")).toBe("toggle_layout");
  const keys = bindingsOf(chosen)
    .map((one) => one.key)
    .filter((key) => key !== "");
  expect(new Set(keys).size).toBe(keys.length);
  expect(bindingsOf({})).toEqual(BINDINGS);
});

it("leaves the space bar to a button, unless that was only clicked, and turning pages to lists", () => {
  document.body.innerHTML = "<button><span></span></button><p></p><ul class='scrolls'></ul>";
  const [button, span, text, list] = ["button", "span", "p", "ul"].map((one) =>
    document.querySelector(one),
  );
  const taken = (target: Element | null | undefined, pointed: Element | null, key = " ") => {
    let read = false;
    const listen = (event: KeyboardEvent) => (read = pressOf(event, pointed).taken);
    document.body.addEventListener("keydown", listen, { once: true });
    target?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    return read;
  };
  expect(taken(button, null)).toBe(true);
  expect(taken(span, null)).toBe(true);
  expect(taken(button, button ?? null)).toBe(false);
  expect(taken(button, null, "m")).toBe(false);
  expect(taken(text, null)).toBe(false);
  expect(taken(text, null, "PageDown")).toBe(false);
  expect(taken(list, null, "PageDown")).toBe(true);
});

it.each([
  [{ key: "Enter" }, true],
  [{ key: "Enter", shiftKey: true }, false],
  [{ key: "Enter", isComposing: true }, false],
  [{ key: "x" }, false],
])("%j sends a message: %s", (given, sends) => {
  expect(sendsMessage(new KeyboardEvent("keydown", given))).toBe(sends);
});

it.each([
  ["m", "m", {}],
  ["x", "x", { toggle_mute: "X" }],
  ["", undefined, { toggle_mute: "" }],
  ["", undefined, { toggle_camera: "m" }],
  [" ", "Space", { toggle_mute: " " }],
  ["+", "Plus", { toggle_mute: "+" }],
])("muting has the key %j, spelled %j, when chosen are %j", (key, spelled, chosen) => {
  expect(keyOf("toggle_mute", chosen)).toBe(key);
  expect(ariaKey(key)).toBe(spelled);
});
