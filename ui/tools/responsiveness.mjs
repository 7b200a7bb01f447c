/**
 * How fast the window answers while 49 people are on it: presses keys and buttons in a headless
 * Chromium without a GPU, and in a WebKitGTK if there is one, and measures from the input to the frame
 * that answers it. Prints tables.
 *
 * "To the next frame" is from the input's own time until the page's work for the next frame is done;
 * "to the screen" is what the Event Timing API says, in steps of 8 ms, until that frame is shown.
 * WebKitGTK does not say that: "to the frame after" is until the page is asked for another frame, which
 * is once that one is taken.
 */

import { cpus } from "node:os";
import { openBrowser } from "./browser.mjs";
import { openWebKit } from "./webkit.mjs";

const SCENE = "crowd";
const TILES = 49;
const SIZE = [1280, 800];
const INPUTS = 100;
/** Between two inputs: an answer and what it sets off are over by then. */
const PAUSE_MS = 300;
const WARM_UP_MS = 4_000;
/** Of drawing alone, before the inputs. */
const IDLE_MS = 8_000;

/** What is done in turn: a key, or a click on a test id. Everything is opened and closed again. */
const TURNS = [
  { key: "m" },
  { click: "people-button" },
  { key: "m" },
  { click: "close-people" },
  { key: "g" },
  { click: "chat-button" },
  { click: "close-chat" },
  { key: "g" },
  { click: "camera-button" },
  { key: "h" },
  { click: "room-menu" },
  { key: "h" },
  { click: "room-menu" },
  { click: "camera-button" },
  { key: "p" },
  { click: "mute-button" },
  { key: "p" },
  { click: "mute-button" },
  { key: "," },
  { key: "Escape" },
];

/** In the page, before pictures come: counts them as they are drawn. */
const COUNT = `
  globalThis.drawn = 0;
  for (const name of ["drawImage", "putImageData"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      drawn += 1;
      draw.apply(this, given);
    };
  }
`;

/** In the page: when what answers an input is done, and what the Event Timing API says of it. */
const WATCH = `
  globalThis.answers = [];
  globalThis.followed = [];
  globalThis.shown = [];
  const after = new MessageChannel();
  const waiting = [];
  after.port1.onmessage = () => {
    for (const started of waiting.splice(0)) answers.push(performance.now() - started);
  };
  for (const kind of ["keydown", "click"]) {
    addEventListener(kind, (event) => {
      requestAnimationFrame(() => {
        waiting.push(event.timeStamp);
        after.port2.postMessage(null);
        requestAnimationFrame(() => followed.push(performance.now() - event.timeStamp));
      });
    }, true);
  }
  new PerformanceObserver((list) => {
    for (const { interactionId, duration } of list.getEntries())
      if (interactionId) shown.push([interactionId, duration]);
  }).observe({ type: "event", durationThreshold: 16, buffered: true });
`;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

const inputs = [];
const tiles = [];
await inChromium();
await inWebKit();
print([["Input, ms", "webview", "inputs", "median", "p95", "max"], ...inputs]);
print([
  [
    `${TILES} tiles at ${SIZE.join(" × ")}`,
    "webview",
    "pictures/s of a tile",
    "main thread",
    "all threads",
  ],
  ...tiles,
]);
process.stdout.write(`${cpus()[0]?.model ?? "?"}, ${cpus().length} processors, no GPU\n`);

async function inChromium() {
  const { page, send, close } = await openBrowser(COUNT);
  try {
    await page.resize(...SIZE);
    await page.prefer("light", true);
    await page.send("Performance.enable");
    await showCrowd(page);
    const clickAt = async (x, y) => {
      const at = { x, y, button: "left", clickCount: 1 };
      await page.send("Input.dispatchMouseEvent", { type: "mousePressed", ...at });
      await page.send("Input.dispatchMouseEvent", { type: "mouseReleased", ...at });
    };
    const measured = (during) => measure(() => figures(page, send), during);
    const idle = await measured(() => pause(IDLE_MS));
    await page.evaluate(WATCH);
    const busy = await measured(() => doAll(page, clickAt));
    const shown = new Map();
    for (const [id, ms] of await page.evaluate("shown")) {
      shown.set(id, Math.max(ms, shown.get(id) ?? 0));
    }
    // What took less than 16 ms is not told.
    const screen = [...shown.values(), ...Array(Math.max(0, INPUTS - shown.size)).fill(16)];
    inputs.push(
      row("to the next frame", "chromium", await page.evaluate("answers")),
      row("to the screen", "chromium", screen),
    );
    tiles.push(
      ["nobody touches it", "chromium", ...idle],
      // Panels and pages take tiles away meanwhile, so their pictures say nothing.
      [`${INPUTS} inputs`, "chromium", "", ...busy.slice(1)],
    );
  } finally {
    await close();
  }
}

async function inWebKit() {
  const webkit = await openWebKit(...SIZE);
  if (webkit === null) return;
  const { page, close } = webkit;
  try {
    await showCrowd(page);
    await page.run(COUNT);
    const drawn = async () => {
      const [at_ms, count] = await page.evaluate("[performance.now(), drawn]");
      return { at_s: at_ms / 1_000, drawn: count };
    };
    const [pictures] = await measure(drawn, () => pause(IDLE_MS));
    await page.run(WATCH);
    await doAll(page, (x, y) => page.clickAt(x, y));
    inputs.push(
      row("to the next frame", "webkitgtk", await page.evaluate("answers")),
      row("to the frame after", "webkitgtk", await page.evaluate("followed")),
    );
    tiles.push(["nobody touches it", "webkitgtk", pictures, "", ""]);
  } finally {
    await close();
  }
}

async function showCrowd(page) {
  await page.open(SCENE);
  await page.until(`document.querySelectorAll("canvas.shown").length === ${TILES}`);
  await pause(WARM_UP_MS);
}

async function doAll(page, clickAt) {
  for (let at = 0; at < INPUTS; at += 1) {
    const { key, click } = TURNS[at % TURNS.length];
    if (key === undefined) await clickAt(...(await placeOf(page, click)));
    else await page.press(key);
    await pause(PAUSE_MS);
  }
}

/** The middle of what has a test id. */
async function placeOf(page, testid) {
  return page.evaluate(`(() => {
    const found = document.querySelector('[data-testid="${testid}"]');
    const { x, y, width, height } = found.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  })()`);
}

/** Pictures a second of each tile, and the share of one processor, of the main thread and of all. */
async function measure(figures, during) {
  const before = await figures();
  await during();
  const after = await figures();
  const seconds = after.at_s - before.at_s;
  const share = (of) => `${Math.round(((after[of] - before[of]) / seconds) * 100)} %`;
  const pictures = (after.drawn - before.drawn) / seconds / TILES;
  return [pictures.toFixed(1), share("main_s"), share("all_s")];
}

async function figures(page, send) {
  const { metrics } = await page.send("Performance.getMetrics");
  const value = (name) => metrics.find((one) => one.name === name).value;
  const { processInfo } = await send("SystemInfo.getProcessInfo");
  return {
    at_s: value("Timestamp"),
    main_s: value("TaskDuration"),
    all_s: processInfo.reduce((sum, one) => sum + one.cpuTime, 0),
    drawn: await page.evaluate("drawn"),
  };
}

function row(name, webview, values) {
  const sorted = values.toSorted((a, b) => a - b);
  const told = [quantile(sorted, 0.5), quantile(sorted, 0.95), sorted.at(-1)];
  return [name, webview, sorted.length, ...told.map((ms) => ms.toFixed(0))];
}

function print([head, ...rows]) {
  const lines = [head, head.map(() => "---"), ...rows];
  process.stdout.write(`${lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n\n`);
}
