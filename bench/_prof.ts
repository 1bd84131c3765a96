import { Stand } from "./stand.ts";
import { Shop } from "./shop.ts";
import { cpuMsOf } from "./process.ts";
import { QueueLine } from "./queue-line.ts";
import { randomUUID } from "node:crypto";

const [what = "accept", dir] = process.argv.slice(2);
const stand = await Stand.open(new AbortController().signal, dir || undefined);
const signal = new AbortController().signal;
const cpu = (pid: number) => cpuMsOf([pid]) ?? 0;
try {
  if (what === "accept") {
    const shop = await Shop.open(stand, { name: "accept" });
    await shop.startApi();
    await stand.load.run({ kind: "closed", ...shop.target(), connections: 200, until: { orders: 3000 } });
    const pids = [shop.api.pid, stand.mysql.pid, stand.redis.pid];
    const before = pids.map(cpu);
    const r = await stand.load.run({
      kind: "closed",
      ...shop.target(),
      connections: 200,
      until: { orders: 20000 },
    });
    console.log(
      "accept",
      (20000 / r.lasted) * 1000,
      "/s p50",
      r.p50,
      "p99",
      r.p99,
      "cpu ms/order api,mysql,redis,client",
      pids.map((p, i) => (cpu(p) - (before[i] ?? 0)) / 20000),
      r.cpuMs / 20000,
      r.all,
    );
    const express = await stand.startBaseline("baselines/express.ts", {
      name: "express",
      readyMessage: "listening",
    });
    const port = Number(new URL(String(express.ready["url"])).port);
    await stand.load.run({
      kind: "closed",
      port,
      apiKey: "x",
      seed: 1,
      connections: 200,
      until: { orders: 3000 },
    });
    const b = cpu(express.pid);
    const e = await stand.load.run({
      kind: "closed",
      port,
      apiKey: "x",
      seed: 1,
      connections: 200,
      until: { orders: 20000 },
    });
    console.log(
      "express",
      (20000 / e.lasted) * 1000,
      "/s cpu ms/order",
      (cpu(express.pid) - b) / 20000,
      "client",
      e.cpuMs / 20000,
    );
    await shop.close();
  } else {
    const N = 10000;
    const shop = await Shop.open(stand, { name: "drain" });
    await shop.startWorkers();
    const worker = shop.workers[0]!;
    const go = async (n: number) => {
      await shop.line.hold();
      await shop.takeIn(n);
      const pids = [worker.pid, stand.mysql.pid, stand.redis.pid];
      const before = pids.map(cpu);
      const t = performance.now();
      await shop.line.release();
      await shop.line.untilEmpty([worker], signal);
      const ms = performance.now() - t;
      console.log(
        "drain",
        n,
        (n / ms) * 1000,
        "/s cpu ms/order worker,mysql,redis",
        pids.map((p, i) => (cpu(p) - (before[i] ?? 0)) / n),
      );
    };
    await go(1000);
    await go(N);
    await shop.close();
    const room = await stand.makeRoom();
    const line = new QueueLine(room.redisUrl);
    const bull = await stand.startBaseline("baselines/bullmq.ts", {
      name: "bullmq",
      env: { REDIS_URL: room.redisUrl },
      readyMessage: "worker ready",
    });
    for (const n of [1000, N]) {
      await line.hold();
      await line.add(Array.from({ length: n }, () => randomUUID()));
      const before = [cpu(bull.pid), cpu(stand.redis.pid)];
      const t = performance.now();
      await line.release();
      await line.untilEmpty([bull], signal);
      const ms = performance.now() - t;
      console.log(
        "bullmq",
        n,
        (n / ms) * 1000,
        "/s cpu ms/order node,redis",
        (cpu(bull.pid) - before[0]!) / n,
        (cpu(stand.redis.pid) - before[1]!) / n,
      );
    }
    await line.close();
  }
} finally {
  await stand.close(false);
}
process.exit();
