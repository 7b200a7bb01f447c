import { expect, it } from "vitest";
import { isMini } from "./mini";

it.each([
  [1280, 800, false],
  [340, 260, false],
  [339, 600, true],
  [900, 259, true],
])("%i×%i is a mini window: %s", (width, height, mini) => {
  expect(isMini({ width, height })).toBe(mini);
});
