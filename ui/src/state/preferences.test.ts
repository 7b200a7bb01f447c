import { expect, it } from "vitest";
import { defaultPreferences, parsePreferences } from "./preferences";

it.each([
  [null, {}],
  ["", {}],
  ["nonsense", {}],
  ["null", {}],
  ["[]", {}],
  ["7", {}],
  ['{"corner":"middle","self_view":"no","layout":3}', {}],
  ['{"corner":"top_left"}', { corner: "top_left" }],
  [
    '{"corner":"top_right","self_view":false,"layout":"speaker","more":1}',
    { corner: "top_right", self_view: false, layout: "speaker" },
  ],
])("%s", (text, chosen) => {
  expect(parsePreferences(text)).toEqual({ ...defaultPreferences, ...chosen });
});
