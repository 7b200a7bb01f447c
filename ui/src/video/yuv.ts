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

/** Where the samples of an I420 picture lie. */
export interface Planes {
  data: Uint8Array;
  width: number;
  height: number;
  /** Of Y, U and V, in bytes. */
  layout: readonly { readonly offset: number; readonly stride: number }[];
}

/** Planes that follow each other without padding. */
export function packedPlanes(data: Uint8Array, width: number, height: number): Planes {
  const chroma = Math.ceil(width / 2);
  const u = width * height;
  const layout = [
    { offset: 0, stride: width },
    { offset: u, stride: chroma },
    { offset: u + chroma * Math.ceil(height / 2), stride: chroma },
  ];
  return { data, width, height, layout };
}

/**
 * Scales a picture and converts it, BT.601 in limited range, into opaque RGBA of `width` × `height`:
 * the mean of four samples of luma, the nearest of chroma. In whole numbers, for it is done hundreds
 * of times a second.
 */
export function scaleI420(
  planes: Planes,
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
): void {
  const { data } = planes;
  const [y, u, v] = planes.layout;
  if (!y || !u || !v) return;
  const left = new Int32Array(width);
  const right = new Int32Array(width);
  for (let column = 0; column < width; column += 1) {
    left[column] = Math.floor((column * planes.width) / width);
    right[column] = Math.floor(((column + 0.5) * planes.width) / width);
  }
  let to = 0;
  for (let row = 0; row < height; row += 1) {
    const upper = Math.floor((row * planes.height) / height);
    const above = y.offset + upper * y.stride;
    const beneath = y.offset + Math.floor(((row + 0.5) * planes.height) / height) * y.stride;
    const fromU = u.offset + (upper >> 1) * u.stride;
    const fromV = v.offset + (upper >> 1) * v.stride;
    for (let column = 0; column < width; column += 1) {
      const a = left[column] ?? 0;
      const b = right[column] ?? 0;
      const sum =
        (data[above + a] ?? 0) +
        (data[above + b] ?? 0) +
        (data[beneath + a] ?? 0) +
        (data[beneath + b] ?? 0);
      const luma = 298 * ((sum >> 2) - 16) + 128;
      const blue = (data[fromU + (a >> 1)] ?? 128) - 128;
      const red = (data[fromV + (a >> 1)] ?? 128) - 128;
      rgba[to] = (luma + 409 * red) >> 8;
      rgba[to + 1] = (luma - 100 * blue - 208 * red) >> 8;
      rgba[to + 2] = (luma + 516 * blue) >> 8;
      rgba[to + 3] = 255;
      to += 4;
    }
  }
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
