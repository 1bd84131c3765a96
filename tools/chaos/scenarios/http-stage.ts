import { setTimeout as delay } from "node:timers/promises";
import { groupBy } from "../../../src/platform/group-by.ts";
import { counted, grouped } from "../../shared/text.ts";
import type { Check } from "../audit.ts";
import type { Evidence } from "../evidence.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders, type ChaosOrder } from "../orders.ts";
import { between, chance, stream } from "../random.ts";
import type { Script } from "../run.ts";
import type { StageBooks, UnreliableStage } from "../unreliable-stage.ts";

/** Milliseconds from one kill to the next, and until it is restarted. */
const KILL_EVERY_MS = [4_000, 8_000] as const;
const AWAY_MS = [0, 2_000] as const;
/** Besides those that all scenarios' customers cancel. */
const CANCELLED_SHARE = 0.2;
const LATEST_CANCELLATION_MS = 4_000;
/** The result was taken, before or now, or is no longer wanted; 0 and 503: the API was away. */
const EXPECTED_ANSWERS = new Set([204, 410, 503, 0]);

/** A stage over HTTP, in Python, that is killed, slow, doubled, answers late and calls back twice. */
export function httpStage(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const random = stream(options.seed, "cancellations");
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods }).map((order) =>
    chance(random, CANCELLED_SHARE) ? cancelled(order, random.below(LATEST_CANCELLATION_MS)) : order,
  );
  let books: StageBooks = { effects: [], callbacks: [] };
  return {
    goods,
    hasHttpStage: true,
    async play({ deployment, customers, signal }) {
      const { stage } = deployment;
      if (stage === undefined) throw new Error("the deployment has no HTTP stage");
      const over = new AbortController();
      const killing = kill(stage, options.seed, over.signal);
      await steadyLoad(customers, orders, options.lengthMs, signal).finally(() => over.abort());
      const kills = await killing;
      return async () => {
        books = await stage.readBooks();
        const done = (what: string) => grouped(books.effects.filter(([, each]) => each === what).length);
        return [
          ["the stage was killed", counted(kills, "time")],
          ...[...stage.treated].map(([how, count]) => [`requests: ${how}`, grouped(count)] as const),
          ["runs that had an effect", done("run")],
          ["undone, or forbidden before they ran", done("undo")],
          ["late runs refused after an undo", done("refused")],
          ["callbacks", grouped(books.callbacks.length)],
        ];
      };
    },
    checks: (evidence) => auditStage(evidence, books),
  };
}

function cancelled(order: ChaosOrder, cancelAfter: number): ChaosOrder {
  return { ...order, cancelAfter };
}

/** Kills it at random until the signal, and leaves it running. @returns how often */
async function kill({ process }: UnreliableStage, seed: number, signal: AbortSignal): Promise<number> {
  const random = stream(seed, "kills");
  for (let kills = 0; ; kills++) {
    await delay(between(random, KILL_EVERY_MS), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return kills;
    await process.hold("SIGKILL");
    await delay(between(random, AWAY_MS));
    process.release();
    await process.ready();
  }
}

/** Compares the stage's books with what became of the orders. */
export function auditStage(evidence: Pick<Evidence, "orders">, books: StageBooks): Check[] {
  return [effectsFit(evidence, books), undoWins(books), callbacksTaken(books)];
}

/** Once for each order delivered; what was done for a cancelled order was undone. */
function effectsFit({ orders }: Pick<Evidence, "orders">, { effects }: StageBooks): Check {
  const byOrder = groupBy(effects, ([orderId]) => orderId);
  const breaches = orders.flatMap(({ id, status }) => {
    const count = (what: string) => (byOrder.get(id) ?? []).filter(([, each]) => each === what).length;
    const [runs, undos] = [count("run"), count("undo")];
    const isFine =
      status === "DELIVERED" ? runs === 1 && undos === 0 : runs === 0 || (runs === 1 && undos === 1);
    return isFine ? [] : [`${id} is ${status}: run ${runs} times, undone ${undos} times`];
  });
  return {
    promise: "the HTTP stage took effect once for each order delivered, and is undone for each cancelled",
    checked: orders.length,
    of: "orders",
    breaches,
  };
}

function undoWins({ effects }: StageBooks): Check {
  const undone = new Set<string>();
  const breaches: string[] = [];
  for (const [orderId, what] of effects) {
    if (what === "undo") undone.add(orderId);
    if (what === "run" && undone.has(orderId)) breaches.push(`${orderId} was run after it was undone`);
  }
  return {
    promise: "no run took effect after its undo",
    checked: undone.size,
    of: "orders undone",
    breaches,
  };
}

function callbacksTaken({ callbacks }: StageBooks): Check {
  return {
    promise: "both callbacks of a result are taken",
    checked: callbacks.length,
    of: "callbacks",
    breaches: callbacks
      .filter((status) => !EXPECTED_ANSWERS.has(status))
      .map((status) => `answered ${status}`),
  };
}
