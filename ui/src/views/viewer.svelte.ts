/**
 * One's look at a shared screen: what is zoomed and dragged, and the listeners for it. Where it lies
 * is decided in `layout/zoom`.
 */

import {
  FIT,
  isPannable,
  pan,
  place,
  zoomByWheel,
  zoomTo,
  type Point,
  type Size,
  type Zoom,
} from "../layout/zoom";

/** One press of a button magnifies by this much. */
const STEP = 1.25;
/** One press of an arrow key moves by so many pixels. */
const ARROW_PX = 80;
/** Scrolling by lines, as some mice tell it, in pixels. */
const LINE_PX = 33;

const NOTHING: Size = { width: 0, height: 0 };
const ARROWS: Record<string, Point> = {
  ArrowLeft: { x: ARROW_PX, y: 0 },
  ArrowRight: { x: -ARROW_PX, y: 0 },
  ArrowUp: { x: 0, y: ARROW_PX },
  ArrowDown: { x: 0, y: -ARROW_PX },
};

export class Viewer {
  zoom: Zoom = $state.raw(FIT);
  /** Of the picture at its natural size, and of the room for it, in CSS pixels. */
  picture: Size = $state.raw(NOTHING);
  box: Size = $state.raw(NOTHING);
  readonly placed = $derived(place(this.zoom, this.picture, this.box));
  readonly pannable = $derived(isPannable(this.zoom, this.picture, this.box));
  readonly percent = $derived(Math.round(this.placed.scale * 100));

  fit(): void {
    this.zoom = FIT;
  }

  /** One pixel of the picture on one of the screen. */
  actualSize(): void {
    this.zoom = zoomTo(this.zoom, 1, this.middle(), this.picture, this.box);
  }

  closer(): void {
    this.step(STEP);
  }

  farther(): void {
    this.step(1 / STEP);
  }

  /** Lets the wheel zoom and the pointer drag inside an element. */
  readonly listen = (element: HTMLElement): (() => void) => {
    let held: Point | null = null;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const delta = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PX : 1;
      const area = element.getBoundingClientRect();
      const at = { x: event.clientX - area.left, y: event.clientY - area.top };
      this.zoom = zoomByWheel(this.zoom, event.deltaY * delta, at, this.picture, this.box);
    };
    const down = (event: PointerEvent) => {
      if (event.button !== 0 || !this.pannable) return;
      held = { x: event.clientX, y: event.clientY };
      element.setPointerCapture(event.pointerId);
    };
    const move = (event: PointerEvent) => {
      if (!held) return;
      const to = { x: event.clientX, y: event.clientY };
      this.drag({ x: to.x - held.x, y: to.y - held.y });
      held = to;
    };
    const up = () => {
      held = null;
    };
    const key = (event: KeyboardEvent) => {
      const by = ARROWS[event.key];
      if (!by || !this.pannable) return;
      event.preventDefault();
      this.drag(by);
    };
    const observer = new ResizeObserver(() => {
      this.box = { width: element.clientWidth, height: element.clientHeight };
    });
    observer.observe(element);
    element.addEventListener("wheel", wheel, { passive: false });
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    // The keys come from whatever has the focus beside the picture.
    const keys = element.parentElement ?? element;
    keys.addEventListener("keydown", key);
    return () => {
      observer.disconnect();
      element.removeEventListener("wheel", wheel);
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", up);
      keys.removeEventListener("keydown", key);
    };
  };

  private middle(): Point {
    return { x: this.box.width / 2, y: this.box.height / 2 };
  }

  private step(ratio: number): void {
    const scale = this.placed.scale * ratio;
    this.zoom = zoomTo(this.zoom, scale, this.middle(), this.picture, this.box);
  }

  private drag(by: Point): void {
    this.zoom = pan(this.zoom, by, this.picture, this.box);
  }
}
