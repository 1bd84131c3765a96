import { setTimeout as delay } from "node:timers/promises";
import { Database } from "../../db/database.ts";
import { setProviderState } from "../../db/provider-states.ts";
import type { Fault } from "../simulators/providers.ts";
import { messageOf } from "../shared/text.ts";
import { LATER_THAN_AN_ATTEMPT_MS, type Disturbance, type FaultName } from "./kinds.ts";
import { ACCOUNT, type Line } from "./line.ts";
import type { PlannedFault } from "./schedule.ts";
import { Sql } from "./sql.ts";
import type { Supervised } from "./supervised.ts";

/** A fault as it was. */
export interface InjectedFault extends PlannedFault {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** When what was broken worked again by itself: a killed process was up again. */
  readonly endedAt: number;
  /** Why it could not be injected, or not be ended as planned. */
  readonly trouble: string | undefined;
}

const SLOW_MS = 3_000;
/** The part of the calls that fail, or lose their reply. */
const HIT_RATE = 0.7;
/** The part of the connections to MySQL that are killed together, and milliseconds until the next are. */
const KILLED_SHARE = 1 / 3;
const KILL_EVERY_MS = 500;
/** The part of the orders that can't be served. */
const POISONED_SHARE = 1 / 3;
const RETRY_MS = 300;
const RETRY_FOR_MS = 30_000;

/** Breaks the line as planned, and mends it again. */
export class Saboteur {
  readonly injected: InjectedFault[] = [];
  readonly #line: Line;
  readonly #signal: AbortSignal;
  readonly #onFault: (fault: InjectedFault) => void;
  readonly #database: Database;

  constructor(line: Line, signal: AbortSignal, onFault: (fault: InjectedFault) => void) {
    this.#line = line;
    this.#signal = signal;
    this.#onFault = onFault;
    this.#database = new Database({ url: line.databaseUrl, poolSize: 1, timeoutMs: 2_000 });
  }

  /** Carries out the whole plan; resolves when everything is mended. @throws when it is aborted. */
  async carryOut(plan: readonly PlannedFault[]): Promise<void> {
    const began = Date.now();
    await Promise.all(
      plan.map(async (fault) => {
        await delay(Math.max(0, began + fault.at - Date.now()), undefined, { signal: this.#signal });
        await this.inject(fault);
      }),
    );
  }

  /** Breaks something for as long as the fault lasts, and mends it. @throws when it is aborted. */
  async inject(fault: PlannedFault): Promise<void> {
    const startedAt = Date.now();
    let trouble: string | undefined;
    try {
      await this.#breakAndMend(fault);
    } catch (error) {
      this.#signal.throwIfAborted();
      trouble = messageOf(error);
    }
    const injected = { ...fault, startedAt, endedAt: Date.now(), trouble };
    this.injected.push(injected);
    this.#onFault(injected);
  }

  async close(): Promise<void> {
    await this.#database.close();
  }

  async #breakAndMend(fault: PlannedFault): Promise<void> {
    const { mysql, redis, outsideRedis } = this.#line;
    const { lasts } = fault;
    if (isDisturbance(fault.name)) return this.#disturb(fault.name, lasts);
    switch (fault.name) {
      case "worker-killed":
      case "workers-killed":
      case "api-killed":
        return this.#kill(this.#processes(fault), lasts);
      case "worker-frozen":
      case "api-frozen":
        return this.#freeze(this.#processes(fault), lasts);
      case "redis-killed":
        redis.kill("SIGKILL");
        await this.#wait(lasts);
        return redis.restart();
      case "redis-frozen":
        return this.#freeze([{ signal: (signal) => redis.kill(signal) }], lasts);
      case "redis-flushed":
        await outsideRedis.flushall();
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
      case "inventory-down":
        await this.#switchInventory("down");
        await this.#wait(lasts);
        return this.#switchInventory("up");
    }
  }

  #processes({ targets }: PlannedFault): Supervised[] {
    return targets.flatMap((target) => this.#line.process(target) ?? []);
  }

  async #kill(processes: readonly Supervised[], lasts: number): Promise<void> {
    await Promise.all(processes.map((each) => each.hold()));
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

  async #configureRedis(setting: string, [broken, whole]: [string, string], lasts: number): Promise<void> {
    const { outsideRedis } = this.#line;
    await outsideRedis.config("SET", setting, broken);
    await this.#wait(lasts);
    await outsideRedis.config("SET", setting, whole);
  }

  async #configureMysql(setting: string, [broken, whole]: [string, string], lasts: number): Promise<void> {
    const sql = new Sql(this.#line.mysql.url);
    try {
      await sql.rows(`SET GLOBAL ${setting} = ${broken}`);
      await this.#wait(lasts);
      await sql.rows(`SET GLOBAL ${setting} = ${whole}`);
    } finally {
      sql.close();
    }
  }

  async #lockStock(lasts: number): Promise<void> {
    const sql = new Sql(this.#line.databaseUrl);
    try {
      const [row] = await sql.rows("SELECT sku FROM stock ORDER BY reserved DESC, sku LIMIT 1");
      await sql.rows("START TRANSACTION");
      await sql.rows("SELECT sku FROM stock WHERE sku = ? FOR UPDATE", [row?.["sku"]]);
      await this.#wait(lasts);
    } finally {
      // Ends the transaction as well.
      sql.close();
    }
  }

  async #killConnections(lasts: number): Promise<void> {
    const sql = new Sql(this.#line.databaseUrl);
    const until = Date.now() + lasts;
    try {
      while (Date.now() < until) {
        const rows = await sql.rows(
          // The service's own, and not those of whoever looks at it from outside.
          "SELECT id FROM information_schema.processlist WHERE user = ? ORDER BY RAND()",
          [ACCOUNT],
        );
        for (const { id } of rows.slice(0, Math.ceil(rows.length * KILLED_SHARE))) {
          // It may have ended by itself.
          await sql.rows("KILL ?", [id]).catch(() => undefined);
        }
        await this.#wait(KILL_EVERY_MS);
      }
    } finally {
      sql.close();
    }
  }

  /** MySQL may be busy with something else that we did to it: asked until it is done. */
  async #switchInventory(state: "up" | "down"): Promise<void> {
    const deadline = Date.now() + RETRY_FOR_MS;
    for (;;) {
      try {
        return await setProviderState(this.#database, "inventory", state);
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await this.#wait(RETRY_MS);
      }
    }
  }

  async #disturb(name: Disturbance, lasts: number): Promise<void> {
    const provider = name.startsWith("payments") ? "payments" : "carrier";
    const { providers } = this.#line;
    providers.setFault(provider, faultOf(name));
    try {
      await this.#wait(lasts);
    } finally {
      providers.setFault(provider, { kind: "none" });
    }
  }

  async #wait(milliseconds: number): Promise<void> {
    await delay(milliseconds, undefined, { signal: this.#signal });
  }
}

function isDisturbance(name: FaultName): name is Disturbance {
  return name.startsWith("payments-") || name.startsWith("carrier-");
}

function faultOf(name: Disturbance): Fault {
  switch (name) {
    case "payments-down":
    case "carrier-down":
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
