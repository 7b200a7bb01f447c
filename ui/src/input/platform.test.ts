import { expect, it } from "vitest";
import { deviceProblem } from "../words/problem";
import { words } from "../words/words";
import { platformOf } from "./platform";

it.each([
  ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605", "linux"],
  ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", "macos"],
  ["Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Edg/120", "windows"],
  ["", "linux"],
])("tells the system of %j", (userAgent, platform) => {
  expect(platformOf(userAgent)).toBe(platform);
});

it("says how a device is allowed on this system", () => {
  const denied = deviceProblem({ state: "failed", code: "camera_denied" });
  expect(denied).toContain(words.errors.camera_denied);
  expect(denied).toContain(words.allow[platformOf(navigator.userAgent)].camera);
  expect(deviceProblem({ state: "failed", code: "camera_busy" })).toBe(words.errors.camera_busy);
});
