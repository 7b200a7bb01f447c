import { placeBeside } from "../layout/beside";
import { modal } from "./modal";

/** Shows a dialog as {@link modal} does, beside a button, in the top layer. For `{@attach}`. */
export function beside(button: HTMLElement | undefined): (dialog: HTMLDialogElement) => () => void {
  return (dialog) => {
    const close = modal(dialog);
    const at = button?.getBoundingClientRect() ?? new DOMRect();
    const within = { width: window.innerWidth, height: window.innerHeight };
    const { x, y } = placeBeside(at, dialog.getBoundingClientRect(), within);
    dialog.style.translate = `${String(x)}px ${String(y)}px`;
    return close;
  };
}
