import { describe, expect, it } from "vitest";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import { FAKE_CHOICE, FAKE_SHARES } from "../backend/fake-shares";
import type { CallView } from "../generated/CallView";
import type { ShareOption } from "../generated/ShareOption";
import { initialState, reduce, type State } from "./reduce";
import { callTiles, framesExpected } from "./select";
import { onlyShare, optionsOf, ownShare, sharers, shownShare } from "./shares";

const calling = (sharing: boolean[], more: Partial<CallView> = {}): State => {
  const members = sharing.map((shares, at) => fakeMember(at, { sharing: shares }));
  const view = { ...homeView(), call: callView(members, more) };
  return reduce(initialState, { type: "view", view });
};

describe("what others share", () => {
  it("is shown by whom it was chosen of, else who joined last", () => {
    const state = calling([true, false, true]);
    expect(sharers(state).map((one) => one.member)).toEqual([2, 4]);
    expect(shownShare(state, null)?.member).toBe(4);
    expect(shownShare(state, 2)?.member).toBe(2);
    // Who was chosen does not share any more.
    expect(shownShare(state, 3)?.member).toBe(4);
    expect(shownShare(calling([false]), 2)).toBeNull();
    expect(sharers(initialState)).toEqual([]);
  });

  it("leaves no room for a picture that floats", () => {
    expect(callTiles(calling([false])).floating).not.toBeNull();
    const beside = callTiles(calling([true]));
    expect([beside.floating, beside.others.length, beside.self?.self]).toEqual([null, 1, true]);
  });

  it("makes frames expected, also while nothing changes on it", () => {
    const dark = { camera_on: false, codec: null } as const;
    const view = { ...homeView(), camera_on: false };
    const seen = (sharing: boolean) => {
      const call = callView([fakeMember(0, { ...dark, sharing })]);
      return framesExpected(reduce(initialState, { type: "view", view: { ...view, call } }));
    };
    expect([seen(false), seen(true)]).toEqual([false, true]);
  });
});

describe("what oneself shares", () => {
  const share = (state: "starting" | "running") => ({ id: "screen:HDMI-1", state: { state } });

  it("has the name it was listed with", () => {
    expect(ownShare(calling([]))).toBeNull();
    const running = calling([false], { share: share("running") });
    expect(ownShare(running)).toEqual({ name: null, starting: false, choosing: false });
    const listed = reduce(running, { type: "shares", options: FAKE_SHARES });
    expect(ownShare(listed)).toEqual({ name: "HDMI-1", starting: false, choosing: false });
    expect(ownShare(calling([false], { share: share("starting") }))?.starting).toBe(true);
  });

  it("is chosen in the system's dialog where there is nothing else", () => {
    const listed = (options: ShareOption[]) =>
      reduce(calling([false], { share: { id: "chosen", state: { state: "starting" } } }), {
        type: "shares",
        options,
      });
    expect(onlyShare(listed([FAKE_CHOICE]))).toBe("chosen");
    expect(onlyShare(listed([FAKE_CHOICE, ...FAKE_SHARES]))).toBeNull();
    expect(onlyShare(listed(FAKE_SHARES.slice(0, 1)))).toBeNull();
    expect(onlyShare(initialState)).toBeNull();
    expect(ownShare(listed([FAKE_CHOICE]))).toEqual({ name: null, starting: true, choosing: true });
  });

  it("is chosen among screens and windows", () => {
    const listed = reduce(initialState, { type: "shares", options: FAKE_SHARES });
    expect(optionsOf(listed, "screen").map((one) => one.name)).toEqual(["DP-1", "HDMI-1"]);
    expect(optionsOf(listed, "window")).toHaveLength(2);
    expect(optionsOf(initialState, "screen")).toEqual([]);
  });
});
