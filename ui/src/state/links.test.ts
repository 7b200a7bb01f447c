import { describe, expect, it } from "vitest";
import { MOST_LINK_CHARS, safeUrl, segmentsOf } from "./links";

const links = (text: string) =>
  segmentsOf(text).flatMap((one) => (one.kind === "link" ? [one.text] : []));

it.each([
  ["see https://example.org", ["https://example.org"]],
  ["https://a.example/x and http://b.example/y", ["https://a.example/x", "http://b.example/y"]],
  ["Is it https://example.org/a?b=c#d?", ["https://example.org/a?b=c#d"]],
  ["(https://example.org/a)", ["https://example.org/a"]],
  ["https://example.org/wiki/A_(b), or", ["https://example.org/wiki/A_(b)"]],
  ["<https://example.org/x>", ["https://example.org/x"]],
  ["“https://example.org/x”…", ["https://example.org/x"]],
  ["HTTPS://EXAMPLE.ORG/X", ["HTTPS://EXAMPLE.ORG/X"]],
  ["https://bücher.example/ü", ["https://bücher.example/ü"]],
  ["line\nhttps://example.org\nline", ["https://example.org"]],
  ["javascript:alert(1)", []],
  ["file:///etc/passwd ftp://example.org", []],
  ["data:text/html,x xhttps://example.org", []],
  ["https://", []],
  ["https://bank.example@evil.example/", []],
  ["www.example.org", []],
  [`https://example.org/${"x".repeat(MOST_LINK_CHARS)}`, []],
] as [string, string[]][])("%j has the links %j", (text, expected) => {
  expect(links(text)).toEqual(expected);
});

describe("segments", () => {
  it.each([
    "",
    "plain",
    "https://example.org.",
    "a https://x.example b https://y.example",
    "x\n\n",
  ])("of %j are the text again", (text) => {
    expect(
      segmentsOf(text)
        .map((one) => one.text)
        .join(""),
    ).toBe(text);
  });

  it("open what is shown, escaped", () => {
    expect(segmentsOf("https://example.org/ü")).toEqual([
      { kind: "link", text: "https://example.org/ü", url: "https://example.org/%C3%BC" },
    ]);
  });
});

it("does not take markup for anything but text", () => {
  expect(segmentsOf("<img src=x onerror=alert(1)>")).toEqual([
    { kind: "text", text: "<img src=x onerror=alert(1)>" },
  ]);
  expect(safeUrl("https://user:secret@example.org")).toBeNull();
});
