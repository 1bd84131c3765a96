import { label, tracking } from "../../src/providers/http/carrier.ts";
import { moved, released } from "../../src/providers/http/inventory.ts";
import { readUndo, readWith } from "./answers.ts";
import { isRejected, Skipped, spoken, valueOf, whyWrong, type Check } from "./check.ts";
import { PAYMENTS_CHECKS } from "./payments-checks.ts";
import { TestOrder } from "./requests.ts";
import { ofInventory } from "./roles.ts";

/** What a provider must do beside its work and its undo: docs/providers.md. */
export const PROVIDER_CHECKS: readonly Check[] = [
  {
    name: "ships what it has reserved, and takes it back",
    of: ["inventory"],
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const reserved = readWith(moved, await order.run(), target);
      if (isRejected(reserved)) return new Skipped("the order was rejected");
      const ask = (operation: "ship" | "release") => order.ask(ofInventory(operation, order));
      const shipped = readWith(moved, await ask("ship"), target);
      const again = readWith(moved, await ask("ship"), target);
      const fault = whyWrong(shipped) ?? whyWrong(again);
      if (fault !== undefined) return `${fault}, to ship after reserve`;
      if (isRejected(shipped))
        return `answered ${spoken(shipped)} to ship: only reserve may find an order sold out`;
      const back = whyWrong(readUndo(await ask("release"), target, released));
      return back && `${back}, to release after ship`;
    },
  },
  ...PAYMENTS_CHECKS,
  {
    name: "tracks the parcel that it has booked",
    of: ["carrier"],
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const booked = label.safeParse(valueOf(readWith(label, await order.run(), target)));
      if (!booked.success) return new Skipped("the parcel was not booked");
      const { trackingNumber } = booked.data.done;
      const body = { operation: "track", orderId: order.id, trackingNumber };
      const fault = whyWrong(
        readWith(tracking, await order.ask({ id: `${order.id}:ship:track`, body }), target),
      );
      return fault && `${fault}, to track after create-label`;
    },
  },
];
