import { expect, it } from "vitest";
import { tabAfter } from "./tabs";

it.each([
  ["a", "ArrowDown", "b"],
  ["c", "ArrowRight", "a"],
  ["a", "ArrowUp", "c"],
  ["b", "ArrowLeft", "a"],
  ["b", "Home", "a"],
  ["b", "End", "c"],
  ["b", "Enter", null],
])("from %s %s leads to %s", (chosen, key, next) => {
  expect(tabAfter(["a", "b", "c"], chosen, key)).toBe(next);
});
