/**
 * A report about the connection that can be shown to anybody: figures of the last minute, without
 * names, codes, addresses or ids. Members are numbered in the order in which they appear. Pure.
 *
 * What is in it is listed here field by field: nothing that is added to the figures later gets in by
 * itself. Times are seconds before the report, so it does not tell when it was made.
 */

import type { LayerView } from "../generated/LayerView";
import type { MemberId } from "../generated/MemberId";
import type { MemberNetworkView } from "../generated/MemberNetworkView";
import type { NetworkView } from "../generated/NetworkView";
import type { Verdict } from "../generated/Verdict";
import type { NetworkHistory } from "./network";
import { VERSION } from "../version";

/** Of the format; whoever reads reports looks at it first. */
const FORMAT = 1;

/** Gives a member the same number every time. */
type Numbering = (member: MemberId) => string;

/** The report as JSON, a line for each second. */
export function reportOf(history: NetworkHistory): string {
  const known = new Map<MemberId, string>();
  const number: Numbering = (member) => {
    const label = known.get(member) ?? `member ${String(known.size + 1)}`;
    known.set(member, label);
    return label;
  };
  const app = history.at(-1)?.app;
  const head = {
    report: "visavis connection",
    version: FORMAT,
    app: { version: app?.version ?? VERSION, os: app?.os ?? null, arch: app?.arch ?? null },
  };
  const seconds = history.map((view, at) =>
    JSON.stringify({ at_s: at - history.length + 1, ...second(view, number) }),
  );
  const start = JSON.stringify(head).slice(0, -1);
  return `${start},"seconds":[\n${seconds.join(",\n")}\n]}\n`;
}

function second(view: NetworkView, number: Numbering) {
  const { up } = view;
  return {
    verdict: verdict(view.verdict, number),
    up: {
      layers: up.layers.map(layer),
      bitrate_bps: up.bitrate_bps,
      target_bps: up.target_bps,
      wanted_bps: up.wanted_bps,
      loss: round(up.loss, 4),
      encoder_busy: round(up.encoder_busy, 2),
    },
    down_bps: view.down_bps,
    members: view.members.map((one) => member(one, number)),
  };
}

function verdict(one: Verdict | null, number: Numbering) {
  if (!one) return null;
  const about = one.member === null ? null : number(one.member);
  return { cause: one.cause, severity: one.severity, member: about };
}

function layer(one: LayerView) {
  return {
    width: one.width,
    height: one.height,
    fps: round(one.fps, 1),
    bitrate_bps: one.bitrate_bps,
  };
}

function member(one: MemberNetworkView, number: Numbering) {
  return {
    member: number(one.id),
    codec: one.codec,
    width: one.width,
    height: one.height,
    fps: round(one.fps, 1),
    bitrate_bps: one.bitrate_bps,
    loss: round(one.loss, 4),
    rtt_ms: one.rtt_ms === null ? null : round(one.rtt_ms, 1),
    jitter_ms: round(one.jitter_ms, 1),
    concealed: round(one.concealed, 4),
    path: one.path,
  };
}

function round(figure: number, digits: number): number {
  return Number(figure.toFixed(digits));
}
