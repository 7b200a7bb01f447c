import { expect, it } from "vitest";
import { checkServer } from "./server";

it.each([
  ["", ""],
  ["   ", ""],
  ["calls.example", "wss://calls.example"],
  ["calls.example:8443", "wss://calls.example:8443"],
  [" wss://Calls.Example/ ", "wss://calls.example"],
  ["ws://192.168.1.4:8080", "ws://192.168.1.4:8080"],
  ["ws://[::1]:8080", "ws://[::1]:8080"],
])("%j is accepted as %j", (typed, url) => {
  expect(checkServer(typed)).toEqual({ kind: "ok", url });
});

it.each([
  "https://calls.example",
  "ws://",
  "calls example",
  "ws://a:b@c",
  "ws://c/path",
  "wss://c?q",
])("%j is refused", (typed) => {
  expect(checkServer(typed)).toEqual({ kind: "invalid" });
});
