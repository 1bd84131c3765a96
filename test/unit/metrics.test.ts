import { expect, test } from "@jest/globals";
import { COMMITS } from "../../src/platform/group-commit.ts";
import { watchRelay } from "../../src/api/relay-metrics.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { Scrape } from "../support/metrics.ts";

async function told(metrics: Metrics): Promise<Scrape> {
  return new Scrape(await metrics.text());
}

test("what is unknown is not reported, least of all as zero", async () => {
  const metrics = new Metrics();
  let reads = 0;
  let away = false;
  watchRelay(metrics, async () => {
    reads++;
    if (away) throw new Error("MySQL is away");
    return { events: 7, ageMs: 1_500 };
  });
  metrics.watchPool(10, () => (away ? undefined : { inUse: 1, idle: 2, waiting: 3 }));

  const known = await told(metrics);
  expect(known.value("conveyor_relay_lag_seconds")).toBe(1.5);
  expect(known.value("conveyor_relay_lag_events")).toBe(7);
  // Both are told from one answer.
  expect(reads).toBe(1);
  expect(known.value("conveyor_database_connections", { state: "in_use" })).toBe(1);

  away = true;
  const unknown = await told(metrics);
  for (const name of [
    "conveyor_relay_lag_seconds",
    "conveyor_relay_lag_events",
    "conveyor_database_connections",
    "conveyor_database_connections_waiting",
  ])
    expect([name, unknown.all(name)]).toEqual([name, []]);

  away = false;
  expect((await told(metrics)).value("conveyor_relay_lag_events")).toBe(7);
});

test("work without a name is reported under a common one", async () => {
  const metrics = new Metrics();
  const commit = metrics.measured(COMMITS.on);
  const flush = async (items: readonly number[]) => items;
  await Promise.all([commit({ flush }).submit(1), commit({ flush }).submit(2)]);
  await commit({ name: "loads", flush }).submit(3);
  const sizes = (await told(metrics)).all("conveyor_group_commit_batch_size_count");
  expect(Object.fromEntries(sizes.map(({ labels, value }) => [labels["work"], value]))).toEqual({
    other: 2,
    loads: 1,
  });
});
