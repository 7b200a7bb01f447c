/** Colour conversion for webviews without `VideoFrame`: I420, BT.601, limited range → RGBA. */

/** `data` holds planes Y, U, V without padding, chroma rounded up. */
export function i420ToRgba(
  data: Uint8Array,
  width: number,
  height: number,
): Uint8ClampedArray<ArrayBuffer> {
  const chromaWidth = Math.ceil(width / 2);
  const u = width * height;
  const v = u + chromaWidth * Math.ceil(height / 2);
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * width + column;
      const chroma = (row >> 1) * chromaWidth + (column >> 1);
      const luma = 1.164 * ((data[at] ?? 16) - 16);
      const blue = (data[u + chroma] ?? 128) - 128;
      const red = (data[v + chroma] ?? 128) - 128;
      rgba[at * 4] = luma + 1.596 * red;
      rgba[at * 4 + 1] = luma - 0.392 * blue - 0.813 * red;
      rgba[at * 4 + 2] = luma + 2.017 * blue;
      rgba[at * 4 + 3] = 255;
    }
  }
  return rgba;
}

/** The way back, for synthetic pictures. */
export function rgbaToI420(
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
): Uint8Array<ArrayBuffer> {
  const chromaWidth = Math.ceil(width / 2);
  const u = width * height;
  const v = u + chromaWidth * Math.ceil(height / 2);
  const data = new Uint8Array(v + (v - u));
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * width + column;
      const [r, g, b] = [rgba[at * 4] ?? 0, rgba[at * 4 + 1] ?? 0, rgba[at * 4 + 2] ?? 0];
      data[at] = 16.5 + 0.257 * r + 0.504 * g + 0.098 * b;
      if (row % 2 === 0 && column % 2 === 0) {
        const chroma = (row >> 1) * chromaWidth + (column >> 1);
        data[u + chroma] = 128.5 - 0.148 * r - 0.291 * g + 0.439 * b;
        data[v + chroma] = 128.5 + 0.439 * r - 0.368 * g - 0.071 * b;
      }
    }
  }
  return data;
}
