import { afterEach, expect, it, vi } from "vitest";
import { drawsSlowly, pictureOf } from "./picture";

const WEBKITGTK =
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15";
const MACOS =
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
const CHROMIUM =
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

afterEach(() => {
  vi.restoreAllMocks();
});

it.each([
  [WEBKITGTK, true],
  [MACOS, false],
  [CHROMIUM, false],
])("%s draws slowly: %s", (userAgent, slow) => {
  expect(drawsSlowly(userAgent)).toBe(slow);
});

/** A grey picture as a decoder puts it out. */
function decoded(format = "I420") {
  const [width, height] = [32, 18];
  return {
    format,
    displayWidth: width,
    displayHeight: height,
    visibleRect: { x: 0, y: 0, width, height },
    allocationSize: () => (width * height * 3) / 2,
    copyTo: (data: Uint8Array) => {
      data.fill(128);
      const [y, u, v] = [0, width * height, (width * height * 5) / 4];
      return Promise.resolve([
        { offset: y, stride: width },
        { offset: u, stride: width / 2 },
        { offset: v, stride: width / 2 },
      ]);
    },
  } as unknown as VideoFrame;
}

/** How a picture is drawn at a size: from its samples, or by the webview. */
async function drawn(frame: VideoFrame, width: number, height: number): Promise<string> {
  let how = "not at all";
  const context = {
    drawImage: () => (how = "by the webview"),
    putImageData: (image: ImageData) =>
      (how = `from samples, ${[image.width, image.height, image.data[0]].join(" ")}`),
  } as unknown as CanvasRenderingContext2D;
  const picture = pictureOf(frame);
  await Promise.resolve();
  await Promise.resolve();
  await Promise.resolve();
  picture.draw(context, 0, 0, width, height);
  return how;
}

it("draws small pictures from their samples where the webview is slow", async () => {
  const agent = vi.spyOn(navigator, "userAgent", "get").mockReturnValue(WEBKITGTK);
  expect(await drawn(decoded(), 16, 9)).toBe("from samples, 16 9 130");
  expect(await drawn(decoded(), 1280, 720)).toBe("by the webview");
  expect(await drawn(decoded("NV12"), 16, 9)).toBe("by the webview");
  agent.mockReturnValue(CHROMIUM);
  expect(await drawn(decoded(), 16, 9)).toBe("by the webview");
});
