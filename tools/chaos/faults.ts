import { setTimeout as delay } from "node:timers/promises";
import { run } from "../launcher/run.ts";
import { PROVIDERS, type Fault } from "../simulators/providers.ts";
import { messageOf } from "../shared/text.ts";
import { KINDS, LATER_THAN_AN_ATTEMPT_MS, type ProviderFault, type FaultName } from "./kinds.ts";
import { ACCOUNT, type Deployment } from "./deployment.ts";
import type { PlannedFault } from "./schedule.ts";
import { Sql } from "./sql.ts";
import type { EndingSignal, Supervised } from "./supervised.ts";

/** A fault that was injected. */
export interface InjectedFault extends PlannedFault {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** When the target worked again, for example when a killed process had restarted. */
  readonly endedAt: number;
  /** Why it could not be injected or ended as planned. */
  readonly trouble: string | undefined;
}

const SLOW_MS = 3_000;
/** The share of the calls that fail or lose their reply. */
const HIT_RATE = 0.7;
/** The share of MySQL's connections that are killed at once, and the milliseconds between two rounds. */
const KILLED_SHARE = 1 / 3;
const KILL_EVERY_MS = 500;
/** The share of the orders that a provider can't serve. */
const POISONED_SHARE = 1 / 3;

/** How far clocks jump: past the deadline of an order, and back behind what is due. */
const JUMPS_MS = [25 * 3_600_000, -3_600_000];

/** Limits the size of the files that a process writes: bytes, or "unlimited". Linux's. */
async function limitFiles(pid: number, size: string): Promise<void> {
  await run("prlimit", [`--pid=${pid}`, `--fsize=${size}:`]);
}

/** Injects the planned faults and repairs them. */
export class Saboteur {
  readonly injected: InjectedFault[] = [];
  readonly #deployment: Deployment;
  readonly #signal: AbortSignal;
  readonly #onFault: (fault: InjectedFault) => void;

  constructor(deployment: Deployment, signal: AbortSignal, onFault: (fault: InjectedFault) => void) {
    this.#deployment = deployment;
    this.#signal = signal;
    this.#onFault = onFault;
  }

  /** Injects all planned faults; resolves when everything is repaired. @throws when aborted */
  async injectAll(plan: readonly PlannedFault[]): Promise<void> {
    const began = Date.now();
    await Promise.all(
      plan.map(async (fault) => {
        await delay(Math.max(0, began + fault.at - Date.now()), undefined, { signal: this.#signal });
        await this.inject(fault);
      }),
    );
  }

  /** Injects a fault, waits as long as it lasts, and repairs it. @throws when aborted */
  async inject(fault: PlannedFault): Promise<void> {
    const startedAt = Date.now();
    let trouble: string | undefined;
    try {
      await this.#injectAndRepair(fault);
    } catch (error) {
      this.#signal.throwIfAborted();
      trouble = messageOf(error);
    }
    const injected = { ...fault, startedAt, endedAt: Date.now(), trouble };
    this.injected.push(injected);
    this.#onFault(injected);
  }

  async #injectAndRepair(fault: PlannedFault): Promise<void> {
    const { mysql, redis, observerRedis } = this.#deployment;
    const { lasts } = fault;
    if (isProviderFault(fault.name)) return this.#injectProviderFault(fault.name, lasts);
    switch (fault.name) {
      case "worker-killed":
      case "workers-killed":
      case "api-killed":
        return this.#end(this.#processes(fault), "SIGKILL", lasts);
      case "worker-stopped":
      case "api-stopped":
        return this.#end(this.#processes(fault), "SIGTERM", lasts);
      case "worker-frozen":
      case "api-frozen":
        return this.#freeze(this.#processes(fault), lasts);
      case "worker-clock":
      case "api-clock":
        return this.#shiftClocks(this.#processes(fault), JUMPS_MS[fault.number % 2] ?? 0, lasts);
      case "worker-log-full":
      case "api-log-full":
        return this.#fillDisk(
          this.#processes(fault).flatMap(({ pid }) => pid ?? []),
          lasts,
        );
      case "redis-disk-full":
        return this.#fillDisk([redis.pid], lasts);
      case "redis-killed":
        redis.kill("SIGKILL");
        await this.#wait(lasts);
        return redis.restart();
      case "redis-frozen":
        return this.#freeze([{ signal: (signal) => redis.kill(signal) }], lasts);
      case "redis-flushed":
        await observerRedis.flushall();
        return;
      case "redis-full":
        return this.#configureRedis("maxmemory", ["1", "0"], lasts);
      case "redis-read-only":
        return this.#configureRedis("min-replicas-to-write", ["1", "0"], lasts);
      case "mysql-killed":
        mysql.kill("SIGKILL");
        await this.#wait(lasts);
        return mysql.restart();
      case "mysql-frozen":
        return this.#freeze([{ signal: (signal) => mysql.kill(signal) }], lasts);
      case "mysql-read-only":
        return this.#configureMysql("read_only", ["1", "0"], lasts);
      case "stock-locked":
        return this.#lockStock(lasts);
      case "connections-killed":
        return this.#killConnections(lasts);
    }
  }

  #processes({ targets }: PlannedFault): Supervised[] {
    return targets.flatMap((target) => this.#deployment.process(target) ?? []);
  }

  async #end(processes: readonly Supervised[], by: EndingSignal, lasts: number): Promise<void> {
    await Promise.all(processes.map((each) => each.hold(by)));
    await this.#wait(lasts);
    for (const each of processes) each.release();
    await Promise.all(processes.map((each) => each.ready()));
  }

  async #freeze(those: readonly { signal(signal: NodeJS.Signals): void }[], lasts: number): Promise<void> {
    for (const each of those) each.signal("SIGSTOP");
    try {
      await this.#wait(lasts);
    } finally {
      for (const each of those) each.signal("SIGCONT");
    }
  }

  async #shiftClocks(processes: readonly Supervised[], ms: number, lasts: number): Promise<void> {
    for (const each of processes) each.shiftClock(ms);
    try {
      await this.#wait(lasts);
    } finally {
      for (const each of processes) each.shiftClock(0);
    }
  }

  /** As on a full disk, no file of these processes can grow: every write fails. */
  async #fillDisk(pids: readonly number[], lasts: number): Promise<void> {
    for (const pid of pids) await limitFiles(pid, "1");
    try {
      await this.#wait(lasts);
    } finally {
      // Fails for a process that has ended since; the next one has no limit.
      for (const pid of pids) await limitFiles(pid, "unlimited").catch(() => undefined);
    }
  }

  async #configureRedis(setting: string, [broken, whole]: [string, string], lasts: number): Promise<void> {
    const { observerRedis } = this.#deployment;
    await observerRedis.config("SET", setting, broken);
    await this.#wait(lasts);
    await observerRedis.config("SET", setting, whole);
  }

  async #configureMysql(setting: string, [broken, whole]: [string, string], lasts: number): Promise<void> {
    const sql = new Sql(this.#deployment.mysql.url);
    try {
      await sql.rows(`SET GLOBAL ${setting} = ${broken}`);
      await this.#wait(lasts);
      await sql.rows(`SET GLOBAL ${setting} = ${whole}`);
    } finally {
      sql.close();
    }
  }

  async #lockStock(lasts: number): Promise<void> {
    const sql = new Sql(this.#deployment.databaseUrl);
    try {
      const [row] = await sql.rows("SELECT sku FROM stock ORDER BY reserved DESC, sku LIMIT 1");
      await sql.rows("START TRANSACTION");
      await sql.rows("SELECT sku FROM stock WHERE sku = ? FOR UPDATE", [row?.["sku"]]);
      await this.#wait(lasts);
    } finally {
      // Also ends the transaction.
      sql.close();
    }
  }

  async #killConnections(lasts: number): Promise<void> {
    const sql = new Sql(this.#deployment.databaseUrl);
    const until = Date.now() + lasts;
    try {
      while (Date.now() < until) {
        const rows = await sql.rows(
          // Only the service's connections, not the observers'.
          "SELECT id FROM information_schema.processlist WHERE user = ? ORDER BY RAND()",
          [ACCOUNT],
        );
        for (const { id } of rows.slice(0, Math.ceil(rows.length * KILLED_SHARE))) {
          // It may have closed in the meantime.
          await sql.rows("KILL ?", [id]).catch(() => undefined);
        }
        await this.#wait(KILL_EVERY_MS);
      }
    } finally {
      sql.close();
    }
  }

  async #injectProviderFault(name: ProviderFault, lasts: number): Promise<void> {
    const { hits: provider } = KINDS[name];
    this.#deployment.setFault(provider, faultOf(name));
    try {
      await this.#wait(lasts);
    } finally {
      this.#deployment.setFault(provider, { kind: "none" });
    }
  }

  async #wait(milliseconds: number): Promise<void> {
    await delay(milliseconds, undefined, { signal: this.#signal });
  }
}

function isProviderFault(name: FaultName): name is ProviderFault {
  return PROVIDERS.some((provider) => provider === KINDS[name].hits);
}

/** How the provider misbehaves. */
export function faultOf(name: ProviderFault): Fault {
  switch (name) {
    case "payments-down":
    case "carrier-down":
    case "inventory-down":
      return { kind: "down" };
    case "payments-refused":
    case "carrier-refused":
      return { kind: "refuse" };
    case "payments-slow":
    case "carrier-slow":
      return { kind: "slow", ms: SLOW_MS };
    case "payments-erring":
    case "carrier-erring":
      return { kind: "errors", rate: HIT_RATE };
    case "payments-late":
    case "carrier-late":
      return { kind: "late", ms: LATER_THAN_AN_ATTEMPT_MS };
    case "payments-mute":
    case "carrier-mute":
      return { kind: "lost-reply", rate: HIT_RATE };
    case "payments-poisoned":
      return { kind: "poisoned", share: POISONED_SHARE, treatment: "hangs" };
    case "carrier-poisoned":
      return { kind: "poisoned", share: POISONED_SHARE, treatment: "fails" };
  }
}
