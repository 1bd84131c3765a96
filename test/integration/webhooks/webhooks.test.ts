import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { EventLog } from "../../../db/event-log.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { listActions } from "../../../db/operator-actions.ts";
import { orderEvents, webhookDeliveries, webhookEndpoints } from "../../../db/schema.ts";
import { findDelivery, listDeliveries, pruneWebhooks } from "../../../db/webhook-deliveries.ts";
import { findEndpoint, type EndpointSettings, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { WebhookEndpoints } from "../../../src/events/webhooks/endpoints.ts";
import { Networks } from "../../../src/events/webhooks/networks.ts";
import { Webhooks, type WebhooksOptions } from "../../../src/events/webhooks/webhooks.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";
import { verify, WebhookReceiver, type Behaviour } from "../../support/webhook-receiver.ts";

const log = createLogger({ name: "test", level: "silent" });
const NETWORKS = new Networks(["127.0.0.0/8"]);
const HOUR_MS = 3_600_000;
/** Eight attempts within a second. */
const DELAYS_MS = [20, 40, 60, 80, 100, 120, 140];

let environment: TestEnvironment;
let endpoints: WebhookEndpoints;
let closing: (() => unknown)[];
beforeEach(async () => {
  environment = await createTestEnvironment();
  endpoints = new WebhookEndpoints(environment.database, NETWORKS);
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await environment.close();
});

function send(options: Partial<WebhooksOptions> = {}): Webhooks {
  const webhooks = new Webhooks({
    database: environment.database,
    networks: NETWORKS,
    timeoutMs: 10_000,
    concurrency: 10,
    disableAfterMs: 60_000,
    keepMs: 60_000,
    delaysMs: DELAYS_MS,
    firstPauseMs: 50,
    lookIntervalMs: 20,
    log,
    events: new EventLog(environment.database, { graceMs: 200 }),
    ...options,
  });
  webhooks.start();
  closing.push(() => webhooks.stop({ graceMs: 0 }));
  return webhooks;
}

async function receiver(behave?: Behaviour): Promise<WebhookReceiver> {
  const started = await WebhookReceiver.start(behave);
  closing.push(() => started.close());
  return started;
}

async function endpointFor(
  { url }: Pick<WebhookReceiver, "url">,
  settings: Partial<EndpointSettings> = {},
): Promise<WebhookEndpoint> {
  const made = await endpoints.create({ url, description: null, eventTypes: null, ...settings }, "ada");
  return made.endpoint;
}

/** Creates so many orders, each of which then moves so many times. @returns their ids. */
async function orders(count: number, moves = 0): Promise<string[]> {
  const made = Array.from({ length: count }, () => newOrder());
  await createOrders(environment.database, made);
  for (let move = 1; move <= moves; move++)
    await advance(
      made.map(({ id }) => id),
      move,
    );
  return made.map(({ id }) => id);
}

async function advance(orderIds: readonly string[], number: number): Promise<void> {
  await environment.database.transaction((queries) =>
    queries.insert(orderEvents).values(
      orderIds.map((orderId) => ({
        orderId,
        fromStatus: `S${number - 1}`,
        toStatus: `S${number}`,
        at: new Date(),
        reason: "a secret reason",
      })),
    ),
  );
}

const deliveries = async ({ id }: Pick<WebhookEndpoint, "id">) =>
  (await listDeliveries(environment.database, id, { limit: 10_000 })).items;
const refuse: Behaviour = (response) => void response.writeHead(500).end("not today");

describe("an endpoint", () => {
  test("gets every event that happens from now on, signed, once, in each order's order", async () => {
    await orders(5);
    const endpoint = await receiver();
    const { secret } = await endpointFor(endpoint);
    send();
    const ids = await orders(20, 4);
    await waitFor("all events", () => endpoint.accepted.length >= 100);
    expect([...endpoint.acceptedByOrder.keys()].toSorted()).toEqual(ids.toSorted());
    for (const events of endpoint.acceptedByOrder.values()) {
      expect(events).toHaveLength(5);
      expect(events).toEqual(events.toSorted((a, b) => a - b));
    }
    expect(endpoint.received).toHaveLength(100);
    for (const received of endpoint.received) {
      expect(verify(secret, received)).toMatchObject({ specversion: "1.0", id: received.id });
      expect(received.body).not.toContain("secret reason");
    }
  });

  test("gets what happens as soon as it is made, also while events are being read", async () => {
    const before = await receiver();
    await endpointFor(before);
    const later = await receiver();
    let made: Promise<unknown> | undefined;
    class EventLogWithPause extends EventLog {
      override async read(page: Parameters<EventLog["read"]>[0]) {
        await (made ??= endpointFor(later).then(() => orders(1)));
        return super.read(page);
      }
    }
    send({ events: new EventLogWithPause(environment.database, { graceMs: 200 }) });
    await waitFor("the event", () => before.accepted.length === 1 && later.accepted.length === 1);
  });

  test("gets only the types that it wants", async () => {
    const endpoint = await receiver();
    await endpointFor(endpoint, { eventTypes: ["failed"] });
    const all = await receiver();
    await endpointFor(all);
    send();
    const [orderId = ""] = await orders(1, 1);
    await environment.database.transaction((queries) =>
      queries
        .insert(orderEvents)
        .values({ orderId, fromStatus: "S1", toStatus: "S1", type: "failed", stage: "pay", at: new Date() }),
    );
    await waitFor("the event", () => endpoint.accepted.length === 1 && all.accepted.length === 3);
    expect(JSON.parse(endpoint.received[0]?.body ?? "")).toMatchObject({ type: "conveyor.order.failed.v1" });
  });

  test("that fails for a while gets all in order, under the same ids", async () => {
    const endpoint = await receiver((response, _received, number) => {
      response.writeHead(number <= 12 ? 500 : 204).end();
    });
    const settings = await endpointFor(endpoint);
    send();
    const ids = await orders(10, 4);
    await waitFor("all events", () => endpoint.accepted.length >= 50);
    expect(endpoint.acceptedByOrder.size).toBe(ids.length);
    for (const events of endpoint.acceptedByOrder.values())
      expect(events).toEqual(events.toSorted((a, b) => a - b));
    expect(endpoint.accepted).toHaveLength(50);
    const bodies = new Map(endpoint.accepted.map(({ id, body }) => [id, body]));
    for (const { id, body } of endpoint.received) expect(body).toBe(bodies.get(id));
    await waitFor("it to be known", async () =>
      (await deliveries(settings)).every(({ state }) => state === "delivered"),
    );
    await waitFor("it not to fail any more", async () => {
      const found = await findEndpoint(environment.database, settings.id);
      return found?.failingSince === null;
    });
  });

  test("that is dead says why, and when it is tried again, until it accepts a message", async () => {
    let isDown = true;
    const endpoint = await receiver((response) => void response.writeHead(isDown ? 503 : 204).end());
    const { id } = await endpointFor(endpoint);
    const condition = async () => {
      const { failingSince, lastError, nextAttemptAt } = (await findEndpoint(environment.database, id)) ?? {};
      return { failingSince, lastError, nextAttemptAt };
    };
    send({ firstPauseMs: 500 });
    await orders(8, 1);
    const dead = await waitFor("the next attempt to be known", async () => {
      const now = await condition();
      return now.nextAttemptAt instanceof Date && now;
    });
    expect(dead).toMatchObject({ failingSince: expect.any(Date), lastError: "it answered 503" });
    expect(Math.abs((dead.nextAttemptAt?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    isDown = false;
    await waitFor("all events", () => endpoint.accepted.length >= 16);
    await waitFor("it to be well", async () => (await condition()).failingSince === null);
    expect(await condition()).toEqual({ failingSince: null, lastError: null, nextAttemptAt: null });
  });

  test.each([
    ["two minutes", 120, 60, 121],
    ["a day, no longer than five minutes", 86_400, 240, 301],
  ])(
    "that asks to be left alone for %s is, and says when it is tried again",
    async (_name, asked, least, most) => {
      // It was already asked to wait before.
      const endpoint = await receiver((response, _, number) => {
        response.writeHead(429, { "retry-after": String(number === 1 ? 1 : asked) }).end();
      });
      const { id } = await endpointFor(endpoint);
      send({ concurrency: 1 });
      await orders(9);
      const held = await waitFor("the next attempt to be known", async () => {
        const found = await findEndpoint(environment.database, id);
        const seconds = ((found?.nextAttemptAt?.getTime() ?? 0) - Date.now()) / 1_000;
        return seconds > least && { ...found, seconds };
      });
      expect(held).toMatchObject({ failingSince: expect.any(Date), lastError: "it answered 429" });
      expect(held.seconds).toBeLessThan(most);
      expect(endpoint.received).toHaveLength(2);
    },
  );

  test("that refuses one order's events gets each of them eight times, and other orders' meanwhile", async () => {
    const stuck = uuidv7();
    const endpoint = await receiver((response, { orderId }) => {
      response.writeHead(orderId === stuck ? 500 : 204).end();
    });
    const settings = await endpointFor(endpoint);
    // However often one order's event fails, with nothing else between: that is no outage, and nothing is paused.
    send({ firstPauseMs: 600_000 });
    await createOrders(environment.database, [newOrder({ id: stuck })]);
    await advance([stuck], 1);
    await waitFor("more failures than an outage has", () => endpoint.received.length >= 6);
    await orders(5, 1);
    await waitFor("the other orders, and the last attempt", async () => {
      const states = (await deliveries(settings)).map(({ state }) => state);
      return endpoint.accepted.length === 10 && states.filter((state) => state === "failed").length === 2;
    });
    const attempts = endpoint.received.filter(({ orderId }) => orderId === stuck).map(({ id }) => Number(id));
    // Each eight times, and the second only when the first was given up.
    expect(attempts).toHaveLength(16);
    expect(attempts).toEqual(attempts.toSorted((a, b) => a - b));
  });

  test("that fails for every order is asked by a few messages now and then, so that few attempts are used up", async () => {
    let isDown = true;
    const endpoint = await receiver((response) => void response.writeHead(isDown ? 500 : 204).end());
    const settings = await endpointFor(endpoint);
    send({ concurrency: 5, firstPauseMs: 50, delaysMs: [HOUR_MS, HOUR_MS] });
    await orders(60);
    // Five that fail, up to four that are under way meanwhile, and then up to three after each pause.
    await waitFor("some questions", () => endpoint.received.length >= 19);
    const at = endpoint.received.map((received) => received.at);
    // Seven in a row are of three turns at the least, with the pauses between: 50 and 100 ms; ten are of four.
    expect((at[15] ?? 0) - (at[9] ?? 0)).toBeGreaterThanOrEqual(140);
    expect((at[18] ?? 0) - (at[9] ?? 0)).toBeGreaterThanOrEqual(340);
    // Those least tried are asked first.
    expect(Math.max(...(await deliveries(settings)).map(({ attempts }) => attempts))).toBe(1);
    isDown = false;
    await waitFor("all events", () => endpoint.accepted.length === 60);
  });

  test("that answers 101 Switching Protocols has refused the message, and holds no place", async () => {
    let isSwitching = true;
    const endpoint = await receiver((response) => {
      if (isSwitching)
        response.socket?.write(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
      else response.writeHead(204).end();
    });
    const settings = await endpointFor(endpoint);
    // No request ends by its timeout meanwhile.
    const webhooks = send({ timeoutMs: 600_000 });
    await orders(20);
    await waitFor("more requests than places", () => endpoint.received.length > 10);
    // Of the first one as soon as its outcome is written down.
    await waitFor("an answer", async () => (await deliveries(settings)).some(({ lastStatus }) => lastStatus));
    expect(new Set((await deliveries(settings)).map(({ lastStatus }) => lastStatus))).toEqual(
      new Set([101, null]),
    );
    isSwitching = false;
    await waitFor("all events", () => endpoint.accepted.length === 20);
    isSwitching = true;
    await orders(1);
    await waitFor("the last request", () => endpoint.received.at(-1)?.accepted === false);
    await webhooks.stop({ graceMs: 600_000 });
  });

  test("that hangs holds up no other", async () => {
    const hanging = await receiver(() => undefined);
    const fast = await receiver();
    await endpointFor(hanging);
    await endpointFor(fast);
    // Longer than is waited for below: none of its requests ends meanwhile.
    send({ timeoutMs: 120_000, concurrency: 10 });
    await orders(100, 1);
    await waitFor("all events", () => fast.accepted.length === 200 && hanging.received.length === 10);
    expect(hanging.accepted).toEqual([]);
  });

  test("that answers 410 is disabled at once, with a notice, and goes on where it was when it is enabled", async () => {
    let isGone = true;
    const endpoint = await receiver((response) => void response.writeHead(isGone ? 410 : 204).end());
    const { id } = await endpointFor(endpoint);
    // The next attempt would be in hours, were it not enabled before.
    send({ delaysMs: [HOUR_MS, HOUR_MS] });
    await orders(1);
    const disabled = await waitFor("it to be disabled", async () => {
      const found = await findEndpoint(environment.database, id);
      return found?.state === "disabled" && found;
    });
    expect(disabled.disabledReason).toContain("410");
    await waitFor("a notice", async () =>
      (await listActions(environment.database, { limit: 5 })).items.some(
        ({ action, actor, target }) => action === "webhook-disable" && actor === "conveyor" && target === id,
      ),
    );
    await orders(3);
    isGone = false;
    await endpoints.change(id, { enabled: true }, "ada");
    const [later = ""] = await orders(1);
    await waitFor("what waited, and what happened since", () => endpoint.accepted.length >= 2);
    expect(endpoint.accepted).toHaveLength(2);
    expect(endpoint.accepted.map(({ orderId }) => orderId)).toContain(later);
  });

  test("whose address was wrong gets what waits at once when that is changed", async () => {
    const held: (() => void)[] = [];
    const wrong = await receiver((response, received, number) => {
      const answer = () => void refuse(response, received, number);
      if (number <= 3) answer();
      else held.push(answer);
    });
    const right = await receiver();
    const { id } = await endpointFor(wrong);
    send({ concurrency: 10, delaysMs: [HOUR_MS, HOUR_MS], firstPauseMs: HOUR_MS });
    await orders(20, 1);
    await waitFor("requests that have failed, and some under way", () => held.length === 10);
    await endpoints.change(id, { url: right.url }, "ada");
    // Some fail when the sender may not know of it yet, and some when it does.
    for (const answer of held.splice(0, 5)) answer();
    await waitFor("the first event", () => right.accepted.length > 0);
    for (const answer of held.splice(0)) answer();
    await waitFor("all events", () => right.accepted.length === 40);
  });

  test("that has failed everything for long is disabled", async () => {
    const endpoint = await receiver(refuse);
    const { id } = await endpointFor(endpoint);
    send({ disableAfterMs: 300 });
    await orders(1);
    const disabled = await waitFor("it to be disabled", async () => {
      const found = await findEndpoint(environment.database, id);
      return found?.state === "disabled" && found;
    });
    expect(disabled.disabledReason).toContain("every attempt has failed since");
    expect((await deliveries({ id }))[0]?.state).toBe("pending");
  });

  test("that asks for a pause by Retry-After is given it, whatever it took meanwhile", async () => {
    const endpoint = await receiver((response, _received, number) => {
      if (number === 1) response.writeHead(429, { "retry-after": "1" }).end();
      else response.writeHead(204).end();
    });
    await endpointFor(endpoint);
    send();
    await orders(3);
    await waitFor("it to ask", () => endpoint.received.length > 0);
    await orders(3);
    await waitFor("all events", () => endpoint.accepted.length === 6);
    const [first, ...others] = endpoint.received;
    const afterPause = others.filter(({ at }) => at - (first?.at ?? 0) >= 950);
    expect(afterPause.length).toBeGreaterThanOrEqual(4);
    expect(afterPause.map(({ id }) => id)).toContain(first?.id);
  });

  test.each([500, 503])(
    "that says %i with a Retry-After to one order goes on with the others",
    async (status) => {
      const refused = newOrder();
      const endpoint = await receiver((response, { orderId }) => {
        if (orderId === refused.id) response.writeHead(status, { "retry-after": "3600" }).end();
        else response.writeHead(204).end();
      });
      await endpointFor(endpoint);
      send();
      await orders(3);
      await waitFor("it to take some", () => endpoint.accepted.length === 3);
      await createOrders(environment.database, [refused]);
      await waitFor("it to refuse one", () => endpoint.received.length === 4);
      await orders(3);
      await waitFor("the others", () => endpoint.accepted.length === 6);
    },
  );
});

/** Longer runs are for their figures: SECONDS of one message a second, with the settings of every day. */
const SECONDS = Number(process.env["WEBHOOK_SECONDS"] ?? 0);
const PACE = SECONDS > 0 ? { count: SECONDS, everyMs: 1_000 } : { count: 40, everyMs: 50 };
const USUAL: Partial<WebhooksOptions> =
  SECONDS > 0
    ? { delaysMs: undefined, firstPauseMs: undefined, lookIntervalMs: 1_000 }
    : { delaysMs: [200, HOUR_MS], firstPauseMs: 50, timeoutMs: 1_000 };
/** For how long a silent endpoint is waited for where few are silent: what a busy machine takes by itself is less. */
const PATIENT_MS = 3_000;

describe("an endpoint that refuses some orders' messages", () => {
  /** Refuses these, and counts how many it has at the same moment that it has refused before. */
  class Refusing {
    readonly orderIds = new Set<string>();
    mostAgain = 0;
    readonly #seen = new Set<string>();
    #again = 0;
    readonly #hangs: boolean;

    constructor(how: "500" | "no answer") {
      this.#hangs = how === "no answer";
    }

    readonly behave: Behaviour = (response, { orderId = "", id }) => {
      if (!this.orderIds.has(orderId)) return void response.writeHead(204).end();
      if (this.#seen.has(id)) {
        this.mostAgain = Math.max(this.mostAgain, ++this.#again);
        response.once("close", () => this.#again--);
      }
      this.#seen.add(id);
      if (!this.#hangs) response.writeHead(500).end();
    };
  }

  /** Makes an order every so many milliseconds. @returns how late the events of those that are not refused came, sorted. */
  async function lateness(
    endpoint: WebhookReceiver,
    { refusing, share = 0 }: { readonly refusing: Refusing; readonly share?: number },
  ): Promise<number[]> {
    const madeAt = new Map<string, number>();
    for (let number = 0; number < PACE.count; number++) {
      const order = newOrder();
      if (Math.floor((number + 1) * share) > Math.floor(number * share)) refusing.orderIds.add(order.id);
      else madeAt.set(order.id, Date.now());
      await createOrders(environment.database, [order]);
      await sleep(PACE.everyMs);
    }
    await waitFor(
      "the others",
      () => endpoint.accepted.filter(({ orderId = "" }) => madeAt.has(orderId)).length >= madeAt.size,
    );
    return endpoint.accepted
      .flatMap(({ at, orderId = "" }) => (madeAt.has(orderId) ? [at - (madeAt.get(orderId) ?? 0)] : []))
      .toSorted((a, b) => a - b);
  }

  const of = (sorted: readonly number[], part: number) =>
    sorted[Math.floor((sorted.length - 1) * part)] ?? Infinity;
  const tell = (what: string, late: readonly number[]) =>
    SECONDS > 0 &&
    process.stderr.write(
      `${what}: median ${of(late, 0.5)} ms, p95 ${of(late, 0.95)} ms, most ${of(late, 1)} ms\n`,
    );

  test.each([
    ["none of them", "500", 0, 0],
    ["30 % with 500", "500", 0.3, 0],
    ["30 % by silence", "no answer", 0.3, 0],
    ["60 with 500 at the start", "500", 0, 60],
    ["60 by silence at the start", "no answer", 0, 60],
  ] as const)(
    "%s: the others come in time",
    async (what, how, share, burst) => {
      const refusing = new Refusing(how);
      const endpoint = await receiver(refusing.behave);
      await endpointFor(endpoint);
      const first = Array.from({ length: burst }, () => newOrder());
      for (const { id } of first) refusing.orderIds.add(id);
      if (burst > 0) await createOrders(environment.database, first);
      send(burst > 0 || SECONDS > 0 || how !== "no answer" ? USUAL : { ...USUAL, timeoutMs: PATIENT_MS });
      if (burst > 0) await waitFor("the first refusals", () => endpoint.received.length >= 10);
      const late = await lateness(endpoint, { refusing, share });
      tell(what, late);
      expect(refusing.mostAgain).toBeLessThanOrEqual(2);
      if (SECONDS > 0) return;
      // Each silent one holds a place for a second: as many as there are places may come first.
      if (burst > 0 && how === "no answer") expect(of(late, 1)).toBeLessThan(15_000);
      // Whoever waited for a silent one would be as late as its timeout.
      else expect(of(late, 0.95)).toBeLessThan(how === "no answer" ? PATIENT_MS : 1_000);
    },
    600_000,
  );

  test.each(["tried before", "sent again by hand"])(
    "has a thousand that were %s come as a share, whatever stands behind them",
    async (how) => {
      const refusing = new Refusing("no answer");
      const endpoint = await receiver(refusing.behave);
      const { id: endpointId } = await endpointFor(endpoint);
      const rows = Array.from({ length: 1_000 }, () => ({ ...newOrder(), orderId: uuidv7() }));
      const past = new Date(Date.now() - 60_000);
      await environment.database.transaction(async (queries) =>
        queries.insert(webhookDeliveries).values(
          rows.map(({ orderId }, index) => ({
            endpointId,
            orderId,
            eventId: index + 1_000_000,
            state: how === "tried before" ? ("pending" as const) : ("failed" as const),
            attempts: how === "tried before" ? 1 : 8,
            dueAt: past,
            lastStatus: 500,
            createdAt: past,
          })),
        ),
      );
      await environment.database.transaction(async (queries) =>
        queries.insert(orderEvents).values(
          rows.map(({ orderId }, index) => ({
            id: index + 1_000_000,
            orderId,
            fromStatus: null,
            toStatus: "CREATED",
            at: past,
          })),
        ),
      );
      for (const { orderId } of rows) refusing.orderIds.add(orderId);
      await environment.database.transaction(async (queries) =>
        queries.update(webhookEndpoints).set({ afterEventId: 1_000_999 }),
      );
      if (how !== "tried before")
        for (const { id } of (await deliveries({ id: endpointId })).slice(0, 80))
          await endpoints.resend(id, "ada");
      send({ timeoutMs: 600_000 });
      await waitFor("some of them", () => endpoint.received.length === 2);
      await orders(40, 1);
      await waitFor("all others", () => endpoint.accepted.length === 80);
      // A quarter of the places, and no more.
      expect(endpoint.received).toHaveLength(82);
    },
  );
});

describe("deliveries", () => {
  test("tell each attempt, with what was answered", async () => {
    const endpoint = await receiver((response, _received, number) => {
      if (number === 1) response.writeHead(500).end("not today");
      else response.writeHead(200).end("thanks");
    });
    const settings = await endpointFor(endpoint);
    send();
    await orders(1);
    const delivered = await waitFor("it to be delivered", async () => {
      const [found] = await deliveries(settings);
      return found?.state === "delivered" && found;
    });
    expect(delivered).toMatchObject({ attempts: 2, lastStatus: 200, lastError: null, eventType: "status" });
    const found = await findDelivery(environment.database, delivered.id);
    expect(found?.attempts).toMatchObject([
      { status: 200, response: "thanks", error: null, url: endpoint.url },
      { status: 500, response: "not today", error: null, url: endpoint.url },
    ]);
  });

  test("are sent again when somebody asks for it, under the same id", async () => {
    const endpoint = await receiver();
    const settings = await endpointFor(endpoint);
    send();
    await orders(1);
    await waitFor("the event", async () => (await deliveries(settings))[0]?.state === "delivered");
    const [delivery] = await deliveries(settings);
    await endpoints.resend(delivery?.id ?? 0, "ada");
    await waitFor("it to come again", () => endpoint.accepted.length === 2);
    const [first, again] = endpoint.received;
    expect(again?.id).toBe(first?.id);
    expect(again?.body).toBe(first?.body);
  });

  test("are not made where there is no endpoint that wants them", async () => {
    const endpoint = await receiver();
    const settings = await endpointFor(endpoint);
    await endpoints.change(settings.id, { enabled: false }, "ada");
    send();
    await orders(10);
    await endpoints.change(settings.id, { enabled: true }, "ada");
    await orders(1);
    await waitFor("the event", () => endpoint.accepted.length === 1);
    const rows = await environment.database.query((queries) => queries.select().from(webhookDeliveries));
    expect(rows).toHaveLength(1);
  });

  test("of a test message say what it was", async () => {
    const endpoint = await receiver();
    const { id, secret } = await endpointFor(endpoint);
    send();
    const delivery = await endpoints.test(id, "ada");
    const received = await waitFor("the message", () => endpoint.accepted[0]);
    expect(received.id).toBe(`test-${delivery.id}`);
    expect(verify(secret, received)).toMatchObject({ type: "conveyor.webhook.test.v1" });
  });

  test("are removed some time after they were settled, and all of an endpoint that is deleted", async () => {
    const endpoint = await receiver();
    const settings = await endpointFor(endpoint);
    send();
    await orders(3);
    await waitFor("the events", async () => {
      const states = (await deliveries(settings)).map(({ state }) => state);
      return states.length === 3 && states.every((state) => state === "delivered");
    });

    const prune = (before: Date) => pruneWebhooks(environment.database, { before, limit: 100 });
    expect(await prune(new Date(Date.now() - 60_000))).toBe(0);
    expect(await prune(new Date(Date.now() + 60_000))).toBe(6);
    expect(await deliveries(settings)).toEqual([]);
  });
});

describe("one at a time", () => {
  test("another process goes on when the one that sent has ended, with nothing lost and nothing twice", async () => {
    const endpoint = await receiver();
    const settings = await endpointFor(endpoint);
    const first = send();
    const second = send();
    await orders(10);
    await waitFor("the first events", () => endpoint.accepted.length === 10);
    expect([first.leads, second.leads].filter(Boolean)).toHaveLength(1);
    await (first.leads ? first : second).stop();
    await orders(10);
    await waitFor("the others", () => endpoint.accepted.length >= 20);
    expect(endpoint.received).toHaveLength(20);
    await waitFor("all to be noted", async () =>
      (await deliveries(settings)).every(({ state }) => state === "delivered"),
    );
  });

  test("a request that its process gives up is made again by the next one", async () => {
    let isHanging = true;
    const endpoint = await receiver((response) => {
      if (!isHanging) response.writeHead(204).end();
    });
    await endpointFor(endpoint);
    const first = send({ timeoutMs: 60_000 });
    await orders(1, 1);
    await waitFor("the request", () => endpoint.received.length === 1);
    await first.stop({ graceMs: 0 });
    isHanging = false;
    send();
    await waitFor("both events", () => endpoint.accepted.length === 2);
    const [lost, again, next] = endpoint.received;
    expect(again?.id).toBe(lost?.id);
    expect(Number(next?.id)).toBeGreaterThan(Number(again?.id));
  });
});
