import { expect, it } from "vitest";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import type { UiEvent } from "../generated/UiEvent";
import { SPEAKING_LEVEL, unit } from "./levels";
import { initialState, reduce, type State } from "./reduce";

const home = homeView();
const inCall = { ...home, call: callView([fakeMember(0), fakeMember(1)]) };
const calling = reduce(initialState, { type: "view", view: inCall });
const levels = (speaking: number[], microphone = 0, active_speaker: number | null = null) =>
  ({
    type: "levels",
    microphone,
    active_speaker,
    members: [2, 3].map((member) => ({ member, level: 0.3, speaking: speaking.includes(member) })),
  }) satisfies UiEvent;

it("tells who speaks, and forgets who left", () => {
  let state: State = reduce(calling, levels([2, 3], 0.5, 3));
  expect([...state.speaking]).toEqual([2, 3]);
  expect([state.speaks, state.active_speaker]).toEqual([true, 3]);
  const view = { ...home, call: callView([fakeMember(0)]) };
  state = reduce(state, { type: "view", view });
  expect([[...state.speaking], state.active_speaker]).toEqual([[2], null]);
  state = reduce(state, { type: "view", view: home });
  expect(state.speaking.size).toBe(0);
});

it("is the very same state while levels change nothing that is seen", () => {
  const state = reduce(calling, levels([2], 0.5, 2));
  expect(reduce(state, levels([2], 0.4, 2))).toBe(state);
  expect(reduce(state, { type: "view", view: inCall }).speaking).toBe(state.speaking);
  for (const other of [
    levels([3], 0.5, 2),
    levels([2], 0, 2),
    levels([2], 0.5, 3),
    levels([], 0.5, 2),
  ])
    expect(reduce(state, other)).not.toBe(state);
});

it.each([
  [7, 1],
  [-1, 0],
  [Number.NaN, 0],
  [SPEAKING_LEVEL, SPEAKING_LEVEL],
])("a level of %d is %d", (told, level) => {
  expect(unit(told)).toBe(level);
});
