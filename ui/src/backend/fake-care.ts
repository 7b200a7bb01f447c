/** What the engine and the server would make of the host's wishes. */

import type { CallView } from "../generated/CallView";
import type { CareCommand } from "../generated/CareCommand";

export function cared(call: CallView, command: CareCommand): CallView {
  const { care, members } = call;
  switch (command.action) {
    case "set_door":
      return { ...call, care: { ...care, door: command.door } };
    case "admit":
    case "refuse":
      return {
        ...call,
        care: { ...care, knocks: care.knocks.filter((one) => one.knock !== command.knock) },
      };
    case "remove":
      return { ...call, members: members.filter((one) => one.id !== command.member) };
    case "make_host":
      return { ...call, care: { ...care, host: command.member, knocks: [] } };
    case "end_for_all":
      return { ...call, members: [], phase: { phase: "ended", code: "call_ended" } };
    case "keep_microphone":
      return { ...call, care: { ...care, asked_to_mute: false } };
    case "ask_to_mute":
      return call;
  }
}
