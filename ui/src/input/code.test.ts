import { describe, expect, it } from "vitest";
import { checkCode, formatCode, formatCodeAt } from "./code";

describe("formatCode", () => {
  it.each([
    ["", ""],
    ["k7mq", "K7MQ"],
    ["k7mq2", "K7MQ-2"],
    ["K7MQ-", "K7MQ"],
    ["k7mq2x9drtb4", "K7MQ-2X9D-RTB4"],
    ["K7MQ 2X9D RTB4", "K7MQ-2X9D-RTB4"],
    ["K7MQ–2X9D–RTB4", "K7MQ-2X9D-RTB4"],
    ["oil0-oil0-oil0", "0110-0110-0110"],
    ["visavis://join/K7MQ-2X9D-RTB4", "K7MQ-2X9D-RTB4"],
    ["VISAVIS://JOIN/k7mq2x9drtb4?x=1", "K7MQ-2X9D-RTB4"],
    ["https://calls.example/join/k7mq-2x9d-rtb4#a", "K7MQ-2X9D-RTB4"],
    ["Come over, this code will work: k7mq-2x9d-rtb4. See you!", "K7MQ-2X9D-RTB4"],
    ["k7mu", "K7MU"],
    ["k7mq2x9drtb4zz", "K7MQ-2X9D-RTB4-ZZ"],
  ])("%j → %j", (typed, shown) => {
    expect(formatCode(typed)).toBe(shown);
  });

  it("keeps a bounded number of characters", () => {
    expect(formatCode("7".repeat(5000)).length).toBeLessThan(32);
  });
});

describe("formatCodeAt", () => {
  it.each([
    // typed, caret, shown, caret after
    ["k7mq2", 5, "K7MQ-2", 6],
    ["K7MQ2X9D", 4, "K7MQ-2X9D", 4],
    ["K7XMQ-2X9D", 3, "K7XM-Q2X9-D", 3],
    ["K7MQZ-2X9D", 5, "K7MQ-Z2X9-D", 6],
    ["-K7", 1, "K7", 0],
  ])("%j at %i → %j at %i", (typed, caret, text, after) => {
    expect(formatCodeAt(typed, caret)).toEqual({ text, caret: after });
  });
});

describe("checkCode", () => {
  it.each([
    ["", { kind: "empty" }],
    [" - ", { kind: "empty" }],
    ["K7MQ-2X9D", { kind: "short", symbols: 8 }],
    ["K7MQ-2X9D-RTB4-Z", { kind: "long", symbols: 13 }],
    ["K7MQ-2X9D-RTBU", { kind: "bad_symbol", symbol: "U" }],
    ["K7MQ-2X9D-RTB!", { kind: "bad_symbol", symbol: "!" }],
    ["K7MQ-2X9D-RTBÄ", { kind: "bad_symbol", symbol: "Ä" }],
    ["k7mq2x9drtbo", { kind: "complete", code: "K7MQ-2X9D-RTB0" }],
    ["visavis://join/k7mq2x9drtb4", { kind: "complete", code: "K7MQ-2X9D-RTB4" }],
  ])("%j", (typed, check) => {
    expect(checkCode(typed)).toEqual(check);
  });
});
