import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Picture } from "./picture";
import { PASS_MS, Renderer, type TileState } from "./renderer";

let loop: (() => void)[];
let renderer: Renderer;
let states: TileState[];
const context = { fillRect: vi.fn(), clearRect: vi.fn(), fillStyle: "" };
const canvas = () =>
  ({ width: 640, height: 360, getContext: () => context }) as unknown as HTMLCanvasElement;
const picture = (width = 1280, height = 720) =>
  ({ width, height, draw: vi.fn(), close: vi.fn() }) satisfies Picture;
const animate = () => {
  for (const callback of loop.splice(0)) callback();
};

beforeEach(() => {
  loop = [];
  states = [];
  vi.stubGlobal("requestAnimationFrame", (callback: () => void) => loop.push(callback));
  vi.stubGlobal("cancelAnimationFrame", vi.fn());
  renderer = new Renderer();
  renderer.add("7/camera", canvas(), (state) => states.push(state));
});
afterEach(() => {
  vi.unstubAllGlobals();
});

it("draws only the newest picture of a tile and closes all", () => {
  const [old, newest] = [picture(), picture()];
  renderer.show("7/camera", old);
  renderer.show("7/camera", newest);
  expect(loop).toHaveLength(1);
  animate();
  expect(old.draw).not.toHaveBeenCalled();
  expect(newest.draw).toHaveBeenCalledWith(context, 0, 0, 640, 360);
  expect(old.close).toHaveBeenCalledTimes(1);
  expect(newest.close).toHaveBeenCalledTimes(1);
  const size = { width: 1280, height: 720 };
  expect(states).toEqual([{ live: true, drawn_frames: 1, size }]);
  expect(loop).toHaveLength(0);
});

it("draws all tiles in one loop and letterboxes", () => {
  renderer.add("8/camera", canvas(), () => undefined);
  const [wide, square] = [picture(), picture(100, 100)];
  renderer.show("7/camera", wide);
  renderer.show("8/camera", square);
  expect(loop).toHaveLength(1);
  animate();
  expect(square.draw).toHaveBeenCalledWith(context, 140, 0, 360, 360);
  expect(context.fillRect).toHaveBeenCalledTimes(1);
});

it("follows the tile's size with the next picture", () => {
  const small = canvas();
  renderer.add("7/camera", small, () => undefined);
  renderer.resize("7/camera", 320, 180);
  expect(small.width).toBe(640);
  renderer.show("7/camera", picture());
  animate();
  expect([small.width, small.height]).toEqual([320, 180]);
});

it("closes what it cannot draw", () => {
  const [stranger, left, refused] = [picture(), picture(), picture()];
  renderer.show("9/camera", stranger);
  expect(stranger.close).toHaveBeenCalled();
  refused.draw.mockImplementation(() => {
    throw new Error("closed");
  });
  renderer.show("7/camera", refused);
  animate();
  expect(refused.close).toHaveBeenCalled();
  renderer.show("7/camera", left);
  renderer.remove("7/camera");
  expect(left.close).toHaveBeenCalled();
  expect(states).toEqual([]);
});

it("reports counters that moved and goes blank", () => {
  const size = { width: 1280, height: 720 };
  for (let count = 0; count < 3; count += 1) {
    renderer.show("7/camera", picture());
    animate();
  }
  renderer.report();
  renderer.report();
  renderer.blank("7/camera");
  renderer.blank("7/camera");
  expect(states).toEqual([
    { live: true, drawn_frames: 1, size },
    { live: true, drawn_frames: 3, size },
    { live: false, drawn_frames: 3, size },
  ]);
});

it("tells at once when pictures have another size", () => {
  renderer.show("7/camera", picture());
  animate();
  const small = { width: 640, height: 360 };
  renderer.show("7/camera", { ...picture(), ...small });
  animate();
  expect(states.map((state) => state.size)).toEqual([{ width: 1280, height: 720 }, small]);
});

it("draws a crowd in passes, and each picture of a few at once", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  const show = () => {
    renderer.show("7/camera", picture());
    return loop.length;
  };
  expect(show()).toBe(1);
  animate();
  expect(show()).toBe(1);
  animate();
  for (let member = 20; member < 60; member += 1) {
    renderer.add(`${String(member)}/camera`, canvas(), () => undefined);
  }
  expect(show()).toBe(0);
  vi.advanceTimersByTime(PASS_MS - 1);
  expect(show()).toBe(0);
  vi.advanceTimersByTime(1);
  expect(loop).toHaveLength(1);
  animate();
  // Nothing came for a while: what comes now waits for nothing.
  vi.advanceTimersByTime(PASS_MS);
  expect(show()).toBe(1);
  vi.useRealTimers();
});

it("draws in memory where the webview draws slowly, and no more of a dense screen than there is to see", () => {
  const slow = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 Version/60.5 Safari/605.1.15";
  const drawn = (userAgent: string, place: [number, number], size: [number, number]) => {
    vi.stubGlobal("navigator", { userAgent });
    const getContext = vi.fn((...given: unknown[]) => (given.length > 0 ? context : null));
    const made = { width: 0, height: 0, getContext };
    renderer.add("8/camera", made as unknown as HTMLCanvasElement, () => undefined);
    renderer.resize("8/camera", ...place);
    renderer.show("8/camera", picture(...size));
    animate();
    const options = getContext.mock.calls[0]?.[1] as CanvasRenderingContext2DSettings;
    return [options.willReadFrequently, made.width, made.height];
  };
  expect(drawn(slow, [178, 100], [320, 180])).toEqual([true, 178, 100]);
  expect(drawn(slow, [1920, 1080], [320, 180])).toEqual([true, 1920, 1080]);
  expect(drawn(slow, [3840, 2160], [1280, 720])).toEqual([true, 1920, 1080]);
  expect(drawn(slow, [3840, 2160], [2880, 1620])).toEqual([true, 2880, 1620]);
  const chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0";
  expect(drawn(chromium, [3840, 2160], [1280, 720])).toEqual([false, 3840, 2160]);
});
