/**
 * A list that shows its newest entry unless the person scrolled up; then it stays where it is and
 * tells that there is something new.
 */

/** Closer to the end than this counts as being there: rounding, and half a line. */
const NEAR_PX = 24;

export class Follow {
  /** Whether something came in that is not on screen. */
  missed = $state(false);
  private atEnd = true;
  private scroller: HTMLElement | undefined;

  /** To be attached to the element that scrolls. */
  attach = (scroller: HTMLElement): (() => void) => {
    this.scroller = scroller;
    this.toEnd();
    // The list gets lower when the message field grows or files appear.
    const observer = new ResizeObserver(() => {
      if (this.atEnd) this.toEnd();
    });
    observer.observe(scroller);
    return () => {
      observer.disconnect();
      this.scroller = undefined;
    };
  };

  handleScroll = (): void => {
    const scroller = this.scroller;
    if (!scroller) return;
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    this.atEnd = below <= NEAR_PX;
    if (this.atEnd) this.missed = false;
  };

  /** An entry was added and is in the page. One's own is always shown. */
  handleAdded(mine: boolean): void {
    if (this.atEnd || mine) this.toEnd();
    else this.missed = true;
  }

  toEnd = (): void => {
    if (this.scroller) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.atEnd = true;
    this.missed = false;
  };
}
