import { randomUUID } from "node:crypto";
import { send, type Connection } from "./connection.ts";
import type { JobMarker, Restoration } from "../src/engine/ports.ts";
import { readInfos } from "./health.ts";
import { keyOf } from "./keys.ts";
import { timestamp } from "../src/platform/clock.ts";

const RESTORING = "restoring";

/** The message's beginning, to recognize the error by its text. */
export const FOREIGN_REDIS = "Redis belongs to another installation";

/** Redis has the jobs of another database's orders. */
export class ForeignRedisError extends Error {
  override name = "ForeignRedisError";

  constructor(owner: string) {
    super(
      `${FOREIGN_REDIS}, whose database has the identity ${owner}: ` +
        `set REDIS_PREFIX to a name of its own, or another database in REDIS_URL`,
    );
  }
}

/**
 * A key in Redis that says which installation its jobs belong to and whether they are complete. It is lost with
 * all other data, which reveals a loss, even during a restoration.
 *
 * Whichever process finds it missing writes it, atomically: of two databases at an empty Redis, one gets it and
 * the other is refused. A marker of an earlier version names no database; the first process to find it claims
 * it.
 *
 * In a cluster, one shard may lose its data, and others not. So there each queue has a witness beside it, written when a
 * restoration begins: the jobs are complete only as long as all witnesses are there.
 */
export class Marker implements JobMarker {
  readonly #redis: Connection;
  readonly #key: string;
  readonly #witnesses: readonly string[];
  readonly #installation: () => Promise<string>;

  /**
   * @param installation the identity of the database. @param witnesses a key in each shard with jobs, beside that of the
   * marker.
   */
  constructor(redis: Connection, installation: () => Promise<string>, witnesses: readonly string[] = []) {
    this.#redis = redis;
    this.#witnesses = witnesses;
    this.#key = keyOf(redis, "marker");
    this.#installation = installation;
  }

  /** The owner; undefined if there is no marker, or it names none. @throws {Error} of Redis. */
  async owner(): Promise<string | undefined> {
    const text = await this.#redis.get(this.#key);
    return text === null ? undefined : ownerOf(text);
  }

  /**
   * Checks that Redis belongs to this database, and claims an empty one.
   *
   * @returns the marker. @throws {ForeignRedisError} {Error} of Redis, or of the database.
   */
  async claim(): Promise<string> {
    const installation = await this.#installation();
    const text = await this.#redis.get(this.#key);
    const owner = text === null ? undefined : ownerOf(text);
    if (text !== null && owner === installation) return text;
    if (owner !== undefined) throw new ForeignRedisError(owner);
    if (text === null) {
      await this.#redis.set(this.#key, begun(installation), "NX");
    } else await this.#replace(text, withOwner(text, installation));
    return this.claim();
  }

  /**
   * The current restoration; starts one if Redis has lost its data. Undefined if Redis has all its jobs.
   *
   * @throws {ForeignRedisError} {Error} of Redis, or of the database.
   */
  async restoration(): Promise<Restoration | undefined> {
    const text = await this.claim();
    const restoration = parsed(text);
    const witnessed = await this.#witnessed();
    if (restoration === undefined) {
      if (witnessed.every((run) => run !== null)) return undefined;
      await this.#replace(text, begun(ownerOf(text) ?? ""));
      return this.restoration();
    }
    const run = runOf(text);
    if (witnessed.every((each) => each === run)) return restoration;
    if (restoration.status === undefined) {
      await send(
        this.#redis,
        this.#witnesses.map((key) => ["set", key, run]),
      );
      return restoration;
    }
    // Another loss: start over.
    await this.#replace(text, begun(ownerOf(text) ?? ""));
    return this.restoration();
  }

  /** Records the restoration's progress, unless it has ended. @throws {Error} of Redis. */
  async goOn({ text }: Restoration, reached: Omit<Restoration, "text">): Promise<void> {
    await this.#replace(text, written({ run: runOf(text), ...reached, installation: ownerOf(text) ?? "" }));
  }

  /**
   * Ends the restoration: Connection has all its jobs. @returns whether it was still running. @throws {Error} of
   * Redis.
   */
  async end({ text }: Restoration): Promise<boolean> {
    const run = runOf(text);
    if ((await this.#witnessed()).some((each) => each !== run)) return false;
    return this.#replace(text, withOwner(timestamp().toISOString(), ownerOf(text) ?? ""));
  }

  /** A server that was restarted, or promoted, tells another id of its data than before. */
  async history(): Promise<string | undefined> {
    try {
      const infos = await readInfos(this.#redis);
      return infos
        .map((info) => /^master_replid:(\w+)/m.exec(info)?.[1] ?? "")
        .toSorted()
        .join(" ");
    } catch {
      // One of them is being replaced at this moment.
      return undefined;
    }
  }

  /** The restoration of which each shard knows; null where there is none. */
  #witnessed(): Promise<unknown[]> {
    return send(
      this.#redis,
      this.#witnesses.map((key) => ["get", key]),
    );
  }

  async #replace(before: string, after: string): Promise<boolean> {
    return (await this.#redis.eval(COMPARE_AND_SET, 1, this.#key, before, after)) === 1;
  }
}

const COMPARE_AND_SET = `
  if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call("SET", KEYS[1], ARGV[2])
  return 1`;

/** The owner comes last, where earlier versions ignore it. */
function written(progress: {
  readonly run: string;
  readonly orders: number;
  readonly status?: string | undefined;
  readonly after?: string | undefined;
  readonly installation: string;
}): string {
  const { run, orders, status = "", after = "", installation } = progress;
  return [RESTORING, run, orders, status, after, installation].join(" ");
}

function begun(installation: string): string {
  return written({ run: randomUUID(), orders: 0, installation });
}

/** Identifies a restoration. */
function runOf(text: string): string {
  return text.split(" ")[1] ?? "";
}

/** The owner's position: after the restoration's fields, or after the time when it ended. */
function ownerAt(text: string): number {
  return text.startsWith(`${RESTORING} `) ? 5 : 1;
}

function ownerOf(text: string): string | undefined {
  return text.split(" ")[ownerAt(text)] || undefined;
}

function withOwner(text: string, installation: string): string {
  return [...text.split(" ").slice(0, ownerAt(text)), installation].join(" ");
}

function parsed(text: string): Restoration | undefined {
  const [word, , orders, status, after] = text.split(" ");
  if (word !== RESTORING) return undefined;
  return { orders: Number(orders), status: status || undefined, after: after || undefined, text };
}
