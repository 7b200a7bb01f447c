/** Sentences that need a little arithmetic. */

import type { DeviceState } from "../generated/DeviceState";
import type { ErrorCode } from "../generated/ErrorCode";
import type { SoundTestState } from "../generated/SoundTestState";
import { CODE_SYMBOLS, type CodeCheck } from "../input/code";
import { platformOf } from "../input/platform";
import type { BannerView, TileView } from "../state/select";
import { words } from "./words";

/** What is wrong with a typed code; `null` when nothing is. */
export function codeProblem(check: CodeCheck): string | null {
  switch (check.kind) {
    case "empty":
      return words.home.codeEmpty;
    case "short":
      return words.home.codeShort(CODE_SYMBOLS - check.symbols);
    case "long":
      return words.home.codeLong;
    case "bad_symbol":
      return words.home.codeBadSymbol(check.symbol);
    case "complete":
      return null;
  }
}

/** What an error says, and where it is the system's doing, how to change that. */
export function errorText(code: ErrorCode): string {
  const error = words.errors[code];
  const allow = words.allow[platformOf(navigator.userAgent)];
  if (code === "camera_denied") return `${error} ${allow.camera}`;
  return code === "microphone_denied" ? `${error} ${allow.microphone}` : error;
}

/** What is wrong with a device; `null` when nothing is. */
export function deviceProblem(state: DeviceState): string | null {
  if (state.state === "failed") return errorText(state.code);
  return state.state === "silent" ? words.preview.silent : null;
}

/** All that a tile shows, for who cannot see it. */
export function tileText(tile: TileView): string {
  const name = tile.name || (tile.self ? words.call.you : words.call.nameless);
  const heard = tile.volume_percent === 100 ? "" : words.call.volume(tile.volume_percent);
  return [
    tile.self && tile.name ? `${name} (${words.call.you})` : name,
    tile.pinned && words.call.pinned,
    tile.hand_raised && words.call.handRaised,
    tile.muted && words.call.muted,
    tile.speaking && words.call.speaking,
    tile.active && words.call.active,
    tile.muted_here ? words.call.mutedHere : heard,
    !tile.camera_on && words.call.cameraOff,
    soundOnlyText(tile),
    words.call.links[tile.link],
  ]
    .filter(Boolean)
    .join(", ");
}

/** Why a camera that is on shows nothing to the others; `null` when it does. */
export function soundOnlyText(tile: TileView): string | null {
  if (!tile.sound_only) return null;
  return tile.self ? words.call.soundOnlySelf : words.call.soundOnly;
}

/** What a running sound test is doing; empty when none runs. */
export function soundTestText(test: SoundTestState): string {
  switch (test.state) {
    case "idle":
      return "";
    case "starting":
      return words.soundTest.starting;
    case "recording":
      return words.soundTest.recording(test.remaining_s);
    case "playing":
      return words.soundTest.playing(test.remaining_s);
    case "tone":
      return words.soundTest.sounding;
  }
}

/** The banner's sentence. */
export function bannerText(banner: BannerView): string {
  switch (banner.kind) {
    case "reconnecting":
      return words.banner.reconnecting;
    case "offline":
      return words.banner.offline;
    case "weak":
      return words.banner.weak(banner.name || words.call.nameless);
    case "failure":
    case "device":
      return errorText(banner.code);
    case "silent":
      return words.banner.silent;
    case "link":
      return words.banner.link(banner.name || words.call.nameless);
  }
}
