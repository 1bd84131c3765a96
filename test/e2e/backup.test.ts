import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { LOCAL } from "../../tools/launcher/local-folder.ts";
import {
  canUnpackDebianPackages,
  unpackDebianPackages,
} from "../../tools/launcher/servers/debian-packages.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startApi, startWorker } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

/* deploy/vps/backup.sh and restore.sh, with the clients of Debian's MariaDB. */

jest.setTimeout(600_000);

const SCRIPTS = path.resolve(import.meta.dirname, "../../deploy/vps");
const ORDERS = 60;

if (!canUnpackDebianPackages())
  process.stderr.write("There is no apt on this machine to fetch mariadb-dump: backups are not tried.\n");
const testWithClients = canUnpackDebianPackages() ? test : test.skip;

let line: TestLine;
let folder: string;
beforeAll(async () => {
  folder = makeTempFolder();
  const env = { SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "500" };
  line = await startLine({ workers: 0, ownRedis: true, env });
  await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
});
afterAll(async () => {
  await line.close();
  rmSync(folder, { recursive: true });
});

/** Runs one of the scripts with the clients in its path. */
async function script(name: string, args: readonly string[]): Promise<string> {
  const { root, environment } = await unpackDebianPackages(["mariadb-client"], LOCAL.packages, {
    progress: (text) => process.stderr.write(`test backup: ${text}\n`),
  });
  const env = { ...environment, PATH: `${path.join(root, "usr/bin")}:${process.env["PATH"]}` };
  const { stdout } = await promisify(execFile)(path.join(SCRIPTS, name), [...args], { env });
  return stdout.trim();
}

testWithClients(
  "a backup taken under load, restored beside an empty Redis, has every order go on to its end",
  async () => {
    const { environment } = line;
    const url = new URL(environment.databaseUrl);
    const database = url.pathname.slice(1);
    const options = path.join(folder, "backup.cnf");
    const account = { host: url.hostname, port: url.port, user: url.username, password: url.password };
    const lines = Object.entries(account).map(([name, value]) => `${name}=${decodeURIComponent(value)}`);
    writeFileSync(options, `[client]\nprotocol=tcp\n${lines.join("\n")}\n`);

    const placeHalf = () =>
      Promise.all(Array.from({ length: ORDERS / 2 }, () => line.client.order(PLAIN_ORDER)));
    const whenDelivered = (client: TestClient, count: number) =>
      waitFor(
        `${count} orders to be delivered`,
        async () => (await client.orders({ status: "DELIVERED" })).length === count,
      );
    const worker = await line.addWorker();
    await placeHalf();
    await whenDelivered(line.client, ORDERS / 2);
    environment.providers.setLatency(5_000);
    await placeHalf();
    await waitFor(
      "some to be paid for",
      async () => (await line.client.orders({ status: "RESERVED" })).length > 0,
    );
    const file = await script("backup.sh", [options, database, folder]);
    await expect(script("restore.sh", [options, database, file])).rejects.toThrow(
      /restore into an empty one/,
    );
    // The providers know more than the backup.
    environment.providers.setLatency(0);
    await whenDelivered(line.client, ORDERS);
    await worker.stop();

    const restored = `${database}_restored`;
    const admin = await createConnection(url.href);
    await admin.query(`CREATE DATABASE ${restored} CHARACTER SET utf8mb4`);
    try {
      await script("restore.sh", [options, restored, file]);
      await environment.redis.flushdb();
      const databaseUrl = Object.assign(new URL(url), { pathname: `/${restored}` }).href;
      const env = { SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "500" };
      const api = await startApi({ ...environment, databaseUrl, env });
      const client = new TestClient(api.url);
      const delivered = async () => (await client.orders({ status: "DELIVERED" })).length;
      // Else the test would show nothing.
      expect(await delivered()).toBeLessThan(ORDERS);
      const again = await startWorker({ ...environment, databaseUrl, env });
      await waitFor("all to be delivered", async () => (await delivered()) === ORDERS);
      for (const { id } of await client.orders({ status: "DELIVERED" }))
        expect(
          environment.providers
            .entriesOf(id)
            .map(({ kind }) => kind)
            .toSorted(),
        ).toEqual(["charge", "label"]);
      expect((await client.get("/stock/MUG-BLUE")).body).toMatchObject({
        onHand: 10_000 - 2 * ORDERS,
        reserved: 0,
      });
      expect([await again.stop(), await api.stop()]).toEqual([0, 0]);
    } finally {
      await admin.query(`DROP DATABASE ${restored}`);
      await admin.end();
    }
  },
);
