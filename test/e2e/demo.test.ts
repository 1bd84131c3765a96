import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { OrderEventBody } from "../../src/api/schemas.ts";
import { startCommand } from "../support/command.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { TEST_KEY } from "../support/processes.ts";

let line: TestLine;

beforeAll(async () => {
  line = await startLine();
});

afterAll(() => line.close());

function demo(...args: string[]) {
  return startCommand("tools/cli/demo.ts", args, { CONVEYOR_URL: line.api.url, CONVEYOR_API_KEY: TEST_KEY });
}

describe("the demo", () => {
  test("sends orders of every kind and tells every transition until all are at rest", async () => {
    const { code, stdout, stderr } = await demo("--orders", "20", "--rate", "200").ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const orders = await line.client.orders();
    expect(orders).toHaveLength(20);
    expect(orders.filter(({ status }) => status === "DELIVERED")).toHaveLength(17);
    expect(stdout).toMatch(/^20 orders in [\d.]+ s: 17 DELIVERED, 3 CANCELLED \(.*\)$/m);
    expect(stdout).toContain("2 sold out");
    expect(stdout).toContain("1 payment declined");
    for (const { id, reference } of orders) {
      const { items } = (await line.client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`)).body;
      const steps = items
        .filter(({ type }) => type === "status")
        .map(({ from, to }) => `${from === null ? "" : `${from} `}-> ${to}`);
      const told = stdout.split("\n").filter((text) => text.includes(`${reference}  `));
      expect(told).toEqual(steps.map((step) => expect.stringContaining(`${reference}  ${step}`)));
    }
  });

  test("stocks up without taking anything away, and finds something sold out all the same", async () => {
    await line.client.put("/stock/PEN-BLACK", { onHand: 1_000_000 });
    await line.client.put("/stock/MUG-BLUE", { onHand: 0 });
    await line.client.put("/stock/LAMP-RETIRED", { onHand: 3 });
    const { code, stdout } = await demo("--orders", "20", "--rate", "200", "--seed", "2").ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/17 DELIVERED, 3 CANCELLED \(.*2 sold out/);
    const { body: pens } = await line.client.get("/stock/PEN-BLACK");
    expect(pens.onHand).toBeGreaterThan(999_000);
    expect((await line.client.get("/stock/LAMP-RETIRED")).body).toMatchObject({ onHand: 3, reserved: 0 });
  });

  test("can be interrupted, and says what it leaves", async () => {
    const running = demo("--orders", "1000", "--rate", "20");
    await running.untilSaid("-> CREATED");
    running.process.kill("SIGINT");
    const { code, stderr } = await running.ended;
    expect(code).toBe(130);
    expect(stderr).toMatch(/^stopped: \d+ orders? accepted; Conveyor goes on with them\n$/);
  });

  test("ends in one line where there is no service, or the key is wrong", async () => {
    const nowhere = { CONVEYOR_URL: "http://127.0.0.1:1", CONVEYOR_API_KEY: TEST_KEY };
    const away = await startCommand("tools/cli/demo.ts", [], nowhere).ended;
    expect(away).toMatchObject({ code: 1, stdout: "" });
    expect(away.stderr).toMatch(/^no answer from [^\n]*\n$/);
    const strange = { CONVEYOR_URL: line.api.url, CONVEYOR_API_KEY: "another-key" };
    const refused = await startCommand("tools/cli/demo.ts", [], strange).ended;
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/^[^\n]*does not accept the API key[^\n]*\n$/);
  });

  test("explains itself", async () => {
    const { code, stdout } = await startCommand("tools/cli/demo.ts", ["--help"]).ended;
    expect(code).toBe(0);
    expect(stdout).toContain("--orders N");
  });
});
