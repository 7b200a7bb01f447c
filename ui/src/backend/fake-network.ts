/** Figures of a connection as the fake tells them. */

import type { Cause } from "../generated/Cause";
import type { MemberId } from "../generated/MemberId";
import type { MemberNetworkView } from "../generated/MemberNetworkView";
import type { NetworkView } from "../generated/NetworkView";
import type { Severity } from "../generated/Severity";

/** The causes there are, and whom each names. */
export const CAUSES: readonly [cause: Cause, names: boolean, severity: Severity][] = [
  ["my_cpu", false, "mild"],
  ["bursts", false, "mild"],
  ["my_uplink", false, "severe"],
  ["my_downlink", false, "mild"],
  ["my_connection", false, "severe"],
  ["between", true, "mild"],
  ["other_side", true, "mild"],
  ["relay_path", true, "mild"],
];

/** Good figures, and what is said to be the matter. */
export function networkView(
  members: readonly MemberId[],
  cause: Cause | null,
  more: Partial<NetworkView> = {},
): NetworkView {
  const [, names = false, severity = "mild"] = CAUSES.find(([one]) => one === cause) ?? [];
  const member = names ? (members[0] ?? null) : null;
  return {
    verdict: cause === null ? null : { cause, member, severity },
    members: members.map((id, at) => memberFigures(id, at)),
    up: {
      layers: [{ width: 1280, height: 720, fps: 29.8, bitrate_bps: 1_713_000 }],
      bitrate_bps: 1_756_000,
      target_bps: cause === "my_uplink" ? 480_000 : 2_640_000,
      wanted_bps: 1_985_000,
      loss: cause === "my_uplink" ? 0.124 : 0.002,
      encoder_busy: cause === "my_cpu" ? 0.91 : 0.31,
    },
    down_bps: members.length * 1_790_000,
    app: { version: "0.1.0", os: "linux", arch: "x86_64" },
    ...more,
  };
}

function memberFigures(id: MemberId, at: number): MemberNetworkView {
  const sends = at % 4 !== 3;
  return {
    id,
    codec: sends ? (at === 1 ? "h264" : "vp8") : null,
    width: sends ? 1280 >> (at % 2) : 0,
    height: sends ? 720 >> (at % 2) : 0,
    fps: sends ? 29.7 : 0,
    bitrate_bps: sends ? 1_790_000 >> (at % 2) : 34_000,
    loss: at === 0 ? 0.056 : 0.003,
    rtt_ms: sends ? 38 + at * 71 : null,
    jitter_ms: 3.2 + at * 2,
    concealed: at === 0 ? 0.021 : 0,
    path: sends ? (at === 0 ? "srflx" : at === 1 ? "host" : "relay") : null,
  };
}
