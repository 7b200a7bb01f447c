/** Every view there is: the scenes of the fake backend, and what opens in them. */

import { scenes } from "./browser.mjs";

/** What is opened in a scene: name, scene, and the presses that lead there. */
const OPENED = [
  ["call-4-help", "call-4", [{ key: "?" }]],
  ["call-4-menu", "call-4", [{ click: "menu-2" }]],
  ["call-4-devices", "call-4", [{ click: "device-menu" }]],
  ["call-4-pinned", "call-4", [{ click: "menu-2" }, { click: "pin-2" }]],
  ["call-9-people", "call-9", [{ key: "p" }]],
  ["call-9-speaker", "call-9", [{ key: "g" }]],
  ["call-49-speaker", "call-49", [{ key: "g" }]],
  ["call-49-next", "call-49", [{ key: "PageDown" }]],
];

/** All views, each with a name, a scene and the steps in it. */
export function views() {
  const plain = scenes().map((scene) => ({ name: scene, scene, steps: [] }));
  const opened = OPENED.map(([name, scene, steps]) => ({ name, scene, steps }));
  return [...plain, ...opened];
}

/** Shows a view. */
export async function show(page, { scene, steps }) {
  await page.open(scene);
  for (const { key, click } of steps) {
    if (key !== undefined) await page.press(key);
    else await page.click(click);
  }
  // Two frames: what was changed is laid out and drawn.
  await page.evaluate(
    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
  );
}
