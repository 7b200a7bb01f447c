/**
 * The running UI: holds the state, feeds it from the backend, and owns the video stage.
 * Decisions are elsewhere (`state/`, `video/`); this wires them to timers and the document.
 */

import { createContext } from "svelte";
import type { Backend, BackendSink } from "./backend/backend";
import type { ChoicesView } from "./generated/ChoicesView";
import type { UiCommand } from "./generated/UiCommand";
import type { UiEvent } from "./generated/UiEvent";
import type { MemberId } from "./generated/MemberId";
import { checkCode } from "./input/code";
import { keyOf, type ChosenKeys, type KeyAction } from "./input/keys";
import { notTalking, press, release, type Talk, type TalkStep } from "./input/talk";
import { announcements, messageNews, type Announcement } from "./state/announce";
import { newsOf } from "./state/chat";
import { dropPlan } from "./state/drop";
import { unit } from "./state/levels";
import { noticesOf } from "./state/notices";
import { onlyShare } from "./state/shares";
import {
  clearDropped,
  clearInvited,
  dismissFailure,
  endClosing,
  endReaction,
  fitStage,
  initialState,
  listShares,
  openChat,
  pinTile,
  postpone,
  prefer,
  reduce,
  showPage,
  type State,
} from "./state/reduce";
import { loadPreferences, savePreferences, type Preferences } from "./state/preferences";
import {
  codeFailure,
  framesExpected,
  screenOf,
  serverFailure,
  tilesOf,
  type Tiles,
} from "./state/select";
import { listen, unheard, type Unheard } from "./state/unheard";
import { setTheme } from "./theme";
import { Pump } from "./video/pump";
import { Stage } from "./video/stage";
import { FullScreen } from "./views/fullscreen.svelte";
import { setLanguage, spoken } from "./words/language.svelte";
import { words } from "./words/words";

const WATCH_MS = 500;
/** Long enough to read two lines twice. */
const FAILURE_SHOWN_MS = 10_000;
/** As long as the animation that lets a reaction float away. */
const REACTION_SHOWN_MS = 3_600;

export class App {
  /** What the views show. */
  state: State = $state.raw({ ...initialState, preferences: loadPreferences() });
  /** How loud one's own microphone is, 0 to 1. */
  microphone = $state(0);
  /** The last thing worth saying to a screen reader. */
  announced = $state("");
  /** What is being written; it outlives the panel, not the call. */
  draft = $state("");
  /** Whether the settings are open. */
  settingsOpen = $state(false);
  /** The list of people is open. */
  people = $state(false);
  /** Whether the person speaks without being heard. */
  unheard: Unheard = $state.raw(unheard);
  private lastTiles: Tiles | null = null;
  /** Everybody's tiles; what did not change is the same object. */
  readonly tiles: Tiles = $derived((this.lastTiles = tilesOf(this.state, this.lastTiles)));
  /** Keys the person gave to actions. */
  readonly keys: ChosenKeys = $derived(this.state.choices?.keys ?? {});
  /** The person chooses what to share. */
  picksShare = $state(false);
  readonly stage: Stage;

  /** The language the tray's menu speaks. */
  private trayLanguage = "";
  readonly fullScreen = new FullScreen();

  private talk: Talk = notTalking;
  /** The window is small because the person asked for it. */
  private mini = false;
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
    document.addEventListener("fullscreenchange", this.fullScreen.handleChange);
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
      document.removeEventListener("fullscreenchange", this.fullScreen.handleChange);
      for (const timer of this.timers) clearInterval(timer);
      clearTimeout(this.failureTimer);
      for (const timer of this.reactionTimers) clearTimeout(timer);
      this.stage.close();
    };
  }

  /** The key of an action; empty when the person took it away. */
  keyOf(action: KeyAction): string {
    return keyOf(action, this.keys);
  }

  dispatch(command: UiCommand): Promise<void> {
    return this.backend.dispatch(command);
  }

  /** Changes some of the choices. */
  choose(some: Partial<ChoicesView>): void {
    const choices = this.state.choices;
    if (choices) void this.dispatch({ type: "set_choices", choices: { ...choices, ...some } });
  }

  /** The person answers an invite they opened elsewhere. */
  async answerInvite(join: boolean): Promise<void> {
    const check = checkCode(this.state.invited ?? "");
    this.state = clearInvited(this.state);
    if (!join || check.kind !== "complete") return;
    if (this.state.view?.call) await this.dispatch({ type: "leave_call" });
    await this.dispatch({ type: "join_call", code: check.code });
  }

  /** The person says whether the window closes in spite of the call. */
  answerClosing(close: boolean): void {
    this.state = endClosing(this.state);
    void this.dispatch({ type: "answer_closing", close });
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

  /** The person holds the key to talk. */
  startTalk(): void {
    const view = this.state.view;
    if (view && screenOf(view) === "call") this.carryOut(press(this.talk, view.muted, false));
  }

  /** They let it go, or it cannot be known any more whether they do. */
  endTalk(): void {
    this.carryOut(release(this.talk));
  }

  get talking(): boolean {
    return this.talk.held;
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

  /** Chat and people share one place. */
  openChat(open: boolean): void {
    this.state = openChat(this.state, open);
    if (open) this.people = false;
  }

  openPeople(open: boolean): void {
    this.people = open;
    if (open) this.openChat(false);
  }

  /** The stage says what fits on it. */
  fitStage(first: number, pages: number): void {
    this.state = fitStage(this.state, first, pages);
  }

  showPage(page: number): void {
    const before = this.state.seats.page;
    this.state = showPage(this.state, page);
    const { seats } = this.state;
    if (seats.page !== before) this.announced = words.stage.page(seats.page + 1, seats.pages);
  }

  turnPage(by: number): void {
    this.showPage(this.state.seats.page + by);
  }

  togglePin(key: string): void {
    this.state = pinTile(this.state, key);
  }

  /** Everybody alike, or one large. Whoever is pinned is let go with it. */
  toggleLayout(): void {
    const { pinned } = this.state.seats;
    if (pinned !== null) {
      this.togglePin(pinned);
      this.prefer({ layout: "grid" });
    } else {
      this.prefer({ layout: this.state.preferences.layout === "grid" ? "speaker" : "grid" });
    }
  }

  /** Makes the window small and always on top, or as it was. */
  setMini(on: boolean): void {
    this.mini = on;
    void this.dispatch({ type: "set_mini", on });
  }

  toggleSelfView(): void {
    this.prefer({ self_view: !this.state.preferences.self_view });
  }

  prefer(more: Partial<Preferences>): void {
    this.state = prefer(this.state, more);
    savePreferences(this.state.preferences);
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
          this.people = false;
          this.picksShare = false;
        }
        if (screenOf(event.view) !== "call") this.leaveCall();
        break;
      case "shares": {
        const only = onlyShare(this.state);
        if (only !== null && this.picksShare) this.startShare(only);
        break;
      }
      case "levels": {
        const view = this.state.view;
        const muted = view !== null && view.muted && screenOf(view) === "call";
        this.microphone = unit(event.microphone);
        this.unheard = listen(this.unheard, this.microphone, muted, performance.now());
        break;
      }
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
      case "choices":
        this.applyChoices(event.choices);
        break;
      case "invited":
        if (checkCode(event.code).kind === "complete") break;
        this.state = clearInvited(this.state);
        this.handleEvent({ type: "failed", code: "code_invalid" });
        break;
    }
  }

  private applyChoices({ language, theme }: ChoicesView): void {
    setTheme(theme);
    setLanguage(language === "" ? null : language);
    if (this.trayLanguage === spoken.locale.language) return;
    this.trayLanguage = spoken.locale.language;
    const { mute, unmute, leave } = words.controls;
    void this.dispatch({ type: "name_tray", show: words.tray.show, mute, unmute, leave });
  }

  /** Tells what happens through the desktop, unless the person looks at the window anyway. */
  private notify(news: readonly Announcement[]): void {
    if (document.hasFocus() || !this.state.choices?.notifications) return;
    for (const one of noticesOf(news)) {
      const name = ("name" in one && one.name) || words.call.nameless;
      const text = "text" in one ? one.text : "";
      const [title, body] =
        one.kind === "message" ? [name, text] : [words.app, words.announced[one.kind](name, text)];
      void this.dispatch({ type: "notify", title, body });
    }
  }

  private leaveCall(): void {
    this.endTalk();
    this.unheard = unheard;
    if (this.mini) this.setMini(false);
  }

  private carryOut({ talk, muted }: TalkStep): void {
    this.talk = talk;
    if (muted !== null) void this.dispatch({ type: "set_muted", muted });
  }

  private announce(news: readonly Announcement[]): void {
    this.notify(news);
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
    if (document.hidden) this.endTalk();
    this.watch();
  };
}

export const [getApp, setApp] = createContext<App>();
