import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, jest } from "@jest/globals";
import { DEMO_ORDER } from "../../../tools/launcher/demo-stock.ts";
import type { OrderEventBody } from "../../../src/api/schemas.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { TestClient } from "../../support/client.ts";
import { Clone } from "../../support/clone.ts";
import { withPython } from "../../support/python.ts";

jest.setTimeout(240_000);

const PAGE = path.resolve(import.meta.dirname, "../../../docs/without-a-fork.md");

/** What the page tells to put beside package.json, and to run. */
function recipe(): { configuration: string; commands: string } {
  const [, chapter = ""] = readFileSync(PAGE, "utf8").split("## A stage in Python, in five minutes\n");
  const [, configuration = ""] = /```json\n([^]*?)```/.exec(chapter) ?? [];
  const [, commands = ""] = /```sh\n([^]*?)```/.exec(chapter) ?? [];
  return { configuration, commands };
}

let clone: Clone;
beforeEach(() => {
  clone = new Clone();
});
afterEach(() => clone.remove());

withPython("orders of a fresh clone go through the stage in Python, as the page tells", async () => {
  const { configuration, commands } = recipe();
  expect(commands).toMatch(/\nnpm start\n$/);
  const port = await freePort();
  writeFileSync(clone.path("conveyor.config.json"), configuration.replace(":8080/", `:${port}/`));
  const script = commands.replace("python3", `PORT=${port} python3`).replace(/npm start\n$/, 'exec "$@"\n');
  await clone.start({}, ["bash", "-e", "-c", script, "bash"]);

  const { apiKey, run } = clone.state();
  const client = new TestClient(run?.conveyorUrl ?? "", { authorization: `Bearer ${apiKey}` });
  const { id, total } = await client.order(DEMO_ORDER);
  await client.orderIn(id, "DELIVERED");
  const { items } = (await client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`)).body;
  const ways = items.filter(({ type }) => type === "status");
  expect(ways.map(({ to }) => to)).toEqual([
    "CREATED",
    "RESERVED",
    "CHECKED",
    "PAID",
    "SHIPPED",
    "DELIVERED",
  ]);
  expect(ways[2]).toMatchObject({ stage: "credit-check", record: { owed: total } });
  expect(existsSync(clone.path("stage.sqlite3"))).toBe(true);

  const demo = promisify(execFile)("npm", ["run", "demo", "--", "--orders", "50"], { cwd: clone.folder });
  expect((await demo).stdout).toContain("CHECKED");
});
