import { describe, expect, it } from "vitest";
import { fakeMessage } from "../backend/fake-chat";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import {
  dismissFailure,
  endReaction,
  initialState,
  MOST_REACTIONS,
  openChat,
  reduce,
  type State,
} from "./reduce";

const home = homeView();
const inCall = { ...home, call: callView([fakeMember(0)]) };
const seen = (view = home): State => reduce(initialState, { type: "view", view });

describe("reduce", () => {
  it("replaces the view", () => {
    const state = reduce(seen(), { type: "view", view: inCall });
    expect(state.view).toBe(inCall);
  });

  it("numbers failures, so that dismissing an old one spares a new one", () => {
    const first = reduce(seen(), { type: "failed", code: "camera_busy" });
    const second = reduce(first, { type: "failed", code: "camera_busy" });
    expect(dismissFailure(second, first.failure?.serial ?? 0).failure).toEqual(second.failure);
    expect(dismissFailure(second, second.failure?.serial ?? 0).failure).toBeNull();
  });

  it("forgets a failure once a call begins, not at every view", () => {
    const failed = reduce(seen(), { type: "failed", code: "code_invalid" });
    expect(reduce(failed, { type: "view", view: home }).failure).not.toBeNull();
    expect(reduce(failed, { type: "view", view: inCall }).failure).toBeNull();
  });

  it("keeps chat and whether it is open until the call is over", () => {
    let state = openChat(seen(inCall), true);
    state = reduce(state, { type: "chat", reset: true, messages: [fakeMessage("hello")] });
    expect(reduce(state, { type: "view", view: inCall }).chat).toEqual(state.chat);
    state = reduce(state, { type: "view", view: home });
    expect(state.chat.messages).toEqual([]);
    expect(state.chat.open).toBe(false);
    expect(state.chat.known.size).toBe(0);
  });

  it("lets reactions float until they end, a bounded number of them", () => {
    let state = seen(inCall);
    for (let at = 0; at < MOST_REACTIONS + 3; at += 1) {
      state = reduce(state, { type: "reaction", member: 2, emoji: "👏" });
    }
    expect(state.reactions).toHaveLength(MOST_REACTIONS);
    expect(state.reactions.at(-1)?.serial).toBe(MOST_REACTIONS + 3);
    const first = state.reactions[0]?.serial ?? 0;
    expect(endReaction(state, first).reactions).toHaveLength(MOST_REACTIONS - 1);
    expect(reduce(state, { type: "view", view: home }).reactions).toEqual([]);
  });

  it("changes nothing for a frame epoch", () => {
    const state = seen();
    expect(reduce(state, { type: "frame_epoch", epoch: 4 })).toBe(state);
  });
});
