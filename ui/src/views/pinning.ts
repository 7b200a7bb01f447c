/**
 * Double-clicking something does what its menu offers as well, so it needs no role of its own.
 * Controls inside keep their clicks. For `{@attach}`.
 */
export function onDoubleClick(act: () => void): (element: HTMLElement) => () => void {
  return (element) => {
    const listen = (event: MouseEvent) => {
      const control = event.target instanceof Element && event.target.closest("button, dialog");
      if (!control) act();
    };
    element.addEventListener("dblclick", listen);
    return () => {
      element.removeEventListener("dblclick", listen);
    };
  };
}
