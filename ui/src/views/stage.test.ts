import { describe, expect, it, vi } from "vitest";
import { callView, fakeMember } from "../backend/fake-scenes";
import { BINDINGS } from "../input/keys";
import { savePreferences } from "../state/preferences";
import { words } from "../words/words";
import { backend, click, find, get, letGo, press, sent, settle, show } from "./harness";

const muted = () => sent("set_muted").map((one) => "muted" in one && one.muted);
const grid = () => document.querySelector<HTMLElement>(".grid");
const tiles = () => document.querySelectorAll(".grid [data-drawn-frames]").length;

/** A call of `count` others, with nothing moving by itself. */
async function crowd(count: number) {
  await show("call-4");
  backend.close();
  const members = Array.from({ length: count }, (_, at) => fakeMember(at));
  backend.update({ call: callView(members) });
  await settle();
}

describe("push-to-talk", () => {
  it("unmutes while held, and on letting go or losing the window mutes again", async () => {
    await show("call-4");
    await press(" ");
    await letGo(" ");
    expect(muted()).toEqual([]);
    await press("m");
    await press(" ");
    await press(" ");
    expect(muted()).toEqual([true, false]);
    await letGo(" ");
    expect(muted()).toEqual([true, false, true]);
    await press(" ");
    window.dispatchEvent(new Event("blur"));
    await letGo(" ");
    expect(muted()).toEqual([true, false, true, false, true]);
  });

  it("leaves the space bar to a button that has the focus, and to typing", async () => {
    await show("call-4");
    await press("m");
    await press(" ", get("hand-button"));
    await click("chat-button");
    await press(" ", get("chat-input"));
    expect(muted()).toEqual([true]);
    get("hand-button").dispatchEvent(new Event("pointerdown", { bubbles: true }));
    await press(" ", get("hand-button"));
    expect(muted()).toEqual([true, false]);
  });

  it("mutes when the call ends while it is held", async () => {
    await show("call-4");
    await press("m");
    await press(" ");
    backend.update({ call: null });
    await settle();
    expect(muted()).toEqual([true, false, true]);
  });
});

it("tells who speaks while muted, until they stop or unmute", async () => {
  await show("call-1");
  backend.close();
  await press("m");
  const speak = async (microphone: number) => {
    for (let step = 0; step < 12; step += 1) {
      backend.send({ type: "levels", microphone, members: [], active_speaker: null });
      await settle(100);
    }
  };
  await speak(0.01);
  expect(find("muted-hint")).toBeNull();
  await speak(0.5);
  expect(get("muted-hint").textContent).toContain(words.stage.unheard("M", "Space"));
  await press("m");
  await speak(0.5);
  expect(find("muted-hint")).toBeNull();
});

describe("pages", () => {
  it("turn by key, button and dot; only what is on the page is there", async () => {
    vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(464);
    vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(480);
    await crowd(40);
    expect(tiles()).toBeLessThan(20);
    expect(find("tile-2")).not.toBeNull();
    expect(find("tile-self")).not.toBeNull();
    await press("PageDown");
    expect(find("tile-2")).toBeNull();
    expect(find("tile-self")).toBeNull();
    expect(get("page-1").getAttribute("aria-current")).toBe("page");
    expect(get("announcer").textContent).toContain("2");
    await press("PageUp");
    await press("PageUp");
    expect((get("previous-page") as HTMLButtonElement).disabled).toBe(true);
    await click("next-page");
    expect(find("tile-2")).toBeNull();
    await click("page-0");
    expect(find("tile-2")).not.toBeNull();
    expect(find("tile-41")).toBeNull();
    backend.sendSpeakers([41], 41);
    await settle();
    expect(find("tile-41")).not.toBeNull();
  });

  it("are not there where everybody fits", async () => {
    await crowd(8);
    expect(find("pager")).toBeNull();
    expect(tiles()).toBe(9);
  });
});

describe("pinning", () => {
  it("by menu, by double click, by list; letting go likewise", async () => {
    await crowd(3);
    await click("menu-3");
    await click("pin-3");
    expect(grid()?.dataset.main).toBe("3/camera");
    expect(get("tile-3").getAttribute("aria-label")).toContain(words.call.pinned);
    const twice = () => get("tile-4").dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
    twice();
    await settle();
    expect(grid()?.dataset.main).toBe("4/camera");
    twice();
    await settle();
    expect(grid()?.dataset.main).toBeUndefined();
    await press("p");
    await click("list-pin-button-self");
    expect(get("tile-self").dataset.pinned).toBe("true");
    await press("g");
    expect(grid()?.dataset.main).toBeUndefined();
    await press("g");
    expect(grid()?.dataset.main).toBe("2/camera");
  });

  it("is not offered where there is nobody to choose from", async () => {
    await crowd(1);
    await click("menu-2");
    expect(find("volume-2")).not.toBeNull();
    expect(find("pin-2")).toBeNull();
  });
});

describe("one's own picture", () => {
  it("moves from corner to corner by arrow keys, which is kept", async () => {
    await show("call-2");
    expect(get("floating").dataset.corner).toBe("bottom_right");
    await press("ArrowUp", get("move-self"));
    await press("ArrowLeft", get("move-self"));
    expect(get("floating").dataset.corner).toBe("top_left");
    expect(localStorage.getItem("visavis.call-window")).toContain("top_left");
  });

  it("is hidden and shown by key and menu", async () => {
    await crowd(3);
    await press("o");
    expect(find("tile-self")).toBeNull();
    await press("p");
    await click("menu-list-self");
    await click("list-self-view");
    expect(find("tile-self")).not.toBeNull();
  });
});

describe("the call window", () => {
  it("begins with one's own picture where it was", async () => {
    savePreferences({ corner: "top_right", self_view: true, layout: "grid" });
    await show("call-2");
    expect(get("floating").dataset.corner).toBe("top_right");
  });

  it("begins with the view it had, and without one's picture if that was hidden", async () => {
    savePreferences({ corner: "top_right", self_view: false, layout: "speaker" });
    await show("call-4");
    expect(find("tile-self")).toBeNull();
    expect(grid()?.dataset["main"]).toBe("2/camera");
  });
});

describe("the list of people", () => {
  it("names everybody, oneself first, and takes the place of the chat", async () => {
    await show("volumes");
    await click("chat-button");
    await press("p");
    expect(find("chat-panel")).toBeNull();
    const rows = [...get("people-panel").querySelectorAll("li")];
    expect(rows.map((row) => row.dataset.testid)).toEqual([
      "person-self",
      "person-2",
      "person-3",
      "person-4",
    ]);
    expect(rows[2]?.textContent).toContain(words.call.muted);
    await click("menu-list-2");
    await click("list-mute-here-2");
    expect(sent("set_member_muted_here")).toHaveLength(1);
    await press("Escape");
    expect(find("people-panel")).not.toBeNull();
    await press("Escape", get("people-panel"));
    expect(find("people-panel")).toBeNull();
    expect(document.activeElement).toBe(get("people-button"));
  });
});

it("shows one person in a small window, and asks for one", async () => {
  await show("call-4");
  await press("w");
  expect(sent("set_mini")).toEqual([{ type: "set_mini", on: true }]);
  vi.stubGlobal("innerWidth", 320);
  vi.stubGlobal("innerHeight", 180);
  window.dispatchEvent(new Event("resize"));
  await settle();
  expect(find("call")).toBeNull();
  expect(get("mini").querySelectorAll("[data-drawn-frames]")).toHaveLength(1);
  await click("leave-mini");
  expect(sent("set_mini").at(-1)).toEqual({ type: "set_mini", on: false });
  vi.unstubAllGlobals();
});

it("makes the window large again when the call ends", async () => {
  await show("call-4");
  await press("w");
  await click("leave-button");
  expect(sent("set_mini").at(-1)).toEqual({ type: "set_mini", on: false });
});

it("shows every key there is, and every one does what it says", async () => {
  await show("call-4");
  await press("?");
  const shown = [...get("help").querySelectorAll("li")];
  expect(shown.map((row) => row.dataset.action)).toEqual(BINDINGS.map((one) => one.action));
  for (const row of shown) expect(row.textContent).not.toContain("undefined");
});
