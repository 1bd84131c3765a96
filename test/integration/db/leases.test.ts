import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Database } from "../../../db/database.ts";
import { DatabaseError } from "../../../db/errors.ts";
import { DatabaseLease } from "../../../db/leases.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment();
});
afterEach(async () => {
  jest.restoreAllMocks();
  await environment.close();
});

const lease = () => new DatabaseLease(environment.database, "stream");
/** @returns the token. @throws {Error} unless the lease is held. */
async function held(holder: DatabaseLease): Promise<number> {
  const token = await holder.hold();
  if (token === undefined) throw new Error("another process holds the lease");
  return token;
}
const execute = (statement: ReturnType<typeof sql>) =>
  environment.database.transaction((queries) => queries.execute(statement));
/** As if the lease had not been prolonged for too long. */
const expire = () => execute(sql`UPDATE leases SET expires_at = NOW(3) - INTERVAL 1 SECOND`);
/** Has this process's clock go ahead. MySQL's does not. */
const now = performance.now.bind(performance);
function later(milliseconds: number): void {
  jest.spyOn(performance, "now").mockImplementation(() => now() + milliseconds);
}

describe("a lease", () => {
  test("is held by one, until it is released", async () => {
    const [one, other] = [lease(), lease()];
    const token = await held(one);
    expect(one.token).toBe(token);
    expect(await other.hold()).toBeUndefined();
    expect(await held(one)).toBe(token);
    await one.release();
    expect(one.token).toBeUndefined();
    expect(await held(other)).toBeGreaterThan(token);
    expect(await one.hold()).toBeUndefined();
  });

  test("goes to another with a greater token if it is not renewed, and its holder learns of it", async () => {
    const [one, other] = [lease(), lease()];
    const token = await held(one);
    await expire();
    const next = await held(other);
    expect(next).toBeGreaterThan(token);
    later(2_000);
    expect(await one.hold()).toBeUndefined();
    await one.release();
    expect(await held(other)).toBe(next);
  });

  test("keeps its token when it is renewed, even late, unless somebody took it", async () => {
    const one = lease();
    const token = await held(one);
    await expire();
    later(2_000);
    expect(await held(one)).toBe(token);
    expect(await lease().hold()).toBeUndefined();
  });

  test("goes to one of many that ask at once", async () => {
    for (const how of ["never held", "expired"]) {
      const tokens = await Promise.all(Array.from({ length: 8 }, () => lease().hold()));
      expect([how, tokens.filter((token) => token !== undefined)]).toEqual([how, [expect.any(Number)]]);
      await expire();
    }
  });

  test("has a greater token even after MySQL's clock was set back or the row was lost", async () => {
    const one = lease();
    const first = await held(one);
    await one.release();
    await execute(sql`UPDATE leases SET token = token + 3600000`);
    expect(await held(one)).toBe(first + 3_600_001);
    await one.release();
    await execute(sql`DELETE FROM leases`);
    expect(await held(one)).toBeGreaterThan(first);
  });

  test("is given up by its holder's clock before it expires by MySQL's", async () => {
    const one = lease();
    await held(one);
    later(3_800);
    expect(one.token).toBeUndefined();
    expect(await lease().hold()).toBeUndefined();
  });

  test("is relied on for a while when MySQL is away, and then no longer", async () => {
    const database = new Database({ url: environment.databaseUrl });
    const one = new DatabaseLease(database, "stream");
    const token = await held(one);
    await database.close();
    later(2_000);
    await expect(one.hold()).rejects.toThrow(DatabaseError);
    expect(one.token).toBe(token);
    later(4_000);
    expect(one.token).toBeUndefined();
  });

  test("takes one statement to renew, and one read to ask for", async () => {
    const [one, other] = [lease(), lease()];
    await held(one);
    const [writes, reads] = [
      jest.spyOn(environment.database, "transaction"),
      jest.spyOn(environment.database, "query"),
    ];
    for (let times = 0; times < 10; times++) await one.hold();
    expect([writes.mock.calls.length, reads.mock.calls.length]).toEqual([0, 0]);
    later(1_500);
    for (let times = 0; times < 10; times++) await one.hold();
    expect([writes.mock.calls.length, reads.mock.calls.length]).toEqual([1, 0]);
    await other.hold();
    expect([writes.mock.calls.length, reads.mock.calls.length]).toEqual([1, 1]);
  });

  test("names its holder for operators", async () => {
    await held(lease());
    const [rows] = await environment.database.query((queries) =>
      queries.execute(sql`SELECT holder FROM leases WHERE name = 'stream' AND expires_at > NOW(3)`),
    );
    expect(JSON.stringify(rows)).toContain(` ${process.pid}"`);
  });
});
