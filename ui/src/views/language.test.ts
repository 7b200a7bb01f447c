import { afterEach, expect, it } from "vitest";
import { de } from "../words/de";
import { en } from "../words/en";
import { setLanguage } from "../words/language.svelte";
import { words } from "../words/words";
import { get, settle, show } from "./harness";

afterEach(() => {
  setLanguage(null);
});

it("changes what is on screen at once", async () => {
  await show("home");
  expect(get("start-call").textContent.trim()).toBe(en.home.start);
  setLanguage("de");
  await settle();
  expect(get("start-call").textContent.trim()).toBe(de.home.start);
  expect(get("voice").textContent).toContain("Alles an");
  expect(document.documentElement.lang).toBe("de");
  setLanguage("en");
  await settle();
  expect(get("start-call").textContent.trim()).toBe(en.home.start);
  expect(words.errors).toBe(en.errors);
});
