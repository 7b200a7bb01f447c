/**
 * Pictures of every view at three sizes, light and dark:
 * `node tools/screenshots.mjs DIRECTORY [NAME…]`.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBrowser } from "./browser.mjs";
import { show, views } from "./views.mjs";

const SIZES = [
  [1280, 800],
  [900, 600],
  [480, 640],
];
/** Until the people on a picture have been drawn. */
const PICTURES_MS = 600;

const [directory, ...names] = process.argv.slice(2);
if (directory === undefined) throw new Error("where do the pictures go?");
mkdirSync(directory, { recursive: true });
const chosen = views().filter(({ name }) => names.length === 0 || names.includes(name));
const { page, close } = await openBrowser();
try {
  for (const view of chosen) {
    for (const [width, height] of view.size ? [view.size] : SIZES) {
      await page.resize(width, height);
      await page.prefer("light");
      await show(page, view);
      await new Promise((resolve) => setTimeout(resolve, PICTURES_MS));
      for (const scheme of ["light", "dark"]) {
        await page.prefer(scheme);
        await page.settle();
        const file = `${view.name}-${width}x${height}-${scheme}.png`;
        writeFileSync(join(directory, file), await page.screenshot());
      }
    }
    process.stdout.write(`${view.name}\n`);
  }
} finally {
  await close();
}
