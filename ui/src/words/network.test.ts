import { describe, expect, it } from "vitest";
import { CAUSES, networkView } from "../backend/fake-network";
import { formatBitrate, formatMs, formatShare } from "./format";
import {
  adviceText,
  memberFigures,
  sizeText,
  UNKNOWN,
  uplinkFigures,
  verdictText,
} from "./network";

const plain = (text: string) => text.replaceAll("\u00a0", " ");

describe("the connection in words", () => {
  it("writes figures as people read them", () => {
    const rates = [0, 950, 48_200, 999_600, 1_740_000, 123_000_000].map(formatBitrate).map(plain);
    expect(rates).toEqual([
      "0 bit/s",
      "950 bit/s",
      "48 kbit/s",
      "1.0 Mbit/s",
      "1.7 Mbit/s",
      "123 Mbit/s",
    ]);
    const shares = [0, 0.0004, 0.002, 0.0994, 0.0996, 1, 7, -1].map(formatShare).map(plain);
    expect(shares).toEqual(["0 %", "0 %", "0.2 %", "9.9 %", "10 %", "100 %", "100 %", "0 %"]);
    expect(plain(formatMs(41.7))).toBe("42 ms");
  });

  it("has a sentence and an advice for every cause, with the name where there is one", () => {
    for (const [cause, names, severity] of CAUSES) {
      const verdict = { cause, member: names ? 2 : null, severity };
      const said = verdictText(verdict, "Ada");
      expect(said.endsWith(".")).toBe(true);
      expect(said.includes("Ada")).toBe(names);
      expect(adviceText(verdict, "Ada").length).toBeGreaterThan(10);
      expect(said + adviceText(verdict, "Ada")).not.toContain("null");
      if (names) expect(verdictText(verdict, "")).toContain("Guest");
    }
    const all = { cause: "relay_path", member: null, severity: "mild" } as const;
    expect(verdictText(all, "")).not.toContain("Guest");
  });

  it("shows what is not known as such", () => {
    const [silent] = networkView([2, 3, 4, 5], null).members.slice(3);
    if (!silent) throw new Error("four members");
    const figures = memberFigures(silent);
    expect([figures.size, figures.codec, figures.rtt, figures.path]).toEqual([
      UNKNOWN,
      "",
      UNKNOWN,
      UNKNOWN,
    ]);
    expect(plain(sizeText({ width: 640, height: 360, fps: 14.6 }))).toBe("640 × 360, 15 fps");
    const { up, down_bps } = networkView([2], null);
    const nothing = uplinkFigures({ ...up, layers: [], target_bps: 0 }, down_bps);
    expect(nothing.slice(0, 3).map(([, figure]) => plain(figure))).toEqual([
      "not sent",
      "1.8 Mbit/s",
      `${UNKNOWN} of 2.0 Mbit/s wanted`,
    ]);
  });
});
