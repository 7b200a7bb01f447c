import { describe, expect, it } from "vitest";
import { callView, fakeMember, homeView, startOf, type Scene } from "../backend/fake-scenes";
import type { AppView } from "../generated/AppView";
import type { CallView } from "../generated/CallView";
import type { DeviceState } from "../generated/DeviceState";
import type { SoundTestState } from "../generated/SoundTestState";
import { SELF_MEMBER } from "../video/header";
import { fitStage, initialState, pinTile, prefer, reduce, showPage, type State } from "./reduce";
import {
  bannerOf,
  callTiles,
  codeFailure,
  framesExpected,
  initialsOf,
  mainKey,
  memberTiles,
  miniTile,
  previewNote,
  screenOf,
  selfTile,
  serverFailure,
  soundTestView,
  tilesOf,
  tintIn,
  tintOf,
  voicePartsOn,
} from "./select";

const home = homeView();
const seen = (view: AppView): State => reduce(initialState, { type: "view", view });
const calling = (members = [fakeMember(0)], more: Partial<CallView> = {}): AppView => ({
  ...home,
  call: callView(members, more),
});
const withDevice = (
  view: AppView,
  kind: "camera" | "microphone" | "speaker",
  state: DeviceState,
): AppView => ({
  ...view,
  devices: { ...view.devices, [kind]: { ...view.devices[kind], state } },
});

it.each([
  ["home", "home"],
  ["connecting", "connecting"],
  ["call-1", "call"],
  ["reconnecting", "call"],
  ["offline", "call"],
  ["no-server", "ended"],
] as [Scene, string][])("scene %s is on screen %s", (scene, screen) => {
  expect(screenOf(startOf(scene).view)).toBe(screen);
});
it("is starting before the first view", () => {
  expect(screenOf(null)).toBe("starting");
});

it.each([
  ["Ada", "A"],
  ["ada lovelace", "AL"],
  ["Ada King of Lovelace", "AL"],
  ["  ", ""],
  ["🦊", ""],
  ["Émile (work)", "ÉW"],
  ["李 小龙", "李小"],
])("initials of %j are %j", (name, initials) => {
  expect(initialsOf(name)).toBe(initials);
});

it("tints stay in range", () => {
  for (const member of [0, 1, 2, 77, 0xffff_fffe, SELF_MEMBER]) {
    expect([0, 1, 2, 3, 4, 5, 6, 7]).toContain(tintOf(member));
  }
});

it("shows who chose a colour in it, and nobody else", () => {
  const members = [fakeMember(0, { tint: 5 }), fakeMember(1)];
  const state = seen(calling(members));
  const [first, second] = members.map(({ id }) => id) as [number, number];
  expect(tintIn(state, first)).toBe(5);
  expect(tintIn(state, second)).toBe(tintOf(second));
  expect(tintIn(state, 4_000_000)).toBe(tintOf(4_000_000));
  expect(memberTiles(state).map((tile) => tile.tint)).toEqual([5, tintOf(second)]);
  expect(tintIn(state, SELF_MEMBER)).toBe(0);
});

describe("tiles", () => {
  it("shows oneself alone, floating beside one, in the grid among more", () => {
    const layout = (count: number) => {
      const members = Array.from({ length: count }, (_, at) => fakeMember(at));
      const { others, self, floating } = callTiles(seen(calling(members)));
      return [others.length, self?.self ?? false, floating?.self ?? false];
    };
    expect(layout(0)).toEqual([0, true, false]);
    expect(layout(1)).toEqual([1, false, true]);
    expect(layout(2)).toEqual([2, true, false]);
    expect(layout(60)).toEqual([60, true, false]);
  });

  it("leaves out whoever does not want to see themselves, unless they are alone", () => {
    const hidden = (count: number) => {
      const members = Array.from({ length: count }, (_, at) => fakeMember(at));
      return callTiles(prefer(seen(calling(members)), { self_view: false }));
    };
    expect(hidden(0).self).not.toBeNull();
    expect(hidden(1)).toMatchObject({ self: null, floating: null });
    expect(hidden(2)).toMatchObject({ self: null, floating: null });
  });

  it("sits people by seat, whoever has the floor on the first page", () => {
    const members = Array.from({ length: 6 }, (_, at) => fakeMember(at));
    const fitted = fitStage(seen(calling(members)), 3, 2);
    const spoken = reduce(fitted, {
      type: "levels",
      microphone: 0,
      active_speaker: 7,
      members: [],
    });
    const order = (state: State) => callTiles(state).others.map((tile) => tile.member);
    expect(order(fitted)).toEqual([2, 3, 4, 5, 6, 7]);
    expect(order(spoken)).toEqual([2, 3, 7, 5, 6, 4]);
    expect(memberTiles(spoken).map((tile) => tile.member)).toEqual([2, 3, 4, 5, 6, 7]);
  });

  it("turns pages within what there is", () => {
    const state = fitStage(seen(calling()), 3, 4);
    const page = (state: State, to: number) => showPage(state, to).seats.page;
    expect([page(state, 1), page(state, 9), page(state, -1)]).toEqual([1, 3, 0]);
    expect(fitStage(showPage(state, 3), 3, 2).seats.page).toBe(1);
  });

  it("shows large whom the person pinned, else who speaks if wanted", () => {
    const three = seen(calling([fakeMember(0), fakeMember(1), fakeMember(2)]));
    const speaker = prefer(three, { layout: "speaker" });
    const floor = (state: State, active_speaker: number) =>
      reduce(state, { type: "levels", microphone: 0, active_speaker, members: [] });
    expect(mainKey(three)).toBeNull();
    expect(mainKey(speaker)).toBe("2/camera");
    expect(mainKey(floor(speaker, 4))).toBe("4/camera");
    const pinned = pinTile(floor(speaker, 4), "3/camera");
    expect(mainKey(pinned)).toBe("3/camera");
    expect(mainKey(prefer(pinned, { layout: "grid" }))).toBe("3/camera");
    expect(miniTile(pinned).member).toBe(3);
    expect(miniTile(floor(three, 4)).member).toBe(4);
    expect(memberTiles(pinned).map((tile) => tile.pinned)).toEqual([false, true, false]);
    const left = reduce(pinned, { type: "view", view: calling([fakeMember(0), fakeMember(2)]) });
    expect(mainKey(left)).toBe("4/camera");
    const one = pinTile(seen(calling()), "2/camera");
    expect(mainKey(one)).toBeNull();
    expect(miniTile(one).member).toBe(2);
    expect(miniTile(seen(calling([]))).self).toBe(true);
  });

  it("marks pictures that are held back, one's own only while the camera is wanted", () => {
    const held = calling([fakeMember(0, { sound_only: true })], { sound_only: true });
    expect(memberTiles(seen(held)).map((tile) => tile.sound_only)).toEqual([true]);
    const self = (view: AppView) => selfTile(seen(view));
    expect(self(held)).toMatchObject({ camera_on: true, sound_only: true });
    expect(self({ ...held, camera_on: false })).toMatchObject({ sound_only: false });
    expect(self(calling())).toMatchObject({ sound_only: false });
    const quiet = { ...held, camera_on: false };
    expect(framesExpected(seen(quiet))).toBe(false);
    expect(framesExpected(seen({ ...quiet, call: callView([fakeMember(0)]) }))).toBe(true);
  });

  it("never shows a muted one as speaking", () => {
    const levels = {
      type: "levels",
      microphone: 0.5,
      active_speaker: 2,
      members: [
        { member: 2, level: 0.5, speaking: true },
        { member: 3, level: 0.5, speaking: true },
      ],
    } as const;
    const view = calling([fakeMember(0), fakeMember(1, { muted: true })]);
    const state = reduce(seen(view), { ...levels, members: [...levels.members] });
    expect(memberTiles(state).map((tile) => tile.speaking)).toEqual([true, false]);
    expect(memberTiles(state).map((tile) => tile.active)).toEqual([true, false]);
    expect(selfTile(state).speaking).toBe(true);
    expect(selfTile(reduce(state, { type: "view", view: { ...view, muted: true } })).speaking).toBe(
      false,
    );
  });

  it("keeps the objects of tiles that did not change", () => {
    const members = [fakeMember(0), fakeMember(1), fakeMember(2)];
    const before = tilesOf(seen(calling(members)));
    const again = tilesOf(seen(calling(members.map((one) => ({ ...one })))), before);
    expect(again).toBe(before);
    const muted = [fakeMember(0), fakeMember(1, { muted: true }), fakeMember(2)];
    const { self, others } = tilesOf(seen(calling(muted)), before);
    expect(self).toBe(before.self);
    expect(others.map((tile, at) => tile === before.others[at])).toEqual([true, false, true]);
    const left = tilesOf(seen(calling(members.slice(1))), before);
    expect(left.others).toEqual(before.others.slice(1));
    expect(left.others[0]).toBe(before.others[1]);
    const own = tilesOf(seen({ ...calling(members), muted: true }), before);
    expect([own.self.muted, own.others === before.others]).toEqual([true, true]);
  });

  it("shows initials while one's camera fails", () => {
    const view = withDevice(home, "camera", { state: "failed", code: "camera_busy" });
    expect(selfTile(seen(home)).camera_on).toBe(true);
    expect(selfTile(seen(view)).camera_on).toBe(false);
  });
});

it("says why the preview shows nothing", () => {
  expect(previewNote(seen(home))).toBeNull();
  expect(previewNote(seen({ ...home, camera_on: false }))).toBe("off");
  expect(previewNote(seen(withDevice(home, "camera", { state: "starting" })))).toBe("starting");
});

describe("banner", () => {
  it.each(["reconnecting", "offline"] as const)("puts being %s before everything else", (phase) => {
    const view = withDevice(calling([], { phase: { phase } }), "camera", {
      state: "failed",
      code: "camera_lost",
    });
    const state = reduce(seen(view), { type: "failed", code: "internal" });
    expect(bannerOf(state)).toEqual({ kind: phase });
  });

  it("names whose network is weak, unless somebody cannot be reached at all", () => {
    const weak = fakeMember(1, { link: "weak" });
    const name = weak.name;
    expect(bannerOf(seen(calling([fakeMember(0), weak])))).toEqual({ kind: "weak", name });
    const state = seen(calling([weak, fakeMember(2, { link: "failed" })]));
    expect(bannerOf(state)?.kind).toBe("link");
    expect(bannerOf(seen(calling([fakeMember(1, { link: "reconnecting" })])))).toBeNull();
  });

  it("tells of device trouble in a call only, silence only while unmuted", () => {
    const busy = withDevice(calling(), "camera", { state: "failed", code: "camera_busy" });
    expect(bannerOf(seen(busy))).toEqual({ kind: "device", device: "camera", code: "camera_busy" });
    expect(bannerOf(seen({ ...busy, call: null }))).toBeNull();
    const silent = withDevice(calling(), "microphone", { state: "silent" });
    expect(bannerOf(seen(silent))).toEqual({ kind: "silent" });
    expect(bannerOf(seen({ ...silent, muted: true }))).toBeNull();
  });

  it("names a member who cannot be reached", () => {
    const view = calling([fakeMember(0), fakeMember(1, { link: "failed" })]);
    expect(bannerOf(seen(view))).toEqual({ kind: "link", name: "Ben Okafor" });
  });

  it("leaves failures of a field to the field", () => {
    const wrongCode = reduce(seen(home), { type: "failed", code: "room_not_found_on_lan" });
    expect(bannerOf(wrongCode)).toBeNull();
    expect(codeFailure(wrongCode)).toBe("room_not_found_on_lan");
    const wrongServer = reduce(seen(home), { type: "failed", code: "server_address_invalid" });
    expect(bannerOf(wrongServer)).toBeNull();
    expect(serverFailure(wrongServer)).toBe("server_address_invalid");
    const unreachable = reduce(seen(home), { type: "failed", code: "server_unreachable" });
    expect(bannerOf(unreachable)).toMatchObject({ kind: "failure", code: "server_unreachable" });
  });
});

describe("framesExpected", () => {
  const off = { ...home, camera_on: false };
  it.each<[string, AppView, boolean]>([
    ["preview running", home, true],
    ["camera off", off, false],
    ["camera starting", withDevice(home, "camera", { state: "starting" }), false],
    ["a member with a picture", { ...calling(), camera_on: false }, true],
    [
      "a member not connected yet",
      { ...off, call: callView([fakeMember(0, { link: "connecting" })]) },
      false,
    ],
    [
      "a member without a picture yet",
      { ...off, call: callView([fakeMember(0, { codec: null })]) },
      false,
    ],
    [
      "a member's camera off",
      { ...off, call: callView([fakeMember(0, { camera_on: false })]) },
      false,
    ],
    ["still connecting", calling([], { phase: { phase: "connecting" } }), false],
    ["ended", calling([fakeMember(0)], { phase: { phase: "ended", code: null } }), false],
  ])("%s: %s", (_, view, expected) => {
    expect(framesExpected(seen(view))).toBe(expected);
  });
  it("expects nothing before the first view", () => {
    expect(framesExpected(initialState)).toBe(false);
  });
});

describe("sound test", () => {
  it("shows the second that runs as done at its end", () => {
    const done = (sound_test: SoundTestState) => soundTestView(seen({ ...home, sound_test }))?.done;
    expect(done({ state: "idle" })).toBeUndefined();
    expect(done({ state: "starting" })).toBeNull();
    expect([4, 3, 2, 1].map((remaining_s) => done({ state: "recording", remaining_s }))).toEqual([
      0.25, 0.5, 0.75, 1,
    ]);
    expect(done({ state: "playing", remaining_s: 99 })).toBe(0);
  });
});

it("counts the parts of the voice processing that are on", () => {
  const voice = { ...home.settings.voice, gain_control: false };
  expect(voicePartsOn(seen(home))).toBe(3);
  expect(voicePartsOn(seen({ ...home, settings: { ...home.settings, voice } }))).toBe(2);
});

it("has nobody's floor to mark between two people", () => {
  const levels = { type: "levels", microphone: 0, active_speaker: 2, members: [] } as const;
  const two = reduce(seen(calling([fakeMember(0)])), { ...levels, members: [] });
  expect(memberTiles(two).map((tile) => tile.active)).toEqual([false]);
});
