import { expect, it } from "vitest";
import { listen, unheard } from "./unheard";

/** Levels every 100 ms: `#` loud, `.` quiet, `u` unmuted and loud. Says when it is shown. */
function shown(levels: string): string {
  let state = unheard;
  return [...levels]
    .map((one, at) => {
      state = listen(state, one === "." ? 0.01 : 0.4, one !== "u", at * 100);
      return state.shown ? "!" : "-";
    })
    .join("");
}

it.each([
  ["speech", "##########", "-------!!!"],
  ["a cough", "####......", "----------"],
  ["words with gaps between them", "####..#####..", "----------!!!"],
  ["silence for a while", `########${".".repeat(42)}`, `-------${"!".repeat(40)}---`],
  ["speech again meanwhile", `########${".".repeat(30)}#....`, `-------${"!".repeat(36)}`],
  ["unmuting", "#########u###", "-------!!----"],
  ["somebody heard", "uuuuuuuuuuuuu", "-------------"],
])("%s", (_, levels, expected) => {
  expect(shown(levels)).toBe(expected);
});

it("takes no gap between levels for speech", () => {
  const first = listen(unheard, 0.5, true, 0);
  expect(listen(first, 0.5, true, 60_000).shown).toBe(false);
});
