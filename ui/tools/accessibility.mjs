/**
 * Runs axe-core on every view, and its contrast rule in both themes. Prints what it finds; fails if
 * that is anything.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openBrowser } from "./browser.mjs";
import { show, views } from "./views.mjs";

const AXE = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
/** Without pictures: what they show is nothing axe could judge, and drawing them costs the most. */
const NO_PICTURES = "delete globalThis.OffscreenCanvas;";
const ALL = `{ resultTypes: ["violations"] }`;
const CONTRAST = `{ resultTypes: ["violations"], runOnly: ["color-contrast"] }`;

/** What axe finds in the page as it is, in words. */
async function inspect(page, options, name, scheme) {
  const found = await page.evaluate(`axe.run(document, ${options}).then((r) => r.violations)`);
  return found.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html }) => `${name} (${scheme}): ${id}: ${help}\n    ${html.slice(0, 200)}`),
  );
}

/** Views that differ from another in words or numbers only. */
const ALIKE = [
  /^(network-(?!my_cpu)|sound-only-2|drop-|error-code|chat-long|dark|offline|weak|call-49-)/,
  /^(screens-people|german-(rooms|settings-|call-4$|removed|knocks))/,
];

const wanted = process.argv.slice(2);
const chosen = views().filter(
  ({ name }) =>
    wanted.includes(name) || (wanted.length === 0 && !ALIKE.some((alike) => alike.test(name))),
);

/** What is found in `some` views, in a browser of their own. */
async function examine(some) {
  const { page, close } = await openBrowser(NO_PICTURES + AXE);
  const found = [];
  try {
    await page.resize(1280, 800);
    for (const view of some) {
      await page.prefer("light");
      await show(page, view);
      found.push(...(await inspect(page, ALL, view.name, "light")));
      await page.prefer("dark");
      found.push(...(await inspect(page, CONTRAST, view.name, "dark")));
    }
  } finally {
    await close();
  }
  return found;
}

// One page is busy in one process, so that two are done in half the time.
const shares = [0, 1].map((share) => chosen.filter((_, index) => index % 2 === share));
const found = (await Promise.all(shares.map(examine))).flat();
for (const line of found) process.stdout.write(`${line}\n`);
process.stdout.write(`accessibility: ${chosen.length} views, ${found.length} findings\n`);
if (found.length > 0) process.exitCode = 1;
