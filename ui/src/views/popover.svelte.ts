/**
 * Something small that opens beside its button. Escape closes it and returns to the button, a press
 * anywhere else closes it.
 *
 * Not here: what it shows, and where.
 */
export class Popover {
  open = $state(false);
  root: HTMLElement | undefined = $state();
  button: HTMLButtonElement | undefined = $state();

  toggle = (): void => {
    this.open = !this.open;
  };

  handleKey = (event: KeyboardEvent): void => {
    if (!this.open || event.key !== "Escape") return;
    // Whatever the popover stands in stays open.
    event.preventDefault();
    this.close();
  };

  /** Closes it and returns to the button. */
  close = (): void => {
    this.open = false;
    this.button?.focus();
  };

  handlePress = (event: PointerEvent): void => {
    const inside = event.target instanceof Node && this.root?.contains(event.target);
    if (this.open && !inside) this.open = false;
  };
}
