import { expect, it, vi } from "vitest";
import { CAUSES, networkView } from "../backend/fake-network";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import { backend, click, find, get, sent, settle, show } from "./harness";

it("says what is the matter in one sentence, and takes it back", async () => {
  await show("network");
  for (const [cause] of CAUSES) {
    const members = cause === "between" ? [fakeMember(0)] : [fakeMember(0), fakeMember(1)];
    backend.update({ call: callView(members) });
    const ids = members.map((one) => one.id);
    backend.send({ type: "network", view: networkView(ids, cause) });
    await settle();
    expect(get("network-chip").dataset["cause"]).toBe(cause);
    backend.send({ type: "network", view: networkView(ids, null) });
    await settle();
    expect(find("network-chip")).toBeNull();
  }
});

it("does not speak of a call that is not joined, or of nobody", async () => {
  await show("network-my_uplink");
  const phase = { phase: "reconnecting" } as const;
  backend.update({ call: callView([fakeMember(0)], { phase }) });
  await settle();
  expect(find("network-chip")).toBeNull();
  backend.update({ call: callView([]) });
  await settle();
  expect(find("network-chip")).toBeNull();
  await click("network-button");
  expect(find("network-table")).toBeNull();
});

it("forgets the figures with the call", async () => {
  await show("network-my_uplink");
  backend.update(homeView());
  backend.update({ call: callView([fakeMember(0)]) });
  await settle();
  expect(find("network-chip")).toBeNull();
});

it("shows everybody's figures from the sentence and from the button", async () => {
  await show("network-other_side");
  await click("network-chip");
  expect(get("network-verdict").textContent).toContain("Ada");
  const row = get("network-row-2").textContent;
  expect(row).toContain("VP8");
  expect(row).toContain("5.6");
  expect(get("network-up").textContent).toContain("1280");
  const columns = get("network-table").querySelectorAll("thead th[scope=col]");
  expect(columns.length).toBe(get("network-row-2").children.length);
  get("network-panel").dispatchEvent(new Event("close"));
  await settle();
  expect(find("network-panel")).toBeNull();
  await click("network-button");
  expect(find("network-panel")).not.toBeNull();
});

it("copies and saves a report without names", async () => {
  await show("network-between");
  const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  await click("network-button");
  await click("copy-report");
  const copied = write.mock.calls[0]?.[0] ?? "";
  await click("save-report");
  expect(sent("save_report")).toEqual([{ type: "save_report", text: copied }]);
  expect(copied).toContain("between");
  expect(copied).not.toContain("Ada");
});
