/** What the UI needs of whatever stands behind it: the engine in the app, or a fake. */

import type { UiCommand } from "../generated/UiCommand";
import type { UiEvent } from "../generated/UiEvent";

export interface BackendSink {
  handleEvent(event: UiEvent): void;
  /** A message of the frame channel, in whatever shape it came. */
  handleFrames(body: unknown): void;
}

export interface Backend {
  /** Opens the event and the frame channel; earlier ones fall silent. Sends the view and epoch. */
  attach(sink: BackendSink): Promise<void>;
  /**
   * Carries out a command. Never rejects: what fails comes back as a `failed` event. Commands
   * arrive in the order they were given.
   */
  dispatch(command: UiCommand): Promise<void>;
}

/** The engine inside the app; scripted calls in a plain browser. */
export async function openBackend(): Promise<Backend> {
  if ("__TAURI_INTERNALS__" in window) {
    const { TauriBackend } = await import("./tauri");
    return new TauriBackend();
  }
  const { FakeBackend } = await import("./fake");
  return FakeBackend.fromUrl(window.location.href);
}
