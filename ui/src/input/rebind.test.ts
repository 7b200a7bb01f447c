import { expect, it } from "vitest";
import { reboundOf } from "./rebind";

it.each([
  ["X", false, { kind: "set", key: "x" }],
  ["F8", false, { kind: "set", key: "F8" }],
  [" ", false, { kind: "set", key: " " }],
  ["Delete", false, { kind: "set", key: "" }],
  ["Escape", false, { kind: "cancel" }],
  ["Tab", false, { kind: "cancel" }],
  ["Shift", false, { kind: "wait" }],
  ["c", true, { kind: "wait" }],
])("%j (modified: %j) is %j", (key, modified, want) => {
  expect(reboundOf(key, modified)).toEqual(want);
});
