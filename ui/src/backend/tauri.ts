/** The engine behind Tauri's IPC. The only module that knows Tauri. */

import { Channel, invoke } from "@tauri-apps/api/core";
import type { ErrorCode } from "../generated/ErrorCode";
import type { UiCommand } from "../generated/UiCommand";
import type { UiEvent } from "../generated/UiEvent";
import { en } from "../words/en";
import type { Backend, BackendSink } from "./backend";

/** What the UI asks for on its own: that it failed is nothing to bother the person with. */
const UNASKED: readonly UiCommand["type"][] = [
  "refresh",
  "set_preview",
  "set_visible_tiles",
  "frame_credit",
  "need_keyframe",
  "set_delivery",
  "name_tray",
  "notify",
];

export class TauriBackend implements Backend {
  private sink: BackendSink | null = null;
  /** Counts attachments: views of an earlier event channel are out of date. */
  private attached = 0;
  /** The last command in order; credits do not wait for it. */
  private last: Promise<unknown> = Promise.resolve();

  async attach(sink: BackendSink): Promise<void> {
    this.sink = sink;
    this.attached += 1;
    const current = this.attached;
    const events = new Channel<unknown>((message) => {
      const event = eventOf(message);
      if (event && this.attached === current) sink.handleEvent(event);
    });
    // Frames of an earlier channel pass: their credits have to go back to it.
    const frames = new Channel<unknown>((body) => {
      sink.handleFrames(body);
    });
    await this.invoke("attach", { events, frames }, true);
  }

  dispatch(command: UiCommand): Promise<void> {
    const tell = !UNASKED.includes(command.type);
    if (command.type === "frame_credit") return this.invoke("dispatch", { command }, tell);
    const done = this.last.then(() => this.invoke("dispatch", { command }, tell));
    this.last = done;
    return done;
  }

  private async invoke(name: string, args: Record<string, unknown>, tell: boolean): Promise<void> {
    try {
      await invoke(name, args);
    } catch (error) {
      if (tell) this.sink?.handleEvent({ type: "failed", code: codeOf(error) });
    }
  }
}

/** The channel hands over objects, or their JSON when it was sent as text. */
function eventOf(message: unknown): UiEvent | null {
  try {
    const event: unknown = typeof message === "string" ? JSON.parse(message) : message;
    return typeof event === "object" && event !== null && "type" in event
      ? (event as UiEvent)
      : null;
  } catch {
    return null;
  }
}

/** Rejections are a code, or an object with one; anything else is a defect. */
function codeOf(error: unknown): ErrorCode {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : error;
  return typeof code === "string" && code in en.errors ? (code as ErrorCode) : "internal";
}
