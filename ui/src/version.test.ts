import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, it } from "vitest";
import { VERSION } from "./version";

it("is the version of the programs", () => {
  const cargo = readFileSync(resolve(import.meta.dirname, "../../Cargo.toml"), "utf8");
  const { version } = /^version = "(?<version>[^"]+)"$/m.exec(cargo)?.groups ?? {};
  expect(VERSION).toBe(version);
});
