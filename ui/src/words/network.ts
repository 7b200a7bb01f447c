/** The connection's figures and what is the matter, in words. */

import type { LayerView } from "../generated/LayerView";
import type { MemberNetworkView } from "../generated/MemberNetworkView";
import type { UplinkView } from "../generated/UplinkView";
import type { Verdict } from "../generated/Verdict";
import { formatBitrate, formatMs, formatShare } from "./format";
import { words } from "./words";

/** Stands for what is not known. */
export const UNKNOWN = "–";

/** What is the matter, in one sentence. `name` is of the member it is about, empty if unknown. */
export function verdictText({ cause, member }: Verdict, name: string): string {
  const about = member === null ? null : name || words.call.nameless;
  return words.network.causes[cause].sentence(about);
}

/** What helps. */
export function adviceText({ cause, member }: Verdict, name: string): string {
  const about = member === null ? null : name || words.call.nameless;
  return words.network.causes[cause].advice(about);
}

/** `640 × 360, 30 fps`. */
export function sizeText({
  width,
  height,
  fps,
}: Pick<LayerView, "width" | "height" | "fps">): string {
  if (width === 0 || height === 0 || fps === 0) return UNKNOWN;
  return words.network.size(String(width), String(height), String(Math.round(fps)));
}

export interface MemberFigures {
  codec: string;
  size: string;
  bitrate: string;
  loss: string;
  concealed: string;
  rtt: string;
  jitter: string;
  path: string;
}

/** The cells of a member's row. */
export function memberFigures(one: MemberNetworkView): MemberFigures {
  const size = sizeText(one);
  return {
    codec: one.codec === null || size === UNKNOWN ? "" : words.network.codecs[one.codec],
    size,
    bitrate: formatBitrate(one.bitrate_bps),
    loss: formatShare(one.loss),
    concealed: formatShare(one.concealed),
    rtt: one.rtt_ms === null ? UNKNOWN : formatMs(one.rtt_ms),
    jitter: formatMs(one.jitter_ms),
    path: one.path === null ? UNKNOWN : words.network.paths[one.path],
  };
}

/** One's own side, as label and figure. */
export function uplinkFigures(up: UplinkView, down_bps: number): [label: string, figure: string][] {
  const said = words.network.up;
  const layers = up.layers.map((one) => `${sizeText(one)}, ${formatBitrate(one.bitrate_bps)}`);
  const room = up.target_bps === 0 ? UNKNOWN : formatBitrate(up.target_bps);
  return [
    [said.picture, layers.length === 0 ? said.none : layers.join("; ")],
    [said.sending, formatBitrate(up.bitrate_bps)],
    [said.room, said.of(room, formatBitrate(up.wanted_bps))],
    [said.loss, formatShare(up.loss)],
    [said.receiving, formatBitrate(down_bps)],
    [said.encoder, formatShare(up.encoder_busy)],
  ];
}
