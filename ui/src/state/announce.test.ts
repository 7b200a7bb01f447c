import { expect, it } from "vitest";
import type { CareView } from "../generated/CareView";
import type { TransferView } from "../generated/TransferView";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import { fakeMessage, fakeTransfer } from "../backend/fake-chat";
import { announcements, messageNews } from "./announce";

const home = homeView();
const connecting = {
  ...home,
  call: callView([], { phase: { phase: "connecting" } }),
};
const two = { ...home, call: callView([fakeMember(0), fakeMember(1)]) };
const one = { ...home, call: callView([fakeMember(1)]) };
const lost = { ...home, call: callView([fakeMember(1)], { phase: { phase: "reconnecting" } }) };
const offline = { ...home, call: callView([fakeMember(1)], { phase: { phase: "offline" } }) };
const hand = {
  ...home,
  call: callView([fakeMember(0, { hand_raised: true }), fakeMember(1)], { hand_raised: true }),
};
const held = { ...home, call: callView([fakeMember(0), fakeMember(1)], { sound_only: true }) };
const care = { host: 1, door: "open", knocks: [], asked_to_mute: false } as const;
const withCare = (more: Partial<CareView>) => ({
  ...home,
  call: callView([fakeMember(0), fakeMember(1)], { care: { ...care, knocks: [], ...more } }),
});
const knocking = { ...home, call: callView([], { phase: { phase: "knocking" }, me: null }) };
const knocked = withCare({ door: "knock", knocks: [{ knock: 1, name: "Zoë" }] });
const theirs = withCare({ host: 2 });
const asked = withCare({ host: 2, asked_to_mute: true });
const asking = fakeTransfer({ state: { state: "asking" } });
const withTransfer = (more: Partial<TransferView>) => ({
  ...home,
  call: callView([fakeMember(1)], { transfers: [{ ...asking, ...more }] }),
});
const ended = { ...home, call: callView([], { phase: { phase: "ended", code: null } }) };

it.each([
  ["the first view", null, two, []],
  ["nothing new", two, two, []],
  ["connecting", home, connecting, ["connecting"]],
  ["joining people who were there", connecting, two, ["joined"]],
  ["somebody leaving", two, one, ["member_left Ada"]],
  ["somebody coming", one, two, ["member_joined Ada"]],
  ["losing the server", one, lost, ["reconnecting"]],
  ["being back", lost, one, ["reconnected"]],
  ["losing the network", one, offline, ["offline"]],
  ["having one again", offline, one, ["reconnected"]],
  ["the end, without everybody leaving aloud", one, ended, ["ended"]],
  ["waiting to be let in", connecting, knocking, ["knocking"]],
  ["being let in where people are", knocking, two, ["joined"]],
  ["what the host hears and decides", two, knocked, ["knock Zoë", "door_knock"]],
  ["the role going and coming", two, theirs, ["host Ada"]],
  ["the role coming back with a question gone", theirs, two, ["my_host"]],
  ["the host's question", theirs, asked, ["mute_question"]],
  ["hands going up", two, hand, ["hand_raised Ada", "my_hand_raised"]],
  ["hands going down, one's own only", hand, two, ["my_hand_lowered"]],
  ["a path for sound only", two, held, ["sound_only"]],
  ["a path for pictures", held, two, ["picture_back"]],
  ["a camera that nobody could see", held, { ...held, camera_on: false }, ["camera_off"]],
  ["an offer", one, withTransfer({}), ["offered Ada"]],
  ["an offer that still waits", withTransfer({}), withTransfer({ rate_bytes_per_s: 1 }), []],
  [
    "a file that arrived",
    withTransfer({}),
    withTransfer({ state: { state: "done" } }),
    ["received Ada"],
  ],
  [
    "a file that was sent",
    withTransfer({ outgoing: true, state: { state: "running" } }),
    withTransfer({ outgoing: true, state: { state: "done" } }),
    ["sent Ada"],
  ],
  [
    "a file that failed",
    withTransfer({}),
    withTransfer({ state: { state: "failed", code: "disk_full" } }),
    ["transfer_failed Ada"],
  ],
  ["mute", home, { ...home, muted: true }, ["muted"]],
  ["camera", { ...home, camera_on: false }, home, ["camera_on"]],
])("%s", (_, before, after, said) => {
  const got = announcements(before, after).map((one) =>
    "name" in one ? `${one.kind} ${one.name}` : one.kind,
  );
  expect(got).toEqual(said);
});

it("reads out a few messages, shortened, and counts many", () => {
  const long = fakeMessage("x".repeat(500));
  expect(messageNews([])).toEqual([]);
  expect(messageNews([fakeMessage("hello"), long])).toEqual([
    { kind: "message", name: "Ada", text: "hello" },
    { kind: "message", name: "Ada", text: `${"x".repeat(200)}…` },
  ]);
  expect(messageNews([long, long, long, long])).toEqual([
    { kind: "messages", name: "", text: "4" },
  ]);
});
