import { expect, it } from "vitest";
import { holdsFiles } from "./paste";

it.each([
  ["files", ["Files"], "", true],
  ["files, as WebKitGTK tells", ["text/plain", "text/uri-list"], "", true],
  ["text", ["text/plain"], "", false],
  ["a link", ["text/plain", "text/uri-list"], "https://example.org/", false],
  ["cells of a table", ["text/plain", "text/html", "text/rtf", "Files"], "", false],
  ["nothing", [], "", false],
])("%s", (_, types, addresses, files) => {
  const getData = (type: string) => (type === "text/uri-list" ? addresses : "");
  expect(holdsFiles({ types, getData })).toBe(files);
});
