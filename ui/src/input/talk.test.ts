import { expect, it } from "vitest";
import { notTalking, press, release, type Talk } from "./talk";

type Step = "down" | "repeat" | "up" | "blur" | "mute" | "unmute";

/** What the engine is told, for who is muted to begin with or not. */
function told(muted: boolean, steps: readonly Step[]): boolean[] {
  let talk: Talk = notTalking;
  let now = muted;
  const all: boolean[] = [];
  for (const step of steps) {
    if (step === "mute" || step === "unmute") {
      now = step === "mute";
      continue;
    }
    const next =
      step === "down" || step === "repeat" ? press(talk, now, step === "repeat") : release(talk);
    talk = next.talk;
    if (next.muted === null) continue;
    now = next.muted;
    all.push(now);
  }
  return all;
}

it.each<[string, boolean, Step[], boolean[]]>([
  ["unmutes while held", true, ["down", "up"], [false, true]],
  ["once, however often the key repeats", true, ["down", "repeat", "down", "up"], [false, true]],
  ["mutes when the window loses the keyboard", true, ["down", "blur", "up"], [false, true]],
  ["not again by repeating after that", true, ["down", "blur", "repeat"], [false, true]],
  ["does nothing to who is not muted", false, ["down", "repeat", "up"], []],
  ["mutes who was muted by others meanwhile", true, ["down", "mute", "up"], [false, true]],
  ["does not unmute again while held", true, ["down", "mute", "repeat", "down"], [false]],
  ["leaves muting while held alone", false, ["down", "mute", "up"], []],
  ["works again", true, ["down", "up", "down", "up"], [false, true, false, true]],
  ["ends nothing that did not begin", true, ["up", "blur"], []],
])("%s", (_, muted, steps, expected) => {
  expect(told(muted, steps)).toEqual(expected);
});

it("ends muted and unmutes by pressing only, whatever happens in whatever order", () => {
  const steps: Step[] = ["down", "repeat", "up", "blur", "mute"];
  for (let serial = 0; serial < steps.length ** 5; serial += 1) {
    const chosen = [0, 1, 2, 3, 4].map((at) => {
      const step = steps[Math.floor(serial / steps.length ** at) % steps.length];
      return step ?? "up";
    });
    const all = told(true, [...chosen, "blur"]);
    const presses = chosen.filter((one) => one === "down").length;
    expect(all.filter((muted) => !muted).length, chosen.join()).toBeLessThanOrEqual(presses);
    expect(all.at(-1) ?? true, chosen.join()).toBe(true);
  }
});
