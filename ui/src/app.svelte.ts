/**
 * The running UI: holds the state, feeds it from the backend, and owns the video stage.
 * Decisions are elsewhere (`state/`, `video/`); this wires them to timers and the document.
 */

import { createContext } from "svelte";
import type { Backend, BackendSink } from "./backend/backend";
import type { UiCommand } from "./generated/UiCommand";
import type { UiEvent } from "./generated/UiEvent";
import { announcements } from "./state/announce";
import { dismissFailure, initialState, reduce, type State } from "./state/reduce";
import { codeFailure, framesExpected, serverFailure } from "./state/select";
import { Pump } from "./video/pump";
import { Stage } from "./video/stage";
import { words } from "./words/words";

const WATCH_MS = 500;
/** Long enough to read two lines twice. */
const FAILURE_SHOWN_MS = 10_000;

export class App {
  /** What the views show. */
  state: State = $state.raw(initialState);
  /** The last thing worth saying to a screen reader. */
  announced = $state("");
  readonly stage: Stage;

  private readonly pump: Pump;
  private readonly sink: BackendSink;
  private timers: ReturnType<typeof setInterval>[] = [];
  private failureTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly backend: Backend) {
    const dispatch = (command: UiCommand) => void this.dispatch(command);
    this.stage = new Stage(dispatch);
    this.sink = {
      handleEvent: (event) => {
        this.handleEvent(event);
      },
      handleFrames: (body) => {
        this.pump.handleMessage(body, performance.now());
      },
    };
    this.pump = new Pump({
      dispatch,
      attach: () => void this.attach(),
      onFrame: (frame) => {
        this.stage.handleFrame(frame);
      },
      onReset: () => {
        this.stage.reset();
      },
    });
  }

  /** Attaches to the backend; the returned function ends everything. */
  start(): () => void {
    document.addEventListener("visibilitychange", this.handleVisibility);
    this.timers = [
      setInterval(() => {
        this.watch();
      }, WATCH_MS),
      setInterval(() => {
        this.stage.tick();
      }, 1000),
    ];
    void this.attach();
    this.handleVisibility();
    return () => {
      document.removeEventListener("visibilitychange", this.handleVisibility);
      for (const timer of this.timers) clearInterval(timer);
      clearTimeout(this.failureTimer);
      this.stage.close();
    };
  }

  dispatch(command: UiCommand): Promise<void> {
    return this.backend.dispatch(command);
  }

  toggleMute(): void {
    const view = this.state.view;
    if (view) void this.dispatch({ type: "set_muted", muted: !view.muted });
  }

  toggleCamera(): void {
    const view = this.state.view;
    if (view) void this.dispatch({ type: "set_camera", on: !view.camera_on });
  }

  dismissFailure(): void {
    const failure = this.state.failure;
    if (failure) this.state = dismissFailure(this.state, failure.serial);
  }

  private async attach(): Promise<void> {
    await this.backend.attach(this.sink);
    await this.dispatch({ type: "refresh" });
  }

  private handleEvent(event: UiEvent): void {
    if (event.type === "frame_epoch") {
      this.pump.handleEpoch(event.epoch);
      return;
    }
    const before = this.state.view;
    this.state = reduce(this.state, event);
    if (event.type === "view") {
      const said = announcements(before, event.view).map((one) =>
        words.announced[one.kind]("name" in one ? one.name || words.call.nameless : ""),
      );
      if (said.length > 0) this.announced = said.join(". ");
    }
    if (event.type === "failed") {
      clearTimeout(this.failureTimer);
      // What stands beside a field stays until the field is changed.
      if (codeFailure(this.state) ?? serverFailure(this.state)) return;
      this.failureTimer = setTimeout(() => {
        this.dismissFailure();
      }, FAILURE_SHOWN_MS);
    }
  }

  private watch(): void {
    const now = performance.now();
    this.pump.expectFrames(!document.hidden && framesExpected(this.state), now);
    this.pump.tick(now);
  }

  private readonly handleVisibility = (): void => {
    this.stage.setHidden(document.hidden);
    this.watch();
  };
}

export const [getApp, setApp] = createContext<App>();
