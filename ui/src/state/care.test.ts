import { describe, expect, it } from "vitest";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import type { CareView } from "../generated/CareView";
import { asksToMute, canJoinAgain, endedTitle, hostName, isHost, knocksOf } from "./care";
import { initialState } from "./reduce";

function care(more: Partial<CareView> = {}): CareView {
  return { host: 1, door: "open", knocks: [], asked_to_mute: false, ...more };
}

function state(more: Partial<CareView>, muted = false) {
  const call = callView([fakeMember(0)], { care: care(more) });
  return { ...initialState, view: { ...homeView(), muted, call } };
}

describe("care", () => {
  it("knows the host", () => {
    const members = [fakeMember(0)];
    expect(isHost(callView(members, { care: care() }))).toBe(true);
    expect(isHost(callView(members, { care: care({ host: 2 }) }))).toBe(false);
    expect(isHost(callView([], { me: null, care: care({ host: null }) }))).toBe(false);
    expect(isHost(null)).toBe(false);
    expect(hostName(callView(members, { care: care({ host: 2 }) }))).toBe(members[0]?.name);
    expect(hostName(callView(members, { care: care() }))).toBeNull();
  });

  it("shows a few knocks and counts the others", () => {
    const knocks = Array.from({ length: 5 }, (_, knock) => ({ knock, name: "Zoë" }));
    expect(knocksOf(state({ knocks }))).toEqual({ shown: knocks.slice(0, 3), more: 2 });
    expect(knocksOf(state({ knocks: knocks.slice(0, 1) })).more).toBe(0);
    expect(knocksOf(initialState)).toEqual({ shown: [], more: 0 });
  });

  it("asks to mute only who is heard", () => {
    expect(asksToMute(state({ asked_to_mute: true }))).toBe(true);
    expect(asksToMute(state({ asked_to_mute: true }, true))).toBe(false);
    expect(asksToMute(state({}))).toBe(false);
    expect(asksToMute(initialState)).toBe(false);
  });

  it("calls ends by their names", () => {
    expect(endedTitle(null)).toBe("title");
    expect(endedTitle("removed")).toBe("removed");
    expect(endedTitle("call_ended")).toBe("ended");
    expect(endedTitle("room_locked")).toBe("refused");
    expect(endedTitle("not_admitted")).toBe("refused");
    expect(endedTitle("room_full")).toBe("failed");
    expect(
      [null, "room_locked", "removed", "call_ended"].map((it) => canJoinAgain(it as never)),
    ).toEqual([true, true, false, false]);
  });
});
