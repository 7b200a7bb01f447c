/**
 * All video on screen: routes frames to the decoder of their tile, pictures to the renderer, and
 * tile sizes to the engine. Frames of tiles that are not on screen are dropped.
 */

import type { UiCommand } from "../generated/UiCommand";
import { TileDecoder } from "./decoder";
import type { Frame } from "./header";
import { Renderer, type TileState } from "./renderer";
import { tileKey, type TileId } from "./tile";
import { VisibleTiles } from "./visible";

export class Stage {
  private readonly renderer = new Renderer();
  private readonly decoders = new Map<string, TileDecoder>();
  private readonly visible: VisibleTiles;

  constructor(private readonly dispatch: (command: UiCommand) => void) {
    this.visible = new VisibleTiles((tiles) => {
      dispatch({ type: "set_visible_tiles", tiles });
    });
  }

  /** Puts a tile on screen; the returned function takes it off again. */
  mount(id: TileId, canvas: HTMLCanvasElement, onState: (state: TileState) => void): () => void {
    const key = tileKey(id);
    this.renderer.add(key, canvas, onState);
    const decoder = new TileDecoder(id, {
      dispatch: this.dispatch,
      show: (picture) => {
        this.renderer.show(key, picture);
      },
      now_ms: () => performance.now(),
    });
    this.decoders.set(key, decoder);
    const observer = new ResizeObserver(() => {
      const ratio = window.devicePixelRatio;
      const width_px = Math.round(canvas.clientWidth * ratio);
      const height_px = Math.round(canvas.clientHeight * ratio);
      if (width_px > 0 && height_px > 0) this.renderer.resize(key, width_px, height_px);
      this.visible.set(id, width_px, height_px);
    });
    observer.observe(canvas);
    return () => {
      observer.disconnect();
      decoder.close();
      // A tile that moves to another place in the page is mounted there before it leaves here.
      if (this.decoders.get(key) !== decoder) return;
      this.decoders.delete(key);
      this.renderer.remove(key);
      this.visible.remove(id);
    };
  }

  /** The tile's picture is over. */
  blank(id: TileId): void {
    this.renderer.blank(tileKey(id));
  }

  handleFrame(frame: Frame): void {
    this.decoders.get(tileKey(frame))?.handleFrame(frame);
  }

  /** Frames were lost or the channel started over. */
  reset(): void {
    for (const decoder of this.decoders.values()) decoder.reset();
    this.visible.repeat();
  }

  setHidden(hidden: boolean): void {
    this.visible.setHidden(hidden);
  }

  /** To be called about once a second. */
  tick(): void {
    for (const decoder of this.decoders.values()) decoder.tick();
    this.renderer.report();
  }

  close(): void {
    for (const decoder of this.decoders.values()) decoder.close();
    this.decoders.clear();
    this.renderer.close();
    this.visible.close();
  }
}
