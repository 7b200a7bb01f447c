/**
 * The window on the whole screen, by the webview's own means, which tells when Escape or the window
 * system ended it.
 */
export class FullScreen {
  on = $state(document.fullscreenElement !== null);
  /** Whether the webview can. */
  readonly offered = document.fullscreenEnabled;

  handleChange = (): void => {
    this.on = document.fullscreenElement !== null;
  };

  toggle = (): void => {
    if (!this.offered) return;
    const done = this.on ? document.exitFullscreen() : document.documentElement.requestFullscreen();
    // Refused without a press, or while it is being done: then nothing changes.
    done.catch(() => undefined);
  };
}
