/** What the views show, derived from the state. Pure. */

import type { AppView } from "../generated/AppView";
import type { CallView } from "../generated/CallView";
import type { DeviceKind } from "../generated/DeviceKind";
import type { ErrorCode } from "../generated/ErrorCode";
import type { LinkView } from "../generated/LinkView";
import type { MemberId } from "../generated/MemberId";
import type { SoundTestState } from "../generated/SoundTestState";
import type { State } from "./reduce";
import { sharers } from "./shares";
import { SELF_MEMBER } from "../video/header";
import { tileKey } from "../video/tile";

export type Screen = "starting" | "home" | "connecting" | "knocking" | "call" | "ended";

/** Which screen is shown. */
export function screenOf(view: AppView | null): Screen {
  if (!view) return "starting";
  switch (view.call?.phase.phase) {
    case undefined:
      return "home";
    case "connecting":
      return "connecting";
    case "knocking":
      return "knocking";
    case "ended":
      return "ended";
    default:
      return "call";
  }
}

export interface TileView {
  /** Names the tile, as `tileKey` does. */
  key: string;
  member: MemberId;
  self: boolean;
  name: string;
  initials: string;
  tint: number;
  muted: boolean;
  camera_on: boolean;
  speaking: boolean;
  /** They have the floor: spoke last for a while. Only told where there are others to choose from. */
  active: boolean;
  link: LinkView;
  /** How loud they are heard here; 100 is unchanged. */
  volume_percent: number;
  /** Muted on this machine only. */
  muted_here: boolean;
  hand_raised: boolean;
  /** Their camera is on, but the network carries sound only. */
  sound_only: boolean;
  /** Whether there is a choice of whom to show large, and whether the person chose this one. */
  pinnable: boolean;
  pinned: boolean;
  /** Sound and pictures pass between the two ends only, sealed with the code. */
  sealed: boolean;
}

/** One's own tile. */
export function selfTile(state: State): TileView {
  const view = state.view;
  const name = view?.settings.name ?? "";
  const muted = view?.muted ?? true;
  const cameraOn = (view?.camera_on ?? false) && view?.devices.camera.state.state !== "failed";
  const key = tileKey({ member: SELF_MEMBER, source: "camera" });
  return {
    key,
    member: SELF_MEMBER,
    self: true,
    name,
    initials: initialsOf(name),
    tint: tintIn(state, SELF_MEMBER),
    muted,
    camera_on: cameraOn,
    speaking: !muted && state.speaks,
    active: false,
    link: "connected",
    volume_percent: 100,
    muted_here: false,
    hand_raised: view?.call?.hand_raised ?? false,
    sound_only: cameraOn && (view?.call?.sound_only ?? false),
    pinnable: canPin(state),
    pinned: state.seats.pinned === key,
    sealed: false,
  };
}

/** The others' tiles, in order of joining. */
export function memberTiles(state: State): TileView[] {
  const members = state.view?.call?.members ?? [];
  return members.map((member) => ({
    key: tileKey({ member: member.id, source: "camera" }),
    member: member.id,
    self: false,
    name: member.name,
    initials: initialsOf(member.name),
    tint: member.tint ?? tintOf(member.id),
    muted: member.muted,
    camera_on: member.camera_on,
    speaking: !member.muted && state.speaking.has(member.id),
    active: members.length > 1 && state.active_speaker === member.id,
    link: member.link,
    volume_percent: member.volume_percent,
    muted_here: member.muted_here,
    hand_raised: member.hand_raised,
    sound_only: member.sound_only,
    pinnable: canPin(state),
    pinned: state.seats.pinned === tileKey({ member: member.id, source: "camera" }),
    // Media that is not sealed is neither sent nor played, so a connection is a sealed one.
    sealed: member.link !== "connecting" && member.link !== "failed",
  }));
}

/** Everybody's tiles. */
export interface Tiles {
  self: TileView;
  /** The others', in order of joining. */
  others: readonly TileView[];
}

/**
 * Everybody's tiles, with those of `before` that are still what they were as the very same objects:
 * a tile that did not change is not looked at again, and there may be fifty of them.
 */
export function tilesOf(state: State, before: Tiles | null = null): Tiles {
  const [now, others] = [selfTile(state), memberTiles(state)];
  if (before === null) return { self: now, others };
  const known = new Map(before.others.map((tile) => [tile.key, tile]));
  const kept = others.map((tile) => keepTile(known.get(tile.key), tile));
  const self = keepTile(before.self, now);
  const same =
    kept.length === before.others.length && kept.every((tile, at) => tile === before.others[at]);
  if (same && self === before.self) return before;
  return { self, others: same ? before.others : kept };
}

function keepTile(before: TileView | undefined, now: TileView): TileView {
  if (before === undefined) return now;
  const fields = Object.keys(now) as (keyof TileView)[];
  return fields.every((field) => before[field] === now[field]) ? before : now;
}

export interface CallTiles {
  /** The others, by seat. */
  others: readonly TileView[];
  /** One's own tile among them; `null` when it floats or is hidden. */
  self: TileView | null;
  /** One's own tile when it floats above the only other one. */
  floating: TileView | null;
}

/** Which tile goes where. Who is alone sees themselves in any case. */
export function callTiles(state: State, tiles = tilesOf(state)): CallTiles {
  const shown = state.preferences.self_view ? tiles.self : null;
  if (tiles.others.length === 0) return { others: [], self: tiles.self, floating: null };
  // Beside a shared screen there is no picture to float on.
  if (tiles.others.length === 1 && sharers(state).length === 0)
    return { others: tiles.others, self: null, floating: shown };
  const seats = new Map(state.seats.order.map((member, seat) => [member, seat]));
  const seatOf = (tile: TileView) => seats.get(tile.member) ?? tiles.others.length;
  const others = tiles.others.toSorted((a, b) => seatOf(a) - seatOf(b));
  return { others, self: shown, floating: null };
}

/** Whose hands are raised, one's own last. */
export function raisedHands({ self, others }: Tiles): TileView[] {
  return [...others, self].filter((tile) => tile.hand_raised);
}

/** Fewest others among whom one can be shown large. */
const LEAST_OTHERS = 2;

/** Whether there is a choice of whom to show large. */
export function canPin(state: State): boolean {
  return (state.view?.call?.members.length ?? 0) >= LEAST_OTHERS;
}

/** Whom a speaker view shows large: who has the floor or had it last, else who joined first. */
export function mainMember(state: State): MemberId | null {
  if (!canPin(state)) return null;
  const { spoke } = state.seats;
  return state.active_speaker ?? spoke[0] ?? state.view?.call?.members[0]?.id ?? null;
}

/** The key of the tile shown large: the pinned one, else who speaks if that is wanted. */
export function mainKey(state: State): string | null {
  if (!canPin(state)) return null;
  if (state.seats.pinned !== null) return state.seats.pinned;
  const member = state.preferences.layout === "speaker" ? mainMember(state) : null;
  return member === null ? null : tileKey({ member, source: "camera" });
}

/** The one tile there is room for in a small window: whom one would look at. */
export function miniTile(state: State, { self, others } = tilesOf(state)): TileView {
  const pinned = [...others, self].find((tile) => tile.pinned);
  const speaks = others.find((tile) => tile.member === mainMember(state));
  return pinned ?? speaks ?? others[0] ?? self;
}

/** One or two letters standing in for a face; empty when the name has none. */
export function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter((word) => /\p{L}|\p{N}/u.test(word));
  const first = words[0];
  const last = words.length > 1 ? words[words.length - 1] : undefined;
  return [first, last]
    .map((word) => /[\p{L}\p{N}]/u.exec(word ?? "")?.[0] ?? "")
    .join("")
    .toUpperCase();
}

/** Colours of avatars. */
export const TINTS = 8;

/** The colour of who chose none: the same for a member on every screen. */
export function tintOf(member: MemberId): number {
  return member === SELF_MEMBER ? 0 : (Math.imul(member, 0x9e37_79b1) >>> 29) & 7;
}

/** The colour a member is shown in: the one they chose, if they are there and chose one. */
export function tintIn(state: State, member: MemberId): number {
  const view = state.view;
  const chosen =
    member === SELF_MEMBER
      ? view?.settings.tint
      : view?.call?.members.find((one) => one.id === member)?.tint;
  return chosen ?? tintOf(member);
}

/** Why the preview shows no picture, unless the device says so itself. */
export function previewNote(state: State): "off" | "starting" | null {
  const view = state.view;
  if (!view) return null;
  if (!view.camera_on) return "off";
  return view.devices.camera.state.state === "starting" ? "starting" : null;
}

/** Largest volume of a member, as the engine accepts it. */
export const MOST_VOLUME_PERCENT = 200;

/** Length of the recording, and so of what is played. */
const SOUND_TEST_S = 4;

export interface SoundTestView {
  state: SoundTestState;
  /** Where the bar stands at the end of the running second, 0 to 1; `null` without one. */
  done: number | null;
}

/** The running sound test. */
export function soundTestView(state: State): SoundTestView | null {
  const test = state.view?.sound_test;
  if (!test || test.state === "idle") return null;
  const counts = test.state === "recording" || test.state === "playing";
  const done = counts ? Math.min(1, Math.max(0, 1 - (test.remaining_s - 1) / SOUND_TEST_S)) : null;
  return { state: test, done };
}

/** How many parts of the voice processing are on. */
export function voicePartsOn(state: State): number {
  const voice = state.view?.settings.voice;
  return voice ? Object.values(voice).filter(Boolean).length : 0;
}

export type BannerView =
  | { kind: "reconnecting" | "offline" }
  | { kind: "failure"; code: ErrorCode; serial: number }
  | { kind: "device"; device: DeviceKind; code: ErrorCode }
  | { kind: "silent" }
  | { kind: "link" | "weak"; name: string };

/** Errors that belong to the code that was typed; they are shown beside it. */
const CODE_ERRORS: readonly ErrorCode[] = [
  "code_invalid",
  "room_not_found_on_lan",
  "room_auth_failed",
  "room_full",
];

/** Errors that belong to the server's address; they are shown beside it. */
const SERVER_ERRORS: readonly ErrorCode[] = ["server_address_invalid"];

/** The failure to show beside the code field on the home screen. */
export function codeFailure(state: State): ErrorCode | null {
  const code = state.failure?.code;
  return code !== undefined && CODE_ERRORS.includes(code) ? code : null;
}

/** The failure to show beside the server's address. */
export function serverFailure(state: State): ErrorCode | null {
  const code = state.failure?.code;
  return code !== undefined && SERVER_ERRORS.includes(code) ? code : null;
}

/** The one sentence at the top of the screen, most urgent first. */
export function bannerOf(state: State): BannerView | null {
  const view = state.view;
  if (!view) return null;
  const screen = screenOf(view);
  const phase = view.call?.phase.phase;
  if (screen === "call" && (phase === "reconnecting" || phase === "offline")) {
    return { kind: phase };
  }
  const failure = state.failure;
  const shownElsewhere =
    screen === "home" && (codeFailure(state) !== null || serverFailure(state) !== null);
  if (failure && !shownElsewhere) return { kind: "failure", ...failure };
  // On the home screen device trouble stands beside the device.
  if (screen !== "call") return null;
  for (const device of ["microphone", "speaker", "camera"] as const) {
    const { state: doing } = view.devices[device];
    if (doing.state === "failed") return { kind: "device", device, code: doing.code };
    if (doing.state === "silent" && !view.muted) return { kind: "silent" };
  }
  const members = view.call?.members ?? [];
  const failed = members.find((member) => member.link === "failed");
  if (failed) return { kind: "link", name: failed.name };
  const weak = members.find((member) => member.link === "weak");
  return weak ? { kind: "weak", name: weak.name } : null;
}

/** Whether frames should be arriving, so that silence means a broken channel. */
export function framesExpected(state: State): boolean {
  const view = state.view;
  if (!view) return false;
  const screen = screenOf(view);
  if (screen !== "home" && screen !== "call") return false;
  if (view.camera_on && view.devices.camera.state.state === "running") return true;
  if (screen !== "call") return false;
  // A shared screen sends pictures also while nothing changes on it.
  return (view.call?.members ?? []).some((one) => deliversPicture(one) || deliversScreen(one));
}

function deliversScreen(member: CallView["members"][number]): boolean {
  return member.sharing && member.link === "connected";
}

function deliversPicture(member: CallView["members"][number]): boolean {
  // Without a codec no picture of theirs ever arrived at the engine.
  return (
    member.camera_on && !member.sound_only && member.link === "connected" && member.codec !== null
  );
}
