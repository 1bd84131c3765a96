import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { TestClient } from "../support/client.ts";
import { startCommand } from "../support/command.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startApi, TEST_KEY, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

const PUBLIC_FILE = path.resolve(import.meta.dirname, "../../../shared/data/online-retail.csv");
const HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-replay-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

function write(content: string | Buffer): string {
  const file = path.join(folder, "sales.csv");
  writeFileSync(file, content);
  return file;
}

/** Rows of `invoice,SKU,quantity,price,customer`, with what no test looks at filled in. */
function sales(...rows: string[]): string {
  const lines = rows.map((row) => {
    const [invoice, sku, quantity, price, customer] = row.split(",");
    return `${invoice},${sku},SOMETHING,${quantity},2010-12-01 08:26,${price},${customer},United Kingdom`;
  });
  return [HEADER, ...lines, ""].join("\n");
}

function replay(url: string, ...args: string[]) {
  return startCommand("tools/cli/replay.ts", args, { CONVEYOR_URL: url, CONVEYOR_API_KEY: TEST_KEY });
}

/** Runs the command to its end; gives its report as JSON too. */
async function report(url: string, file: string, ...args: string[]) {
  const json = path.join(folder, "report.json");
  const result = await replay(url, file, "--json", json, ...args).ended;
  return { ...result, json: JSON.parse(readFileSync(json, "utf8")) };
}

describe("the replay, with a worker", () => {
  let line: TestLine;

  beforeAll(async () => {
    line = await startLine();
  });

  afterAll(() => line.close());

  const stock = async (sku: string) => {
    const { onHand, reserved } = (await line.client.get(`/stock/${encodeURIComponent(sku)}`)).body;
    return { onHand, reserved };
  };

  test("makes the best of a file with every kind of nasty row", async () => {
    await line.client.put("/stock/85123A", { onHand: 5 });
    const row = (start: string, end = "2010-12-01 08:26,2.55,17850,United Kingdom") => `${start},${end}`;
    const lines = [
      `\uFEFF${HEADER}`,
      row("936365,85123A,WHITE HANGING HEART,6"),
      row('936365,85123A,"HEART, ""WHITE""",2'),
      row("936365,85123A,HEART,1", "2010-12-01 08:26,3.0,17850,United Kingdom"),
      row("936366,85123a,OTHER CASE,1", "12/1/2010 8:26,8.470000000000001,,United Kingdom"),
      "",
      row('936367,BAD1,"NEVER CLOSED,6'),
      row("936365,22086,BACK AGAIN,4", "2010-12-01 08:28,0.5,,United Kingdom"),
      row("C936379,D,Discount,-1"),
      row("A563185,B,Adjust bad debt,1", "2010-12-01 08:26,-11062.06,,United Kingdom"),
      row("936367,POST,POSTAGE,1"),
      row("936367,22087,FREE,1", "2010-12-01 08:26,0,17850,United Kingdom"),
      row("936367,22087,DUST,1", "2010-12-01 08:26,0.001,17850,United Kingdom"),
      row("936367,22087,TOO FEW FIELDS"),
      row("936367,22087,MUG,many"),
      row("936367,22087,MUG,6", "yesterday,2.55,17850,United Kingdom"),
      row("936367,22087,MUG,6", "2010-12-01 08:26,£2.55,17850,United Kingdom"),
      row(`936367,${"X".repeat(65)},MUG,6`),
      row("936365,22088,MUG,6", "2010-12-01 08:26,2.55,13047,United Kingdom"),
      row("936368,22/88 ü,MUG,10", "2010-12-01 08:26,1.99,13047,EIRE"),
      row("936368,D,Discount,-1", "2010-12-01 08:26,5.0,13047,EIRE"),
    ];
    const latin1 = Buffer.from(row("936369,22089,DOTCOM £2 CAFÉ,1"), "latin1");
    const { code, stdout, stderr, json } = await report(
      line.api.url,
      write(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n`), latin1])),
    );

    expect(code).toBe(0);
    expect(stdout).toMatch(/^Everything reconciles: totals to the penny, and the stock of every SKU\.$/m);
    expect(json).toMatchObject({
      file: {
        rows: 20,
        sold: 9,
        skipped: {
          cancellation: 1,
          adjustment: 1,
          "no price": 1,
          "fraction of a penny": 1,
        },
        invoices: 5,
        orderLines: 7,
      },
      orders: { accepted: 5, alreadyThere: 0, refused: [], delivered: 5, cancelled: {}, failed: {}, lost: 0 },
      money: { file: 8 * 255 + 300 + 847 + 4 * 50 + 1990 - 500 + 255 + 255, notTaken: 0, differences: [] },
      stock: { checked: 5, open: 0, differences: [] },
      reconciles: true,
    });
    expect(json.money.service).toBe(json.money.file);
    expect(json.file.bad.map((bad: { line: number }) => bad.line)).toEqual([7, 14, 15, 16, 17, 18, 19]);
    expect(stderr).toContain('line 15: Quantity "many" is not a whole number such as 6');

    const orders = await line.client.orders();
    expect(orders.find(({ reference }) => reference === "936365")).toMatchObject({
      status: "DELIVERED",
      customerId: "17850",
      currency: "GBP",
      total: 8 * 255 + 300 + 4 * 50,
      lines: [
        { sku: "85123A", quantity: 8, unitPrice: 255 },
        { sku: "85123A", quantity: 1, unitPrice: 300 },
        { sku: "22086", quantity: 4, unitPrice: 50 },
      ],
    });
    expect(orders.find(({ reference }) => reference === "936366")).toMatchObject({ customerId: "guest" });
    expect(await stock("85123A")).toEqual({ onHand: 0, reserved: 0 });
    expect(await stock("22/88 ü")).toEqual({ onHand: 0, reserved: 0 });
  });

  test("makes no order twice: a second run finds them, and leaves the stock as it was", async () => {
    const file = write(sales("600001,A-1,3,1.10,1", "600002,A-1,2,1.10,2", "600002,A-2,1,9.99,2"));
    await line.client.put("/stock/A-1", { onHand: 2 });
    expect((await report(line.api.url, file)).json).toMatchObject({ orders: { accepted: 2 } });
    expect(await stock("A-1")).toEqual({ onHand: 0, reserved: 0 });
    await line.client.put("/stock/A-1", { onHand: 1 });

    const again = await report(line.api.url, file);
    expect(again.code).toBe(0);
    expect(again.json).toMatchObject({
      orders: { accepted: 0, alreadyThere: 2, delivered: 2 },
      money: { file: 1549, service: 1549 },
      stock: { checked: 2, differences: [], takenBack: { "A-1": 4, "A-2": 1 } },
      reconciles: true,
    });
    expect(await stock("A-1")).toEqual({ onHand: 1, reserved: 0 });

    const more = write(
      sales("600001,A-1,3,1.10,1", "600002,A-1,2,1.10,2", "600002,A-2,1,9.99,2", "600003,A-1,4,1,3"),
    );
    expect((await report(line.api.url, more)).json).toMatchObject({
      orders: { accepted: 1, alreadyThere: 2, delivered: 3 },
      stock: { differences: [] },
      reconciles: true,
    });
    expect(await stock("A-1")).toEqual({ onHand: 0, reserved: 0 });
    expect(await line.client.orders({ reference: "600001" })).toHaveLength(1);
  });

  test("reports an invoice that is refused, and carries on with the others", async () => {
    const [first, other] = [sales("600010,B-1,3,1.10,1"), sales("600010,B-1,4,1.10,1", "600011,B-1,1,2,1")];
    expect((await report(line.api.url, write(first))).code).toBe(0);
    const { code, stdout, stderr, json } = await report(line.api.url, write(other));
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Does not reconcile: 1 order refused\.$/m);
    expect(stderr).toMatch(/^invoice "600010": refused with 422: .+$/m);
    expect(json).toMatchObject({
      orders: { accepted: 1, delivered: 1, refused: [{ invoice: "600010" }] },
      money: { file: 640, notTaken: 440, service: 200 },
      stock: { differences: [], takenBack: { "B-1": 4 } },
    });
    expect(await stock("B-1")).toEqual({ onHand: 0, reserved: 0 });
  });

  test("says so when somebody else moves the stock meanwhile", async () => {
    const file = write(sales(...Array.from({ length: 300 }, (_, index) => `61${1000 + index},C-1,1,1,1`)));
    const running = replay(line.api.url, file, "--concurrency", "1");
    await waitFor("an order", async () => (await line.client.get("/orders?reference=611000")).body.items[0]);
    const { onHand } = await stock("C-1");
    await line.client.put("/stock/C-1", { onHand: onHand + 7 });
    const { code, stdout, stderr } = await running.ended;
    expect(stderr).toMatch(
      /^SKU "C-1": .* on hand, 0 reserved, expected 0 on hand, 0 reserved; did something else/m,
    );
    expect(stdout).toMatch(/^Does not reconcile: 1 SKU with unexpected stock\.$/m);
    expect(code).toBe(1);
  });

  test("ends in one line where the file, the options or the service are no use", async () => {
    const file = write(sales("600020,A-1,1,1,1"));
    const cases: [RegExp, string, string[]][] = [
      [/^name one file: /, line.api.url, []],
      [/^there is no file nowhere\.csv$/, line.api.url, ["nowhere.csv"]],
      [/ is a directory, not a file$/, line.api.url, [folder]],
      [/ lacks the columns .*InvoiceNo, StockCode/, line.api.url, [path.join(folder, "other.csv")]],
      [/^Unknown option '--fast'/, line.api.url, [file, "--fast"]],
      [/ can't be written /, line.api.url, [file, "--json", path.join(folder, "none", "report.json")]],
      [/no answer from /, "http://127.0.0.1:1", [file]],
    ];
    writeFileSync(path.join(folder, "other.csv"), "a,b\n1,2\n");
    const results = await Promise.all(cases.map(([, url, args]) => replay(url, ...args).ended));
    for (const [index, [message]] of cases.entries()) {
      const { code, stdout, stderr } = results[index] ?? { code: undefined, stdout: "", stderr: "" };
      const lines = stderr.split("\n").filter((text) => text !== "" && !text.startsWith("reading bytes"));
      expect({ code, stdout, lines }).toEqual({
        code: 1,
        stdout: "",
        lines: [expect.stringMatching(message)],
      });
    }
  });

  const whenThere = existsSync(PUBLIC_FILE) ? test : test.skip;
  const name = "replays the first invoices of the public file";
  whenThere(existsSync(PUBLIC_FILE) ? name : `${name}: skipped, ${PUBLIC_FILE} is missing`, async () => {
    const lines: string[] = [];
    for await (const text of createInterface({ input: createReadStream(PUBLIC_FILE) })) {
      if (lines.push(text) > 2_000) break;
    }
    const { code, json } = await report(line.api.url, write(lines.join("\n")));
    expect(json).toMatchObject({
      file: { rows: 2_000, bad: [] },
      orders: { refused: [], cancelled: {}, lost: 0 },
    });
    expect(json.file.skipped.cancellation).toBeGreaterThan(0);
    expect(json.orders.delivered).toBe(json.file.invoices);
    expect(json.stock).toMatchObject({ open: 0, differences: [] });
    expect(json.money.service).toBe(json.money.file);
    expect(code).toBe(0);
  });
});

describe("the replay, without a worker", () => {
  let environment: TestEnvironment;
  let api: TestProcess & { readonly url: string };

  beforeEach(async () => {
    environment = await createTestEnvironment();
    api = await startApi(environment);
  });

  afterEach(async () => {
    await api.stop();
    await environment.close();
  });

  test("gives up when nothing moves, and says what is unfinished", async () => {
    const { code, stdout, stderr, json } = await report(
      api.url,
      write(sales("700001,A-1,1,1,1", "700002,A-2,1,1,1")),
      "--timeout",
      "1",
    );
    expect(code).toBe(1);
    expect(stderr).toContain("no progress for 1 seconds: reporting without the remaining orders");
    expect(stdout).toMatch(/^Does not reconcile: 2 orders unfinished\.$/m);
    expect(json).toMatchObject({
      orders: { accepted: 2, delivered: 0, unfinished: { CREATED: 2 } },
      stock: { checked: 0, open: 2 },
    });
  });

  test("says in one line what it leaves when it is interrupted", async () => {
    const running = replay(api.url, write(sales("700003,A,1,1,1")));
    await running.untilSaid("sending orders: 1 of 1");
    running.process.kill("SIGINT");
    const { code, stdout, stderr } = await running.ended;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toMatch(/^stopped: 1 of 1 order accepted, .* none twice$/m);
  });

  test("loses and doubles nothing when the API is killed under way", async () => {
    const count = 2_000;
    const file = write(sales(...Array.from({ length: count }, (_, index) => `${800_000 + index},A,1,1,1`)));
    const running = replay(api.url, file, "--timeout", "30");
    await running.untilSaid("reading stock: 1 of 1");
    const { port } = new URL(api.url);
    api.process.kill("SIGKILL");
    await api.process.exited;
    api = await startApi({ ...environment, env: { PORT: port } });
    await running.untilSaid(`sending orders: 2,000 of 2,000`);
    running.process.kill("SIGINT");
    const { stderr } = await running.ended;
    expect(stderr).toMatch(/^stopped: 2,000 of 2,000 orders accepted, 0 refused/m);
    const orders = await new TestClient(api.url).orders();
    expect(orders).toHaveLength(count);
    expect(new Set(orders.map(({ reference }) => reference)).size).toBe(count);
  });
});
