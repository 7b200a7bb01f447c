import { expect, it } from "vitest";
import { FAKE_CHOICE, FAKE_SHARES } from "../backend/fake-shares";
import { words } from "../words/words";
import { backend, click, find, get, press, sent, settle, show } from "./harness";

it("shares what is chosen, says so, and stops", async () => {
  await show("call-4");
  await click("share-button");
  expect(sent("list_shares")).toHaveLength(1);
  const options = [...document.querySelectorAll<HTMLElement>('[data-testid="share-option"]')];
  expect(options.map((one) => one.dataset["id"])).toContain("window:2a00007");
  options[1]?.click();
  await settle();
  expect(sent("start_share")).toEqual([{ type: "start_share", id: "screen:HDMI-1" }]);
  expect(find("share-dialog")).toBeNull();
  expect(get("share-bar").textContent).toContain("HDMI-1");
  expect(get("share-button").getAttribute("aria-pressed")).toBe("true");
  await press("s");
  expect(sent("stop_share")).toHaveLength(1);
  expect(find("share-bar")).toBeNull();
});

it("leaves the choice to the system's dialog, at once where there is no other", async () => {
  await show("call-2");
  await press("s");
  backend.send({ type: "shares", options: [FAKE_CHOICE, ...FAKE_SHARES] });
  await settle();
  expect(get("share-option").textContent).toContain(words.share.byDialog);
  expect(get("share-option").textContent).not.toContain("×");
  expect(sent("start_share")).toHaveLength(0);
  backend.send({ type: "shares", options: [FAKE_CHOICE] });
  await settle();
  expect(sent("start_share")).toEqual([{ type: "start_share", id: "chosen" }]);
  expect(find("share-dialog")).toBeNull();
  // What was listed for the next time alone begins nothing.
  backend.send({ type: "shares", options: [FAKE_CHOICE] });
  await settle();
  expect(sent("start_share")).toHaveLength(1);
});

it("says where nothing can be shared", async () => {
  await show("call-2");
  await press("s");
  backend.send({ type: "shares", options: [] });
  await settle();
  expect(get("share-none").textContent).toBe(words.share.none);
});

it("shows a screen beside the people, and lets choose between several", async () => {
  await show("screens");
  expect(find("screen-3")).not.toBeNull();
  expect(find("tile-2")).not.toBeNull();
  const tabs = [...get("share-tabs").querySelectorAll("button")];
  expect(tabs.map((tab) => tab.getAttribute("aria-pressed"))).toEqual(["false", "true"]);
  tabs[0]?.click();
  await settle();
  expect(find("screen-2")).not.toBeNull();
  expect(find("screen-3")).toBeNull();
  await settle(1000);
  const shown = sent("set_visible_tiles").at(-1);
  expect(shown).toBeDefined();
});
