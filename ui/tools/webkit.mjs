/**
 * A WebKitGTK on the built UI with its fake backend, for measurements: what the app's window is made of
 * on Linux, by WebDriver, on an X display of its own.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { serveDist } from "./browser.mjs";

const DRIVER = "/usr/bin/WebKitWebDriver";
const BROWSERS = ["x86_64", "aarch64"].map(
  (machine) => `/usr/lib/${machine}-linux-gnu/webkit2gtk-4.1/MiniBrowser`,
);
const PATIENCE_MS = 30_000;
/** WebDriver's name of the key. */
const KEYS = { Escape: "\uE00C" };

/** Starts it with one page of this size; `null` where a part is missing. */
export async function openWebKit(width, height) {
  const binary = BROWSERS.find((path) => existsSync(path));
  if (binary === undefined || !existsSync(DRIVER) || !existsSync("/usr/bin/Xvfb")) return null;
  const server = await serveDist();
  const started = [];
  const close = () => {
    for (const program of started) program.kill();
    server.close();
  };
  try {
    const { page, end } = await openPage(binary, server.origin, started);
    await page.resize(width, height);
    return { page, close: () => end().finally(close) };
  } catch (error) {
    close();
    throw error;
  }
}

/** A session with its page; what it takes to run is added to `started`. */
async function openPage(binary, origin, started) {
  const screen = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1600x1200x24"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  started.push(screen);
  const display = await new Promise((resolve, reject) => {
    screen.stdio[3].once("data", (number) => resolve(`:${String(number).trim()}`));
    screen.once("exit", () => reject(new Error("Xvfb does not start")));
  });
  const port = await freePort();
  const driver = spawn(DRIVER, [`--port=${String(port)}`], {
    env: { ...process.env, DISPLAY: display },
    stdio: "ignore",
  });
  started.push(driver);
  const ask = async (method, path, body) => {
    const given = { method, body: body && JSON.stringify(body) };
    const answer = await fetch(`http://127.0.0.1:${String(port)}${path}`, given);
    const { value } = await answer.json();
    if (value?.error) throw new Error(value.message);
    return value;
  };
  await patiently(() => ask("GET", "/status"));
  const options = { "webkitgtk:browserOptions": { binary, args: ["--automation"] } };
  const { sessionId } = await ask("POST", "/session", { capabilities: { alwaysMatch: options } });
  const session = `/session/${sessionId}`;
  const page = new Page((method, path, body) => ask(method, session + path, body), origin);
  const end = () => ask("DELETE", session).catch(() => undefined);
  return { page, end };
}

class Page {
  constructor(ask, origin) {
    this.ask = ask;
    this.origin = origin;
  }

  /** The window's decoration comes on top. */
  async resize(width, height) {
    await this.ask("POST", "/window/rect", { width, height });
    const [w, h] = await this.evaluate("[innerWidth, innerHeight]");
    await this.ask("POST", "/window/rect", { width: 2 * width - w, height: 2 * height - h });
  }

  async open(scene) {
    await this.ask("POST", "/url", { url: `${this.origin}/?scene=${scene}` });
  }

  async evaluate(expression) {
    return this.ask("POST", "/execute/sync", { script: `return ${expression};`, args: [] });
  }

  async run(script) {
    await this.ask("POST", "/execute/sync", { script, args: [] });
  }

  async until(expression) {
    await patiently(async () => {
      if (!(await this.evaluate(expression))) throw new Error(`never true: ${expression}`);
    });
  }

  async press(key) {
    const value = KEYS[key] ?? key;
    await this.act("key", [
      { type: "keyDown", value },
      { type: "keyUp", value },
    ]);
  }

  async clickAt(x, y) {
    await this.act("pointer", [
      { type: "pointerMove", x: Math.round(x), y: Math.round(y) },
      { type: "pointerDown", button: 0 },
      { type: "pointerUp", button: 0 },
    ]);
  }

  async act(type, actions) {
    await this.ask("POST", "/actions", { actions: [{ type, id: type, actions }] });
  }
}

async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function patiently(attempt) {
  const started = Date.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() - started > PATIENCE_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
