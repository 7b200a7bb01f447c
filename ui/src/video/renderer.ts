/**
 * Draws the newest picture of every tile onto its canvas, all in one animation loop.
 *
 * A crowd's pictures come at all times and its tiles are small: without a GPU the whole window is put
 * together anew for each of them, so they are drawn in passes.
 *
 * Invariants: at most one picture per tile is held; a picture that is replaced, drawn, or left
 * behind by its tile is closed; the loop runs only while something waits to be drawn.
 */

import { contain } from "../layout/arrange";
import { drawsSlowly, type Picture } from "./picture";

/** Tiles from which on pictures are drawn in passes. Fewer delay pictures one looks at closely. */
const CROWD_TILES = 17;
/**
 * Between two passes. Longer leaves more time to answer the person, where each pass costs a good part
 * of this; shorter is smoother than what members send to a crowd (15 to 20 pictures a second).
 */
export const PASS_MS = 50;
/**
 * Where the webview draws slowly, pictures are drawn in memory: WebKitGTK draws places from 128 × 128 on
 * by OpenGL, which without a GPU took 120 ms a frame for 25 small places or a large one (16 to 40 so).
 * With a dense screen the memory is what takes long, so that larger places are stretched from this many
 * pixels, or those of the picture if it has more.
 */
const MOST_IN_MEMORY_PX = 1920 * 1080;

export interface TileState {
  /** The canvas shows a picture. */
  live: boolean;
  /** Pictures drawn since the tile is on screen. */
  drawn_frames: number;
  /** Of the newest picture, in pixels; absent before the first. */
  size?: { width: number; height: number };
}

interface Tile {
  canvas: HTMLCanvasElement;
  context: CanvasRenderingContext2D | null;
  width_px: number;
  height_px: number;
  waiting: Picture | null;
  state: TileState;
  reported: number;
  onState: (state: TileState) => void;
}

export class Renderer {
  private readonly tiles = new Map<string, Tile>();
  private scheduled = 0;
  /** Until the next pass may begin. */
  private pause: ReturnType<typeof setTimeout> | undefined;
  private drawn_ms = -Infinity;

  /** Puts a tile on screen. `onState` is called whenever pictures begin or change their size, and about once a second. */
  add(key: string, canvas: HTMLCanvasElement, onState: (state: TileState) => void): void {
    this.remove(key);
    this.tiles.set(key, {
      canvas,
      context: contextOf(canvas),
      width_px: canvas.width,
      height_px: canvas.height,
      waiting: null,
      state: { live: false, drawn_frames: 0 },
      reported: 0,
      onState,
    });
  }

  remove(key: string): void {
    this.tiles.get(key)?.waiting?.close();
    this.tiles.delete(key);
  }

  /** The tile's size in physical pixels; the canvas follows with the next picture. */
  resize(key: string, width_px: number, height_px: number): void {
    const tile = this.tiles.get(key);
    if (!tile) return;
    tile.width_px = width_px;
    tile.height_px = height_px;
  }

  /** Takes the picture over. */
  show(key: string, picture: Picture): void {
    const tile = this.tiles.get(key);
    if (!tile) {
      picture.close();
      return;
    }
    tile.waiting?.close();
    tile.waiting = picture;
    this.schedule();
  }

  /** The tile's picture is over (camera off): forget it. */
  blank(key: string): void {
    const tile = this.tiles.get(key);
    if (!tile || (!tile.state.live && tile.waiting === null)) return;
    tile.waiting?.close();
    tile.waiting = null;
    tile.context?.clearRect(0, 0, tile.canvas.width, tile.canvas.height);
    if (!tile.state.live) return;
    tile.state = { ...tile.state, live: false };
    tile.onState(tile.state);
  }

  /** Reports the counters that moved; to be called about once a second. */
  report(): void {
    for (const tile of this.tiles.values()) {
      if (tile.state.drawn_frames === tile.reported) continue;
      tile.reported = tile.state.drawn_frames;
      tile.onState(tile.state);
    }
  }

  close(): void {
    clearTimeout(this.pause);
    cancelAnimationFrame(this.scheduled);
    for (const key of [...this.tiles.keys()]) this.remove(key);
  }

  private schedule(): void {
    if (this.scheduled !== 0 || this.pause !== undefined) return;
    const crowded = this.tiles.size >= CROWD_TILES;
    const wait_ms = crowded ? this.drawn_ms + PASS_MS - performance.now() : 0;
    if (wait_ms <= 0) {
      this.scheduled = requestAnimationFrame(this.draw);
      return;
    }
    this.pause = setTimeout(() => {
      this.pause = undefined;
      this.scheduled = requestAnimationFrame(this.draw);
    }, wait_ms);
  }

  private readonly draw = (): void => {
    this.scheduled = 0;
    this.drawn_ms = performance.now();
    for (const tile of this.tiles.values()) {
      const picture = tile.waiting;
      if (!picture) continue;
      tile.waiting = null;
      const { width, height } = picture;
      try {
        this.drawTile(tile, picture);
      } catch {
        // A picture the canvas refuses is skipped; the next one may do.
        continue;
      } finally {
        picture.close();
      }
      const wasLive = tile.state.live;
      const { drawn_frames, size } = tile.state;
      const resized = size?.width !== width || size.height !== height;
      tile.state = {
        live: true,
        drawn_frames: drawn_frames + 1,
        size: resized ? { width, height } : size,
      };
      if (!wasLive || resized) tile.onState(tile.state);
    }
  };

  private drawTile(tile: Tile, picture: Picture): void {
    const { canvas, context } = tile;
    if (!context) return;
    const [width_px, height_px] = drawnSize(tile, picture);
    if (canvas.width !== width_px || canvas.height !== height_px) {
      // Resizing clears, so it happens right before drawing and never flashes.
      canvas.width = width_px;
      canvas.height = height_px;
    }
    const at = contain(picture.width, picture.height, canvas.width, canvas.height);
    if (at.width < canvas.width || at.height < canvas.height) {
      context.fillStyle = "#0b0d12";
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    picture.draw(context, at.x, at.y, at.width, at.height);
  }
}

/** Opaque and unsynchronised: the cheapest way to put video on screen without a GPU. */
function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
  const willReadFrequently = drawsSlowly(navigator.userAgent);
  return canvas.getContext("2d", { alpha: false, desynchronized: true, willReadFrequently });
}

/** How large a canvas is drawn that takes so much of the screen. */
function drawnSize({ width_px, height_px }: Tile, picture: Picture): [number, number] {
  const enough_px = Math.max(MOST_IN_MEMORY_PX, picture.width * picture.height);
  const share = Math.sqrt(enough_px / (width_px * height_px));
  if (share >= 1 || !drawsSlowly(navigator.userAgent)) return [width_px, height_px];
  return [Math.round(width_px * share), Math.round(height_px * share)];
}
