import { describe, expect, it } from "vitest";
import { fakeMessage, ownMessage } from "../backend/fake-chat";
import { SELF_MEMBER } from "../video/header";
import { GROUP_PAUSE_MS, groupMessages } from "./groups";

const at = (sent_at_ms: number) => ({ sent_at_ms });
const ben = { from: 3, name: "Ben" };
const sizes = (messages: Parameters<typeof groupMessages>[0]) =>
  groupMessages(messages).map((group) => group.messages.length);

describe("groups", () => {
  it("hold what one person said in one go", () => {
    const groups = groupMessages([
      fakeMessage("1", at(0)),
      fakeMessage("2", at(1000)),
      fakeMessage("3", { ...at(2000), ...ben }),
      ownMessage("4", at(3000)),
    ]);
    expect(groups.map((group) => [group.name, group.member, group.messages.length])).toEqual([
      ["Ada", 2, 2],
      ["Ben", 3, 1],
      ["Mina", SELF_MEMBER, 1],
    ]);
    expect(groups[0]?.sent_at_ms).toBe(0);
  });

  it("end with a pause, counted from the last message", () => {
    const messages = [0, 1, 2].map((step) => fakeMessage("x", at(step * GROUP_PAUSE_MS)));
    expect(sizes(messages)).toEqual([3]);
    expect(sizes([fakeMessage("x", at(0)), fakeMessage("x", at(GROUP_PAUSE_MS + 1))])).toEqual([
      1, 1,
    ]);
  });

  it("do not break when a clock is set back", () => {
    expect(sizes([fakeMessage("x", at(9_000_000)), fakeMessage("x", at(0))])).toEqual([2]);
  });

  it("tell two of one name apart, and who left from who is there", () => {
    expect(sizes([fakeMessage("x", at(0)), fakeMessage("x", { ...at(0), from: 7 })])).toEqual([
      1, 1,
    ]);
    expect(groupMessages([fakeMessage("x", { from: null })])[0]).toMatchObject({
      member: null,
      name: "Ada",
    });
  });

  it("keep their key while they grow", () => {
    const first = fakeMessage("1", at(0));
    const key = groupMessages([first])[0]?.key;
    expect(groupMessages([first, fakeMessage("2", at(1))])[0]?.key).toBe(key);
  });
});
