import { z } from "zod";
import { label, tracking } from "../../src/providers/http/carrier.ts";
import { moved, released } from "../../src/providers/http/inventory.ts";
import { charged, refunded } from "../../src/providers/http/payments.ts";
import { readUndo, readWith, type Answer } from "./answers.ts";
import { differs, Skipped, spoken, whyWrong, type Check } from "./check.ts";
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
  {
    name: "finds a charge by its key, as it is now",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const made = readWith(charged, await order.run(), target);
      const found = readWith(charged, await find(order), target);
      const fault = whyWrong(made) ?? whyWrong(found);
      if (fault !== undefined) return `${fault}, to find-charge`;
      if (isRejected(made)) return new Skipped("the charge was declined");
      return chargeOf(found) === chargeOf(made)
        ? undefined
        : `answered ${spoken(found)} to find-charge, for a charge that was answered with ${spoken(made)}`;
    },
  },
  {
    name: "finds no charge that nobody asked for",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const response = await find(new TestOrder(target));
      return response.status === 204
        ? undefined
        : `answered ${response.status ?? response.error} to find-charge, instead of 204`;
    },
  },
  {
    name: "tells of a refunded charge that it was called off",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      await order.undo();
      const response = await find(order);
      if (response.status === 204) return undefined;
      const found = readWith(charged, response, target);
      const fault = whyWrong(found);
      if (fault !== undefined) return fault;
      return isCalledOff(found)
        ? undefined
        : `answered ${spoken(found)} to find-charge, for a charge that was called off: {"done": {"status": "cancelled"}} or 204`;
    },
  },
  {
    name: "refunds a part of a charge, once, and finds the refund",
    of: ["payments"],
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const made = readWith(charged, await order.run(), target);
      if (isRejected(made)) return new Skipped("the charge was declined");
      const [chargeKey, refundKey] = [`${order.id}:pay`, `${order.id}:refund`];
      const part = { operation: "refund", orderId: order.id, chargeKey, chargeId: chargeOf(made), amount: 1 };
      const refund = async () => readWith(refunded, await order.ask({ id: refundKey, body: part }), target);
      const [first, second] = [await refund(), await refund()];
      const body = { operation: "find-refund", orderId: order.id, refundKey };
      const found = readWith(refunded, await order.ask({ id: `${refundKey}:find`, body }), target);
      const fault = [first, second, found].map(whyWrong).find((each) => each !== undefined);
      if (fault !== undefined) return `${fault}, to a refund of a part`;
      if (differs(first, second))
        return `answered ${spoken(first)} to the refund of a part, then ${spoken(second)}`;
      return refundOf(found) === refundOf(first)
        ? undefined
        : `answered ${spoken(found)} to find-refund, for a refund that was answered with ${spoken(first)}`;
    },
  },
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

function find(order: TestOrder) {
  const chargeKey = `${order.id}:pay`;
  return order.ask({
    id: `${chargeKey}:find`,
    body: { operation: "find-charge", orderId: order.id, chargeKey },
  });
}

function isRejected(answer: Answer): boolean {
  return z.object({ reject: z.string() }).safeParse(valueOf(answer)).success;
}

function isCalledOff(answer: Answer): boolean {
  const cancelled = z.object({ done: z.object({ status: z.literal("cancelled") }) });
  return isRejected(answer) || cancelled.safeParse(valueOf(answer)).success;
}

function chargeOf(answer: Answer): string | undefined {
  return z.object({ done: z.object({ chargeId: z.string() }) }).safeParse(valueOf(answer)).data?.done
    .chargeId;
}

function refundOf(answer: Answer): string | undefined {
  return z.object({ done: z.object({ refundId: z.string() }) }).safeParse(valueOf(answer)).data?.done
    .refundId;
}

function valueOf(answer: Answer): unknown {
  return answer.is === "wrong" ? undefined : answer.value;
}
