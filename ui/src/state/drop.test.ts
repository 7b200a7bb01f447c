import { describe, expect, it } from "vitest";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import type { CallView } from "../generated/CallView";
import { dropHint, dropPlan, nameOfPath } from "./drop";
import { initialState, reduce } from "./reduce";

const members = [fakeMember(0), fakeMember(1)];
const over = (call: CallView | null) => {
  const state = reduce(initialState, { type: "view", view: { ...homeView(), call } });
  return reduce(state, { type: "dragging", over: true });
};

describe("files held over the window", () => {
  it.each([
    ["no call", null, null, "refuse"],
    ["nobody else", callView([]), { kind: "nobody" }, "refuse"],
    ["one other", callView(members.slice(0, 1)), { kind: "one", name: "Ada" }, "send"],
    ["several", callView(members), { kind: "several" }, "ask"],
    ["an ended call", callView(members, { phase: { phase: "ended", code: null } }), null, "refuse"],
  ] as const)("%s", (_, call, hint, plan) => {
    const state = over(call);
    expect(dropHint(state)).toEqual(hint);
    expect(dropPlan(state).kind).toBe(plan);
    expect(dropHint(reduce(state, { type: "dragging", over: false }))).toBeNull();
  });

  it("are sent to the only one there by their id, so that who joins meanwhile gets nothing", () => {
    expect(dropPlan(over(callView(members.slice(0, 1))))).toEqual({ kind: "send", to: 2 });
  });

  it("are kept until it is said who gets them, and not into another call", () => {
    const state = reduce(over(callView(members)), { type: "dropped", paths: ["/a", "/b"] });
    expect(state.dragging).toBe(false);
    expect(state.dropped).toEqual(["/a", "/b"]);
    expect(reduce(state, { type: "view", view: homeView() }).dropped).toEqual([]);
  });
});

it.each([
  ["/data/mina/Plan.pdf", "Plan.pdf"],
  ["/data/mina/Photos/", "Photos"],
  ["C:\\Users\\Mina\\Plan.pdf", "Plan.pdf"],
  ["/", "/"],
])("%s is called %s", (path, name) => {
  expect(nameOfPath(path)).toBe(name);
});
