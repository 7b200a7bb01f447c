import { describe, expect, it } from "vitest";
import { networkView } from "../backend/fake-network";
import { FAKE_CODE } from "../backend/fake-scenes";
import { record, HISTORY_S, type NetworkHistory } from "./network";
import { reportOf } from "./report";
import { VERSION } from "../version";

/** Ids that cannot be mistaken for figures. */
const IDS = [73_421_907, 81_234_567];

function history(seconds: number): NetworkHistory {
  let all: NetworkHistory = [];
  for (let at = 0; at < seconds; at += 1) {
    all = record(all, networkView(at % 2 ? IDS : IDS.slice(1), "other_side"));
  }
  return all;
}

interface Parsed {
  app: unknown;
  seconds: {
    at_s: number;
    verdict: { member: string };
    members: Record<string, unknown>[];
  }[];
}
const parse = (text: string) => JSON.parse(text) as Parsed;

describe("the report", () => {
  it("holds the last minute, each second by how long ago it was", () => {
    const report = parse(reportOf(history(HISTORY_S + 20)));
    expect(report.seconds.length).toBe(HISTORY_S);
    expect([report.seconds[0]?.at_s, report.seconds.at(-1)?.at_s]).toEqual([1 - HISTORY_S, 0]);
    expect(report.app).toEqual({ version: "0.1.0", os: "linux", arch: "x86_64" });
  });

  it("numbers members and says the same of one in every second", () => {
    const { seconds } = parse(reportOf(history(4)));
    const labels = seconds.map((one) => one.members.map((member) => member["member"]));
    expect(labels.map((one) => one.length)).toEqual([1, 2, 1, 2]);
    expect(labels.map((one) => one.at(-1))).toEqual(Array(4).fill("member 1"));
    expect(labels[1]?.[0]).toBe("member 2");
    expect(seconds.map((one) => one.verdict.member)).toEqual([
      "member 1",
      "member 2",
      "member 1",
      "member 2",
    ]);
  });

  it("holds nothing that tells who, where or which call", () => {
    // What somebody adds to the figures one day must not get in by itself.
    const leaky = history(3).map((view) => ({
      ...view,
      code: FAKE_CODE,
      address: "192.168.17.4",
      members: view.members.map((one) => ({ ...one, name: "Chiara Russo" })),
      up: { ...view.up, server: "wss://calls.example.org" },
    }));
    const text = reportOf(leaky);
    for (const secret of [...IDS, FAKE_CODE, "192.168", "Chiara", "wss:", "example"]) {
      expect(text).not.toContain(String(secret));
    }
    const [second] = parse(text).seconds;
    expect(Object.keys(second ?? {}).sort()).toEqual([
      "at_s",
      "down_bps",
      "members",
      "up",
      "verdict",
    ]);
    expect(Object.keys(second?.members[0] ?? {}).sort()).toEqual([
      "bitrate_bps",
      "codec",
      "concealed",
      "fps",
      "height",
      "jitter_ms",
      "loss",
      "member",
      "path",
      "rtt_ms",
      "width",
    ]);
  });

  it("is a report also before there is anything to tell", () => {
    const { app, seconds } = parse(reportOf([]));
    expect(seconds).toEqual([]);
    expect(app).toEqual({ version: VERSION, os: null, arch: null });
  });
});
