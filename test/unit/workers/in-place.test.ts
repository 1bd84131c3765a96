import { expect, test } from "@jest/globals";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import { InPlace } from "../../../workers/in-place.ts";

test("an order on its way to a stage with a limit is no guest there, however long the limit takes to be read", async () => {
  const transition = new Lifecycle([{ name: "send", to: "SENT", run: async () => ({}) }]).due("CREATED");
  if (!transition) throw new Error("the stage is due");
  const counted = { now: 0, most: 0 };
  const expectGuest = () => {
    counted.most = Math.max(counted.most, ++counted.now);
    return () => void counted.now--;
  };
  const enqueued: string[] = [];
  const inPlace = new InPlace({
    workerOf: () => ({
      hasPlace: true,
      guests: counted.now,
      expectGuest,
      host: () => Promise.reject(new Error("the stage has a limit")),
    }),
    enqueue: async ({ orderId }) => void enqueued.push(orderId),
    limitsOf: async () => ({ isUnlimited: false, hasConcurrency: true }),
    announceGuests: async () => undefined,
    retractGuests: () => undefined,
    haveGuests: async () => counted.now > 0,
  });
  // The first one finds the limit.
  await inPlace.handOver("first", transition, undefined);
  counted.most = 0;
  await inPlace.handOver("second", transition, undefined);
  expect(counted).toEqual({ now: 0, most: 0 });
  expect(enqueued).toEqual(["first", "second"]);
});
