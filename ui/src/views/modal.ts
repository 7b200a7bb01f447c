/**
 * Shows a dialog as long as it is in the page. Focus moves into it and back to where it was.
 *
 * The dialog says with `autofocus` what gets the focus. A question that comes up by itself gives it
 * to its heading, so that keys meant for something else answer nothing.
 */
export function modal(dialog: HTMLDialogElement): () => void {
  const before = document.activeElement;
  dialog.showModal();
  return () => {
    if (dialog.open) dialog.close();
    if (before instanceof HTMLElement && before !== document.body && before.isConnected) {
      before.focus();
    }
  };
}
