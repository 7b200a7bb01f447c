/** The states the fake backend can start in, as data. */

import type { AppView } from "../generated/AppView";
import type { CallView } from "../generated/CallView";
import type { ChoicesView } from "../generated/ChoicesView";
import type { DeviceView } from "../generated/DeviceView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { MemberView } from "../generated/MemberView";
import type { RecentRoomView } from "../generated/RecentRoomView";
import type { UiEvent } from "../generated/UiEvent";
import { CAUSES, networkView } from "./fake-network";
import { FAKE_SHARES } from "./fake-shares";
import { allTransfers, conversation, fakeMessage, offers } from "./fake-chat";

export const SCENES = [
  "home",
  "rooms",
  "dark",
  "invited",
  "closing",
  "sound-test",
  "connecting",
  "knocking",
  "knocks",
  "mute-question",
  "removed",
  "call-ended",
  "call-1",
  "call-2",
  "call-4",
  "volumes",
  "call-9",
  "call-49",
  "crowd",
  "sound-only",
  "sound-only-2",
  "reconnecting",
  "offline",
  "weak",
  "error-code",
  "no-server",
  "device-trouble",
  "call-trouble",
  "chat",
  "chat-long",
  "files",
  "offers",
  "hands",
  "screen",
  "screen-2",
  "screens",
  "drop",
  "drop-one",
  "drop-nobody",
  "dropped",
  "network",
  "network-my_cpu",
  "network-bursts",
  "network-my_uplink",
  "network-my_downlink",
  "network-my_connection",
  "network-between",
  "network-other_side",
  "network-relay_path",
] as const;
export type Scene = (typeof SCENES)[number];

export interface SceneStart {
  view: AppView;
  choices?: Partial<ChoicesView>;
  rooms?: RecentRoomView[];
  failure?: ErrorCode;
  /** What follows the view. */
  events?: UiEvent[];
}

export const FAKE_CODE = "K7MQ-2X9D-RTB4";
const NAMES = [
  "Ada",
  "Ben Okafor",
  "Chiara Russo",
  "Dmitri",
  "Elif Yılmaz",
  "Fatou",
  "Grace",
  "Hiro",
];

export const fakeChoices: ChoicesView = {
  language: "",
  theme: "system",
  notifications: true,
  keep_rooms: true,
  global_mute: false,
  keys: {},
};

/** Places the person was at before. */
export function fakeRooms(now_ms: number): RecentRoomView[] {
  const hours = 3_600_000;
  return [
    { code: FAKE_CODE, last_at_ms: now_ms - hours, hosted: false, met: ["Ada", "Ben Okafor"] },
    {
      code: "9GNS-63PV-A0KE",
      last_at_ms: now_ms - 30 * hours,
      hosted: false,
      met: ["Chiara Russo"],
    },
    { code: "T0WN-HA11-2026", last_at_ms: now_ms - 400 * hours, hosted: false, met: [] },
    {
      code: "4444-5555-6666",
      last_at_ms: now_ms - 900 * hours,
      hosted: false,
      met: NAMES.slice(2),
    },
  ];
}

function device(names: string[]): DeviceView {
  return {
    options: names.map((name, at) => ({ id: `device-${String(at)}`, name })),
    selected: null,
    state: { state: "running" },
  };
}

export function homeView(): AppView {
  return {
    settings: {
      name: "Mina",
      server: "",
      voice: { echo_cancellation: true, noise_suppression: true, gain_control: true },
      low_data: false,
      tint: null,
    },
    devices: {
      camera: device(["Integrated Camera", "Studio Webcam 4K"]),
      microphone: device(["Built-in Microphone", "Podcast USB Microphone"]),
      speaker: device(["Built-in Speakers", "Headphones"]),
    },
    muted: false,
    camera_on: true,
    sound_test: { state: "idle" },
    call: null,
  };
}

/** The same names again with an initial behind, for a crowd. */
function nameOf(at: number): string {
  const [name, round] = [NAMES[at % NAMES.length] ?? "", Math.floor(at / NAMES.length)];
  return round === 0 ? name : `${name} ${String.fromCharCode(64 + round)}.`;
}

/** The `at`-th of the people the fake knows. */
export function fakeMember(at: number, more: Partial<MemberView> = {}): MemberView {
  return {
    id: at + 2,
    name: nameOf(at),
    muted: false,
    camera_on: true,
    link: "connected",
    codec: "vp8",
    volume_percent: 100,
    muted_here: false,
    hand_raised: false,
    sharing: false,
    sound_only: false,
    tint: null,
    ...more,
  };
}

export function callView(members: MemberView[], more: Partial<CallView> = {}): CallView {
  return {
    code: FAKE_CODE,
    link: `visavis://join/${FAKE_CODE}`,
    phase: { phase: "joined" },
    me: 1,
    members,
    topology: "mesh",
    hand_raised: false,
    sound_only: false,
    care: { host: 1, door: "open", knocks: [], asked_to_mute: false },
    share: null,
    transfers: [],
    ...more,
  };
}

/** Where a scene starts. */
export function startOf(scene: Scene): SceneStart {
  const home = homeView();
  const three = [fakeMember(0), fakeMember(1, { muted: true }), fakeMember(2)];
  switch (scene) {
    case "home":
      return { view: home };
    case "rooms":
      return { view: home, rooms: fakeRooms(Date.now()) };
    case "dark":
      return { view: home, choices: { theme: "dark" } };
    case "invited":
      return {
        view: { ...home, call: callView(three) },
        events: [{ type: "invited", code: "visavis://join/9gns-63pv-a0ke" }],
      };
    case "closing":
      return { view: { ...home, call: callView(three) }, events: [{ type: "closing" }] };
    case "sound-test":
      return { view: { ...home, sound_test: { state: "recording", remaining_s: 3 } } };
    case "volumes": {
      const members = [
        fakeMember(0, { volume_percent: 140 }),
        fakeMember(1, { muted: true, volume_percent: 35 }),
        fakeMember(2, { muted_here: true }),
      ];
      return { view: { ...home, call: callView(members) } };
    }
    case "connecting":
      return {
        view: { ...home, call: callView([], { phase: { phase: "connecting" }, me: null }) },
      };
    case "knocking":
    case "knocks":
    case "mute-question":
    case "removed":
    case "call-ended":
      return { view: { ...home, call: careCall(scene, three) } };
    case "call-1":
      return { view: { ...home, call: callView([]) } };
    case "call-2":
      return { view: { ...home, call: callView([fakeMember(0)]) } };
    case "call-4":
      return { view: { ...home, call: callView(three) } };
    case "call-9": {
      const members = NAMES.map((_, at) => fakeMember(at, { muted: at % 3 === 1 }));
      members[3] = fakeMember(3, { camera_on: false });
      members[5] = fakeMember(5, { link: "connecting", codec: null });
      return { view: { ...home, call: callView(members) } };
    }
    case "call-49": {
      const members = Array.from({ length: 48 }, (_, at) =>
        fakeMember(at, { muted: at % 4 !== 0, camera_on: at % 11 !== 7 }),
      );
      return { view: { ...home, call: callView(members, { topology: "sfu" }) } };
    }
    case "crowd": {
      const members = Array.from({ length: 48 }, (_, at) => fakeMember(at));
      return { view: { ...home, call: callView(members, { topology: "sfu" }) } };
    }
    case "sound-only": {
      const members = [fakeMember(0, { sound_only: true }), ...three.slice(1)];
      return { view: { ...home, call: callView(members, { sound_only: true }) } };
    }
    case "sound-only-2": {
      const members = [fakeMember(0, { sound_only: true })];
      return { view: { ...home, call: callView(members, { sound_only: true }) } };
    }
    case "reconnecting": {
      const members = [...three.slice(0, 2), fakeMember(2, { link: "reconnecting" })];
      return {
        view: { ...home, call: callView(members, { phase: { phase: "reconnecting" } }) },
      };
    }
    case "offline": {
      const members = three.map((_, at) => fakeMember(at, { link: "reconnecting" }));
      return { view: { ...home, call: callView(members, { phase: { phase: "offline" } }) } };
    }
    case "weak": {
      const members = [...three.slice(0, 2), fakeMember(2, { link: "weak" })];
      return { view: { ...home, call: callView(members) } };
    }
    case "error-code":
      return { view: home, failure: "room_not_found_on_lan" };
    case "no-server": {
      const phase = { phase: "ended", code: "server_unreachable" } as const;
      return {
        view: {
          ...home,
          settings: { ...home.settings, server: "wss://calls.example.org" },
          call: callView([], { phase, me: null }),
        },
      };
    }
    case "device-trouble":
      return {
        view: {
          ...home,
          devices: {
            camera: { ...home.devices.camera, state: { state: "failed", code: "camera_busy" } },
            microphone: { ...home.devices.microphone, state: { state: "silent" } },
            speaker: {
              options: [],
              selected: null,
              state: { state: "failed", code: "speaker_lost" },
            },
          },
        },
      };
    case "chat":
      return {
        view: { ...home, call: callView(three) },
        events: [{ type: "chat", reset: true, messages: conversation() }],
      };
    case "chat-long": {
      const messages = Array.from({ length: 80 }, (_, at) =>
        fakeMessage(`Message ${String(at + 1)} of many.`, {
          name: NAMES[Math.floor(at / 5) % 3] ?? "",
          from: (Math.floor(at / 5) % 3) + 2,
        }),
      );
      return {
        view: { ...home, call: callView(three) },
        events: [{ type: "chat", reset: true, messages }],
      };
    }
    case "files":
      return {
        view: { ...home, call: callView(three, { transfers: allTransfers() }) },
        events: [{ type: "chat", reset: true, messages: conversation().slice(0, 3) }],
      };
    case "offers":
      return { view: { ...home, call: callView(three, { transfers: offers() }) } };
    case "screen": {
      const members = [fakeMember(0, { sharing: true }), ...three.slice(1)];
      return { view: { ...home, call: callView(members) } };
    }
    case "screen-2":
      return { view: { ...home, call: callView([fakeMember(0, { sharing: true })]) } };
    case "screens": {
      const members = three.map((one, at) => ({ ...one, sharing: at < 2 }));
      const share = { id: "screen:DP-1", state: { state: "running" } } as const;
      return {
        view: { ...home, call: callView(members, { share }) },
        events: [{ type: "shares", options: FAKE_SHARES }],
      };
    }
    case "hands": {
      const members = [fakeMember(0, { hand_raised: true }), ...three.slice(1)];
      return {
        view: { ...home, call: callView(members, { hand_raised: true }) },
        events: [
          ...["🎉", "👏", "👏", "❤️"].map((emoji): UiEvent => ({
            type: "reaction",
            member: 2,
            emoji,
          })),
          { type: "reaction", member: 4, emoji: "😂" },
        ],
      };
    }
    case "drop":
      return {
        view: { ...home, call: callView(three) },
        events: [{ type: "dragging", over: true }],
      };
    case "drop-one":
      return {
        view: { ...home, call: callView([fakeMember(0)]) },
        events: [{ type: "dragging", over: true }],
      };
    case "drop-nobody":
      return { view: { ...home, call: callView([]) }, events: [{ type: "dragging", over: true }] };
    case "dropped":
      return {
        view: { ...home, call: callView(three) },
        events: [
          {
            type: "dropped",
            paths: ["/data/mina/Garden, seen from the street.jpg", "/data/mina/Plan.pdf"],
          },
        ],
      };
    case "call-trouble":
      return {
        view: {
          ...home,
          devices: {
            ...home.devices,
            microphone: {
              ...home.devices.microphone,
              state: { state: "failed", code: "microphone_lost" },
            },
          },
          camera_on: false,
          call: callView([fakeMember(0), fakeMember(1, { link: "failed", codec: null })]),
        },
      };
    default:
      return networkStart(scene, home, three);
  }
}

function careCall(scene: string, members: MemberView[]): CallView {
  const knocks = ["Ada", "Zoë", "Somebody with a rather long name", "Ben", "Cleo"].map(
    (name, at) => ({ knock: at + 1, name }),
  );
  switch (scene) {
    case "knocking":
      return callView([], { phase: { phase: "knocking" }, me: null });
    case "knocks":
      return callView(members, { care: { host: 1, door: "knock", knocks, asked_to_mute: false } });
    case "mute-question":
      return callView(members, {
        care: { host: 2, door: "locked", knocks: [], asked_to_mute: true },
      });
    default: {
      const code = scene === "removed" ? "removed" : "call_ended";
      return callView([], { phase: { phase: "ended", code }, me: null });
    }
  }
}

function networkStart(
  scene: Extract<Scene, `network${string}`>,
  home: AppView,
  three: MemberView[],
): SceneStart {
  const cause = CAUSES.find(([one]) => scene === `network-${one}`)?.[0] ?? null;
  const members = cause === "between" ? three.slice(0, 1) : three;
  const ids = members.map((one) => one.id);
  return {
    view: { ...home, call: callView(members) },
    events: [{ type: "network", view: networkView(ids, cause) }],
  };
}
