/**
 * A headless Chromium on the built UI with its fake backend, for screenshots, accessibility and
 * measurements: commands of the DevTools protocol through a pipe, which ends the browser when this
 * process ends.
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const NAMES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  "--hide-scrollbars",
  "--remote-debugging-pipe",
];
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
/** A cold start on a busy machine takes seconds. */
const PATIENCE_MS = 60_000;

/** The scenes of the fake backend, as its source lists them. */
export function scenes() {
  const source = readFileSync(new URL("../src/backend/fake-scenes.ts", import.meta.url), "utf8");
  const list = /SCENES = \[([^\]]*)\]/.exec(source)?.[1] ?? "";
  return [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name);
}

/** Where Chromium is; `null` where there is none. */
function findChromium() {
  return [process.env.CHROMIUM, ...NAMES].find((path) => path && existsSync(path)) ?? null;
}

/**
 * The browser's helpers outlive it for a moment and write into its profile meanwhile. What cannot be
 * removed for two seconds stays: it is in the system's folder for such things.
 */
async function removeProfile(profile) {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    try {
      rmSync(profile, { recursive: true, force: true });
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Starts a browser with one page; `send` speaks to the browser itself. `setUp` is a script that runs before any of a page's own. */
export async function openBrowser(setUp = "") {
  const program = findChromium();
  if (program === null) throw new Error("there is no Chromium; the variable CHROMIUM may name one");
  const server = await serveDist();
  const profile = mkdtempSync(join(tmpdir(), "visavis-ui-"));
  const browser = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    env: { ...process.env, HOME: profile },
  });
  const ended = new Promise((resolve) => browser.on("exit", resolve));
  const { send } = talk(browser.stdio[3], browser.stdio[4]);
  const { targetInfos } = await send("Target.getTargets");
  const { targetId } = targetInfos.find((one) => one.type === "page");
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = new Page((method, more) => send(method, more, sessionId), server.origin);
  await page.send("Page.enable");
  // What was chosen in one view is no part of the next.
  const source = `if (location.protocol === "http:") localStorage.clear();${setUp}`;
  await page.send("Page.addScriptToEvaluateOnNewDocument", { source });
  const close = async () => {
    browser.kill("SIGKILL");
    await ended;
    server.close();
    await removeProfile(profile);
  };
  return { page, send, close };
}

class Page {
  constructor(send, origin) {
    this.send = send;
    this.origin = origin;
  }

  async resize(width, height) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: false };
    await this.send("Emulation.setDeviceMetricsOverride", metrics);
  }

  /** `scheme` is light or dark. Nothing moves by itself unless `motion` says so. */
  async prefer(scheme, motion = false) {
    const features = [
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: motion ? "no-preference" : "reduce" },
    ];
    await this.send("Emulation.setEmulatedMedia", { features });
  }

  /** Opens a scene and waits until it stands. `language` is that of the system's unless given. */
  async open(scene, language) {
    const search = `?scene=${scene}${language === undefined ? "" : `&language=${language}`}`;
    await this.send("Page.navigate", { url: `${this.origin}/${search}` });
    await this.until(`location.search === "${search}" && document.querySelector("main") !== null
      && !document.querySelector("main[aria-busy]")`);
  }

  /** What an expression is worth; promises are waited for. */
  async evaluate(expression) {
    const given = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", given);
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  async until(expression) {
    const started = Date.now();
    while (!(await this.evaluate(expression).catch(() => false))) {
      if (Date.now() - started > PATIENCE_MS) throw new Error(`never true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Clicks what has a test id, once it is there; of a disclosure, what opens it. */
  async click(testid) {
    const found = `document.querySelector('[data-testid="${testid}"]')`;
    await this.until(`${found} !== null`);
    await this.evaluate(`(${found}.querySelector(":scope > summary") ?? ${found}).click()`);
  }

  async press(key) {
    const text = key.length === 1 ? { text: key } : {};
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", key, ...text });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", key });
  }

  /** Waits two frames: what was changed is laid out and drawn then. */
  async settle() {
    await this.evaluate(
      "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
    );
  }

  /** A PNG. */
  async screenshot() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data, "base64");
  }
}

/** Messages through a pair of pipes, each ended by a NUL. */
function talk(output, input) {
  const waiting = new Map();
  let serial = 0;
  let rest = "";
  input.on("data", (part) => {
    const messages = (rest + part).split("\0");
    rest = messages.pop();
    for (const text of messages) {
      const { id, result, error } = JSON.parse(text);
      const asked = waiting.get(id);
      waiting.delete(id);
      if (error) asked?.reject(new Error(error.message));
      else asked?.resolve(result);
    }
  });
  input.setEncoding("utf8");
  const fail = () => {
    for (const { reject } of waiting.values()) reject(new Error("the browser is gone"));
    waiting.clear();
  };
  input.on("close", fail);
  output.on("error", fail);
  const send = (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      serial += 1;
      waiting.set(serial, { resolve, reject });
      output.write(`${JSON.stringify({ id: serial, method, params, sessionId })}\0`);
    });
  return { send };
}

/** Serves the built UI; `origin` is where. */
export async function serveDist() {
  if (!existsSync(join(DIST, "index.html"))) throw new Error("ui/dist is missing: npm run build");
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const file = join(DIST, normalize(pathname === "/" ? "/index.html" : pathname));
    if (!file.startsWith(DIST) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type }).end(readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => server.close(),
  };
}
