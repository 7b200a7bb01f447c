import { describe, expect, it } from "vitest";
import { callView, fakeMember } from "../backend/fake-scenes";
import { words } from "../words/words";
import { backend, click, find, get, sent, settle, show } from "./harness";

function commands() {
  return sent("care").map((one) => (one.type === "care" ? one.command : null));
}

describe("room care", () => {
  it("waits to be let in, and gives up", async () => {
    await show("knocking");
    expect(get("knocking").textContent).toContain(words.care.waiting);
    expect(find("call")).toBeNull();
    await click("leave-button");
    expect(sent("leave_call")).toHaveLength(1);
  });

  it("lets in and refuses, one by one", async () => {
    await show("knocks");
    expect(get("knocks").textContent).toContain(words.care.moreKnocks(2));
    await click("admit-1");
    await click("refuse-2");
    expect(commands()).toEqual([
      { action: "admit", knock: 1 },
      { action: "refuse", knock: 2 },
    ]);
    expect(find("knock-1")).toBeNull();
    expect(find("knock-5")).not.toBeNull();
  });

  it("asks to mute and leaves it to the person", async () => {
    await show("mute-question");
    expect(sent("set_muted")).toEqual([]);
    await click("keep-microphone");
    expect(commands()).toEqual([{ action: "keep_microphone" }]);
    expect(find("mute-question")).toBeNull();
    expect(sent("set_muted")).toEqual([]);
  });

  it("mutes by the person's own press", async () => {
    await show("mute-question");
    await click("mute-now");
    expect(sent("set_muted")).toEqual([{ type: "set_muted", muted: true }]);
    expect(find("mute-question")).toBeNull();
  });

  it("removes somebody, and locks the call first unless one says otherwise", async () => {
    await show("call-4");
    await click("room-menu");
    await click("remove-2");
    await click("remove-confirm");
    expect(commands()).toEqual([
      { action: "set_door", door: "locked" },
      { action: "remove", member: 2 },
    ]);
    await click("remove-3");
    await click("remove-lock");
    await click("remove-confirm");
    expect(commands().at(-1)).toEqual({ action: "remove", member: 3 });
    expect(commands()).toHaveLength(3);
    expect(get("room-menu").dataset.door).toBe("locked");
  });

  it("ends the call for everybody at the second press only", async () => {
    await show("call-4");
    await click("room-menu");
    await click("door-knock");
    await click("ask-all-mute");
    await click("make-host-4");
    await click("room-menu");
    expect(find("end-for-all")).toBeNull();
    backend.update({ call: callView([fakeMember(0)]) });
    await settle();
    await click("room-menu");
    await click("end-for-all");
    expect(get("end-for-all").textContent).toBe(words.care.endForAllSure);
    await click("end-for-all");
    expect(commands()).toEqual([
      { action: "set_door", door: "knock" },
      { action: "ask_to_mute", member: null },
      { action: "make_host", member: 4 },
      { action: "end_for_all" },
    ]);
    expect(get("ended").textContent).toContain(words.ended.ended);
    expect(find("join-again")).toBeNull();
  });

  it("offers the host's part in the list of people and on the tiles too", async () => {
    await show("call-4");
    await click("people-button");
    await click("menu-list-2");
    await click("list-ask-mute-2");
    expect(find("list-ask-mute-2")).toBeNull();
    // Who is muted need not be asked.
    await click("menu-3");
    expect(find("ask-mute-3")).toBeNull();
    await click("make-host-3");
    expect(commands()).toEqual([
      { action: "ask_to_mute", member: 2 },
      { action: "make_host", member: 3 },
    ]);
    await click("menu-2");
    expect(find("make-host-2")).toBeNull();
    expect(find("people-ask-all-mute")).toBeNull();
  });

  it("removes from the list of people after asking", async () => {
    await show("call-4");
    await click("people-button");
    await click("people-ask-all-mute");
    await click("menu-list-4");
    await click("list-remove-4");
    await click("remove-confirm");
    expect(commands()).toEqual([
      { action: "ask_to_mute", member: null },
      { action: "set_door", door: "locked" },
      { action: "remove", member: 4 },
    ]);
    expect(find("person-4")).toBeNull();
  });

  it("says who is host to those who are not", async () => {
    await show("mute-question");
    await click("room-menu");
    expect(get("room-panel").textContent).toContain(words.care.doors.locked);
    expect(find("end-for-all")).toBeNull();
  });

  it("tells who was removed", async () => {
    await show("removed");
    expect(get("ended").textContent).toContain(words.ended.removed);
    expect(get("error").dataset.code).toBe("removed");
    expect(find("join-again")).toBeNull();
  });
});
