import { expect, it } from "vitest";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import { announcements } from "./announce";

const home = homeView();
const connecting = {
  ...home,
  call: callView([], { phase: { phase: "connecting" } }),
};
const two = { ...home, call: callView([fakeMember(0), fakeMember(1)]) };
const one = { ...home, call: callView([fakeMember(1)]) };
const lost = { ...home, call: callView([fakeMember(1)], { phase: { phase: "reconnecting" } }) };
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
  ["the end, without everybody leaving aloud", one, ended, ["ended"]],
  ["mute", home, { ...home, muted: true }, ["muted"]],
  ["camera", { ...home, camera_on: false }, home, ["camera_on"]],
])("%s", (_, before, after, said) => {
  const got = announcements(before, after).map((one) =>
    "name" in one ? `${one.kind} ${one.name}` : one.kind,
  );
  expect(got).toEqual(said);
});
