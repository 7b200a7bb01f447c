/**
 * The running UI: holds the state, feeds it from the backend, and owns the video stage.
 * Decisions are elsewhere (`state/`, `video/`); this wires them to timers and the document.
 */

import { createContext } from "svelte";
import type { Backend, BackendSink } from "./backend/backend";
import type { UiCommand } from "./generated/UiCommand";
import type { UiEvent } from "./generated/UiEvent";
import type { MemberId } from "./generated/MemberId";
import { announcements, messageNews, type Announcement } from "./state/announce";
import { newsOf } from "./state/chat";
import { dropPlan } from "./state/drop";
import {
  clearDropped,
  dismissFailure,
  endReaction,
  initialState,
  listShares,
  openChat,
  postpone,
  reduce,
  type State,
} from "./state/reduce";
import { codeFailure, framesExpected, serverFailure } from "./state/select";
import { Pump } from "./video/pump";
import { Stage } from "./video/stage";
import { words } from "./words/words";

const WATCH_MS = 500;
/** Long enough to read two lines twice. */
const FAILURE_SHOWN_MS = 10_000;
/** As long as the animation that lets a reaction float away. */
const REACTION_SHOWN_MS = 3_600;

export class App {
  /** What the views show. */
  state: State = $state.raw(initialState);
  /** The last thing worth saying to a screen reader. */
  announced = $state("");
  /** What is being written; it outlives the panel, not the call. */
  draft = $state("");
  /** The person chooses what to share. */
  picksShare = $state(false);
  readonly stage: Stage;

  private readonly pump: Pump;
  private readonly sink: BackendSink;
  private timers: ReturnType<typeof setInterval>[] = [];
  private failureTimer: ReturnType<typeof setTimeout> | undefined;
  /** One for each reaction that floats, in the order of their serials. */
  private reactionTimers: ReturnType<typeof setTimeout>[] = [];

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
      for (const timer of this.reactionTimers) clearTimeout(timer);
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

  toggleHand(): void {
    const call = this.state.view?.call;
    if (call) void this.dispatch({ type: "set_hand_raised", raised: !call.hand_raised });
  }

  /** Ends what is shared, or lets the person choose. */
  toggleShare(): void {
    const call = this.state.view?.call;
    if (!call) return;
    if (call.share) {
      this.stopShare();
    } else if (!this.picksShare) {
      this.state = listShares(this.state);
      this.picksShare = true;
      void this.dispatch({ type: "list_shares" });
    }
  }

  closeSharePicker(): void {
    this.picksShare = false;
  }

  startShare(id: string): void {
    this.picksShare = false;
    void this.dispatch({ type: "start_share", id });
  }

  stopShare(): void {
    void this.dispatch({ type: "stop_share" });
  }

  toggleChat(): void {
    this.openChat(!this.state.chat.open);
  }

  openChat(open: boolean): void {
    this.state = openChat(this.state, open);
  }

  /** Offers files whose paths are known; `null` is everybody. */
  offer(to: MemberId | null, paths: readonly string[]): void {
    this.state = clearDropped(this.state);
    if (paths.length === 0) return;
    this.openChat(true);
    void this.dispatch({ type: "offer_files", to, paths: [...paths] });
  }

  /** The person does not want to send what they dropped. */
  clearDropped(): void {
    this.state = clearDropped(this.state);
  }

  /** The person answers an offer later. */
  postpone(key: string): void {
    this.state = postpone(this.state, key);
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
    const before = this.state;
    this.state = reduce(before, event);
    switch (event.type) {
      case "view":
        this.announce(announcements(before.view, event.view));
        if (event.view.call === null) {
          this.draft = "";
          this.picksShare = false;
        }
        break;
      case "chat":
        this.announce(messageNews(newsOf(before.chat, event.messages)));
        break;
      case "reaction":
        this.handleReaction(event.member, event.emoji);
        break;
      case "dropped":
        this.handleDropped(event.paths);
        break;
      case "failed":
        this.handleFailure();
        break;
    }
  }

  private announce(news: readonly Announcement[]): void {
    const said = news.map((one) => {
      const name = ("name" in one && one.name) || words.call.nameless;
      return words.announced[one.kind](name, "text" in one ? one.text : "");
    });
    if (said.length > 0) this.announced = said.join(". ");
  }

  private handleReaction(member: MemberId, emoji: string): void {
    const { serial } = this.state.reactions.at(-1) ?? { serial: 0 };
    this.reactionTimers.push(
      setTimeout(() => {
        this.reactionTimers.shift();
        this.state = endReaction(this.state, serial);
      }, REACTION_SHOWN_MS),
    );
    const name = this.state.view?.call?.members.find((one) => one.id === member)?.name;
    if (name !== undefined) this.announce([{ kind: "reaction", name, text: emoji }]);
  }

  private handleDropped(paths: readonly string[]): void {
    const plan = dropPlan(this.state);
    if (plan.kind === "send") this.offer(plan.to, paths);
    if (plan.kind === "refuse") this.state = clearDropped(this.state);
  }

  private handleFailure(): void {
    clearTimeout(this.failureTimer);
    // What stands beside a field stays until the field is changed.
    if (codeFailure(this.state) ?? serverFailure(this.state)) return;
    this.failureTimer = setTimeout(() => {
      this.dismissFailure();
    }, FAILURE_SHOWN_MS);
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
