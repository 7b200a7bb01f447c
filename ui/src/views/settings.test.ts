import { afterEach, describe, expect, it, vi } from "vitest";
import { VERSION } from "../version";
import { de } from "../words/de";
import { en } from "../words/en";
import { setLanguage } from "../words/language.svelte";
import { backend, click, find, get, press, sent, settle, show } from "./harness";

afterEach(() => {
  setLanguage(null);
});

async function choose(testid: string, value: string) {
  const select = get(testid) as HTMLSelectElement;
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  await settle();
}

describe("settings", () => {
  it("open by button and key, close by key, and stand in the call too", async () => {
    await show("call-4");
    await click("settings-button");
    expect(find("settings")).not.toBeNull();
    await press("Escape");
    expect(find("settings")).toBeNull();
    await press(",");
    expect(find("settings")).not.toBeNull();
    await click("tab-devices");
    expect(find("speaker-select")).not.toBeNull();
    // The test of one's sound is not for a call.
    expect(find("sound-test")).toBeNull();
  });

  it("move among tabs by keys", async () => {
    await show("home");
    await press(",");
    const tab = get("tab-general");
    expect(tab.getAttribute("aria-selected")).toBe("true");
    await press("ArrowUp", tab);
    expect(get("tab-help").getAttribute("aria-selected")).toBe("true");
    expect(get("tab-general").tabIndex).toBe(-1);
    await click("settings-save-report");
    expect(sent("save_report")).toHaveLength(1);
    expect(get("version").textContent).toBe(en.settings.version(VERSION));
    await press("Home", get("tab-help"));
    expect(find("language-select")).not.toBeNull();
  });

  it("switch the language at once, with the tray's", async () => {
    await show("home");
    await press(",");
    await choose("language-select", "de");
    expect(get("start-call").textContent.trim()).toBe(de.home.start);
    expect(get("tab-general").textContent).toBe(de.settings.tabs.general);
    expect(sent("name_tray").at(-1)).toMatchObject({ leave: de.controls.leave });
    await choose("language-select", "en");
    expect(get("start-call").textContent.trim()).toBe(en.home.start);
  });

  it("change one choice and keep the others", async () => {
    await show("home");
    await press(",");
    await choose("theme-select", "dark");
    expect(document.documentElement.dataset.theme).toBe("dark");
    await click("notifications");
    expect(sent("set_choices").at(-1)).toMatchObject({
      choices: { theme: "dark", notifications: false, keep_rooms: true },
    });
    await choose("theme-select", "light");
    expect(document.documentElement.dataset.theme).toBe("light");
    await click("tab-keys");
    await click("global-mute");
    expect(sent("set_choices").at(-1)).toMatchObject({
      choices: { theme: "light", notifications: false, global_mute: true },
    });
  });
});

describe("keys", () => {
  it("are given to other actions, taken away and given back", async () => {
    await show("call-4");
    await press(",");
    await click("tab-keys");
    await press("x", get("key-toggle_mute"));
    expect(sent("set_choices")).toEqual([]);
    await click("key-toggle_mute");
    expect(get("key-toggle_mute").textContent.trim()).toBe(en.settings.pressKey);
    await press("X", get("key-toggle_mute"));
    expect(get("key-toggle_mute").textContent.trim()).toBe("X");
    await click("key-toggle_chat");
    await press("Delete", get("key-toggle_chat"));
    expect(get("key-toggle_chat").textContent.trim()).toBe(en.settings.noKey);
    await press("Escape");
    await press("m");
    expect(sent("set_muted")).toEqual([]);
    await press("x");
    expect(sent("set_muted")).toHaveLength(1);
    expect(get("mute-button").title).toBe("Unmute (X)");
    expect(get("mute-button").getAttribute("aria-keyshortcuts")).toBe("x");
    expect(get("chat-button").title).toBe(en.controls.chat);
    expect(get("chat-button").hasAttribute("aria-keyshortcuts")).toBe(false);
    await press(",");
    await click("tab-keys");
    await click("reset-keys");
    expect(get("key-toggle_mute").textContent.trim()).toBe("M");
  });
});

describe("recent calls", () => {
  it("are joined again, and forgotten one by one or all", async () => {
    await show("rooms");
    expect(get("room-K7MQ-2X9D-RTB4").textContent).toContain("with Ada, Ben Okafor");
    await click("forget-T0WN-HA11-2026");
    expect(find("room-T0WN-HA11-2026")).toBeNull();
    await click("room-K7MQ-2X9D-RTB4");
    expect(sent("join_call")).toEqual([{ type: "join_call", code: "K7MQ-2X9D-RTB4" }]);
    await show("rooms");
    await click("forget-rooms");
    expect(find("rooms")).toBeNull();
  });

  it("are forgotten where they are not wanted", async () => {
    await show("rooms");
    await press(",");
    await click("keep-rooms");
    expect(find("rooms")).toBeNull();
  });
});

describe("questions of the desktop", () => {
  it("ask before an invite is joined", async () => {
    await show("invited");
    expect(get("invited").textContent).toContain("9GNS-63PV-A0KE");
    expect(get("invited").textContent).toContain(en.invited.leaves);
    expect(sent("join_call")).toEqual([]);
    await click("invited-yes");
    expect(sent("leave_call")).toHaveLength(1);
    expect(sent("join_call")).toEqual([{ type: "join_call", code: "9GNS-63PV-A0KE" }]);
    backend.send({ type: "invited", code: "K7MQ-2X9D-RTB4" });
    await settle();
    await click("invited-no");
    expect(find("invited")).toBeNull();
    expect(sent("join_call")).toHaveLength(1);
  });

  it("refuse what is no invite", async () => {
    await show("home");
    backend.send({ type: "invited", code: "visavis://join/nope" });
    await settle();
    expect(find("invited")).toBeNull();
    expect(get("error").textContent).toBe(en.errors.code_invalid);
  });

  it("ask before a call is closed", async () => {
    await show("closing");
    await click("closing-no");
    expect(sent("answer_closing")).toEqual([{ type: "answer_closing", close: false }]);
    backend.send({ type: "closing" });
    await settle();
    backend.update({ call: null });
    await settle();
    expect(find("closing")).toBeNull();
  });
});

describe("notices", () => {
  it("tell what happens while the person looks elsewhere, if they want", async () => {
    await show("call-4");
    const looks = vi.spyOn(document, "hasFocus").mockReturnValue(true);
    const message = { id: "1", order: "1", from: 2, name: "Ada", mine: false, text: "Hello" };
    const say = async (id: string) => {
      backend.say({ ...message, id, order: id, sent_at_ms: 0, delivery: "delivered" });
      await settle();
    };
    await say("1");
    expect(sent("notify")).toEqual([]);
    looks.mockReturnValue(false);
    await say("2");
    expect(sent("notify")).toEqual([{ type: "notify", title: "Ada", body: "Hello" }]);
    await press(",");
    await click("notifications");
    await say("3");
    expect(sent("notify")).toHaveLength(1);
  });
});

it("shows the invite as a QR code", async () => {
  await show("call-1");
  expect(find("qr")).toBeNull();
  await click("toggle-qr");
  expect(get("qr").getAttribute("aria-label")).toBe(en.invite.qr);
  expect(get("toggle-qr").getAttribute("aria-expanded")).toBe("true");
});

it("shows the invite to those who are not alone in the list of people", async () => {
  await show("call-4");
  await click("people-button");
  expect(find("people-copy-link")).not.toBeNull();
  await click("toggle-qr");
  expect(find("qr")).not.toBeNull();
});
