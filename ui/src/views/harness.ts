/**
 * The whole UI on the fake backend, for tests: `show` a scene, touch it by test ids, look at what
 * was asked of the backend. Fake timers; `settle` lets time pass.
 */

import { flushSync, mount, unmount } from "svelte";
import { afterEach, beforeEach, vi } from "vitest";
import { App } from "../app.svelte";
import { FakeBackend } from "../backend/fake";
import type { Scene } from "../backend/fake-scenes";
import type { UiCommand } from "../generated/UiCommand";
import Root from "./Root.svelte";

/** The backend of the scene shown. */
export let backend: FakeBackend;
let root: ReturnType<typeof mount>;
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  // Nothing is laid out here; the grid needs a size to place tiles in.
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(1200);
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(700);
});
afterEach(async () => {
  await unmount(root);
  stop();
  backend.close();
  vi.useRealTimers();
});

export async function settle(ms = 0) {
  await vi.advanceTimersByTimeAsync(ms);
  flushSync();
}
export async function show(scene: Scene) {
  backend = new FakeBackend(scene);
  const app = new App(backend);
  stop = app.start();
  root = mount(Root, { target: document.body, props: { app } });
  await settle();
}
export const find = (testid: string) =>
  document.querySelector<HTMLElement>(`[data-testid="${testid}"]`);
export function get(testid: string): HTMLElement {
  const element = find(testid);
  if (!element) throw new Error(`no ${testid}`);
  return element;
}
export async function click(testid: string) {
  get(testid).click();
  await settle();
}
export async function type(testid: string, text: string) {
  const field = get(testid) as HTMLInputElement;
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  await settle();
}
export async function press(key: string, target: EventTarget = document.body) {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  await settle();
}
export async function letGo(key: string, target: EventTarget = document.body) {
  target.dispatchEvent(new KeyboardEvent("keyup", { key, bubbles: true, cancelable: true }));
  await settle();
}
export const sent = (kind: UiCommand["type"]) =>
  backend.commands.filter((one) => one.type === kind);
