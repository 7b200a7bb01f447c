import { expect, it } from "vitest";
import { draftOf, MOST_CHARS } from "./draft";

it.each([
  ["", "", false, null],
  [" \n ", "", false, null],
  ["  hello\n", "hello", true, null],
  ["x".repeat(MOST_CHARS - 401), "x".repeat(MOST_CHARS - 401), true, null],
  ["x".repeat(MOST_CHARS - 400), "x".repeat(MOST_CHARS - 400), true, 400],
  ["🌿".repeat(MOST_CHARS), "🌿".repeat(MOST_CHARS), true, 0],
  ["x".repeat(MOST_CHARS + 2), "x".repeat(MOST_CHARS + 2), false, -2],
])("%# is sent as it should", (typed, text, sendable, left) => {
  expect(draftOf(typed)).toEqual({ text, sendable, left });
});
