import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { API_LIMITS } from "../../src/api/limits.ts";
import { LIMITS } from "../../src/order/limits.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";

jest.setTimeout(300_000);

const LARGE = 60;
const SMALL = 100;
const SKUS = 4_000;
/** Of a page, and with it of what a process holds for it. */
const PAGE_BYTES = 8_000_000;

/** Generous: it was more than four seconds when pages had no such limit. */
const LIVE_MS = 1_000;

const skuOf = (number: number) => `SKU-${String(number).padStart(60, "0")}`;
const linesOf = (count: number, first: number) =>
  Array.from({ length: count }, (_, index) => ({
    sku: skuOf((first + index) % SKUS),
    quantity: 1,
    unitPrice: 1_000,
  }));
const largeOrder = (number: number) => ({
  ...PLAIN_ORDER,
  customerId: "cust-large",
  lines: linesOf(LIMITS.lines, number * 31),
});
/** One line, and as much text as an order may have, of characters that are escaped twice on their way. */
const wordyOrder = () => ({
  ...PLAIN_ORDER,
  customerId: "cust-wordy",
  lines: linesOf(1, 0),
  note: '"'.repeat(2_000),
  adjustments: Array.from({ length: 100 }, () => ({ kind: "fee", amount: 1, label: '"'.repeat(200) })),
  metadata: Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`key-${index}`, '"'.repeat(500)])),
});
const smallOrder = (number: number) => ({
  ...PLAIN_ORDER,
  customerId: "cust-small",
  lines: linesOf(1, number),
});

/** The service with its usual time limits. */
let line: TestLine;
let answers: { status: number; body: { id: string } }[];
let smallAnswers: { status: number; body: { id: string } }[];

beforeAll(async () => {
  line = await startLine({ env: { DATABASE_TIMEOUT_MS: "1500", LOG_LEVEL: "info" } });
  for (let first = 0; first < SKUS; first += API_LIMITS.stockItems) {
    const items = Array.from({ length: API_LIMITS.stockItems }, (_, index) => ({
      sku: skuOf(first + index),
      onHand: 1_000_000,
    }));
    expect((await line.client.post("/stock", { items })).status).toBe(200);
  }
  const large = Array.from({ length: LARGE }, (_, index) => line.client.post("/orders", largeOrder(index)));
  const small = Array.from({ length: SMALL }, (_, index) => line.client.post("/orders", smallOrder(index)));
  [answers, smallAnswers] = [await Promise.all(large), await Promise.all(small)];
});
afterAll(() => line?.close());

describe("sixty orders of two thousand lines at once", () => {
  test("are all accepted, and so are small ones beside them", () => {
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: LARGE }, () => 202));
    expect(smallAnswers.map(({ status }) => status)).toEqual(Array.from({ length: SMALL }, () => 202));
  });

  test("are delivered, without a failed attempt, and without MySQL being blamed", async () => {
    for (const { body } of [...smallAnswers, ...answers]) await line.client.orderIn(body.id, "DELIVERED");
    const logs = [line.api, ...line.workers].flatMap((each) => each.logs());
    const told = logs
      .map((entry) => JSON.stringify(entry))
      .filter((text) => /MySQL|will be retried/.test(text));
    expect(told).toEqual([]);
  });

  test("are listed in pages that end early, each once, while /health/live answers at once", async () => {
    const seen: string[] = [];
    let cursor: string | null = null;
    let slowestMs = 0;
    const listed = new AbortController();
    const watched = (async () => {
      while (!listed.signal.aborted) {
        const startedAt = performance.now();
        expect((await line.client.get("/health/live")).status).toBe(200);
        slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      }
    })();
    do {
      const query: string = `?customerId=cust-large&limit=200${cursor === null ? "" : `&cursor=${cursor}`}`;
      const { status, headers, body } = await line.client.get(`/orders${query}`);
      expect(status).toBe(200);
      expect(Number(headers.get("content-length"))).toBeLessThan(PAGE_BYTES);
      expect(body.items.length).toBeGreaterThan(0);
      for (const { id, lines } of Object.values(body.items)) {
        expect(lines).toHaveLength(LIMITS.lines);
        seen.push(id);
      }
      cursor = body.nextCursor;
    } while (cursor !== null);
    listed.abort();
    await watched;
    expect(seen).toEqual(
      answers
        .map(({ body }) => body.id)
        .toSorted()
        .toReversed(),
    );
    expect(slowestMs).toBeLessThan(LIVE_MS);
  });
});

describe("orders with more text than lines", () => {
  const WORDY = 200;

  test("are all accepted at once, and so are small ones beside them", async () => {
    const wordy = Array.from({ length: WORDY }, () => line.client.post("/orders", wordyOrder()));
    const small = Array.from({ length: SMALL }, (_, index) => line.client.post("/orders", smallOrder(index)));
    for (const each of [wordy, small]) {
      const statuses = (await Promise.all(each)).map(({ status }) => status);
      expect(statuses).toEqual(statuses.map(() => 202));
    }
  });

  test("are listed in pages that end early, each once, by ten clients at once", async () => {
    const readAll = async () => {
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const query: string = `?customerId=cust-wordy&limit=200${cursor === null ? "" : `&cursor=${cursor}`}`;
        const { status, headers, body } = await line.client.get(`/orders${query}`);
        expect(status).toBe(200);
        expect(Number(headers.get("content-length"))).toBeLessThan(PAGE_BYTES);
        seen.push(...body.items.map(({ id }: { id: string }) => id));
        cursor = body.nextCursor;
      } while (cursor !== null);
      return seen;
    };
    for (const seen of await Promise.all(Array.from({ length: 10 }, readAll))) {
      expect(seen).toHaveLength(WORDY);
      expect(new Set(seen).size).toBe(WORDY);
    }
  });
});
