import { describe, expect, jest, test } from "@jest/globals";
import { DatabaseError } from "../../db/errors.ts";
import { withoutResults } from "../../src/platform/flush.ts";
import type { FailureKind } from "../../src/platform/storage-error.ts";
import {
  COMMITS,
  grouped,
  unbatched,
  GroupCommit,
  Unbatched,
  OverloadedError,
  type GroupCommitOptions,
} from "../../src/platform/group-commit.ts";

/** A flush that tells what it was given, and that ends when it is told to. */
function controlled() {
  const batches: number[][] = [];
  let release: (() => void)[] = [];
  return {
    batches,
    flush: async (items: readonly number[]) => {
      batches.push([...items]);
      await new Promise<void>((resolve) => release.push(resolve));
      return items.map((item) => item * 10);
    },
    /** Lets the flushes under way, and those that follow, end. */
    finish: async (all: Promise<unknown>) => {
      const progress = { done: false };
      const settled = all.then(
        () => (progress.done = true),
        () => (progress.done = true),
      );
      while (!progress.done) {
        for (const end of release.splice(0)) end();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await settled;
    },
  };
}

/** Errors of the three kinds, by their messages. */
const kindOf = (error: unknown): FailureKind => {
  const { message } = Object(error);
  return message === "away" || message === "contended" ? message : "item";
};
const away = () => new Error("away");

/**
 * Locks that a test holds. An item is the keys that it wants, such as "a" or "a,b"; its result is the same in capitals. Who
 * waits for a lock waits until it is let go, or until the test has a second pass.
 */
class LockTable {
  readonly batches: string[][] = [];
  readonly flushed: string[] = [];
  /** Keys that somebody waits for, holding nothing. */
  readonly waitedFor: string[] = [];
  readonly #held = new Set<string>();
  #waits: { readonly keys: readonly string[]; readonly go: () => void; readonly giveUp: () => void }[] = [];

  hold(...keys: string[]): void {
    for (const key of keys) this.#held.add(key);
  }

  release(...keys: string[]): void {
    for (const key of keys) this.#held.delete(key);
    this.#waits = this.#waits.filter((wait) => {
      const isFree = !wait.keys.some((key) => this.#held.has(key));
      if (isFree) wait.go();
      return !isFree;
    });
  }

  /** Whoever waits gives up. */
  async pass(): Promise<void> {
    for (const { giveUp } of this.#waits.splice(0)) giveUp();
    await turns();
  }

  /** As often as it takes. */
  async passUntil(settled: Promise<unknown>): Promise<void> {
    const progress = { isOver: false };
    const over = () => void (progress.isOver = true);
    settled.then(over, over);
    while (!progress.isOver) await this.pass();
  }

  options(more: { patienceMs?: number; maxBatch?: number } = {}): GroupCommitOptions<string, string> {
    return {
      flush: async (items) => {
        this.batches.push([...items]);
        await this.#lock(items.flatMap(keysOf));
        this.flushed.push(...items);
        return items.map((item) => item.toUpperCase());
      },
      kindOf,
      locks: {
        keysOf,
        held: async (keys) => new Set(keys.filter((key) => this.#held.has(key))),
        wait: async (key) => {
          this.waitedFor.push(key);
          await this.#lock([key]);
        },
      },
      ...more,
    };
  }

  async #lock(keys: readonly string[]): Promise<void> {
    await Promise.resolve();
    if (!keys.some((key) => this.#held.has(key))) return;
    await new Promise<void>((go, reject) => {
      this.#waits.push({ keys, go, giveUp: () => reject(new Error("contended")) });
    });
  }
}

const keysOf = (item: string): string[] => item.split(",");

/** Lets everything happen that waits for nothing. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("group commit", () => {
  test("flushes a lone item at once", async () => {
    const group = new GroupCommit({ flush: async (items: readonly number[]) => items.map(String) });
    await expect(group.submit(7)).resolves.toBe("7");
  });

  test("gives each caller its own result", async () => {
    const group = new GroupCommit({
      flush: async (items: readonly number[]) => items.map((item) => item * 2),
    });
    await expect(Promise.all([1, 2, 3].map((item) => group.submit(item)))).resolves.toEqual([2, 4, 6]);
  });

  test("flushes what arrives in one turn together, then what arrived during the flush, first in first out", async () => {
    const { batches, flush, finish } = controlled();
    const group = new GroupCommit({ flush });
    const first = [group.submit(1), group.submit(2)];
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    const later = [3, 4, 5].map((item) => group.submit(item));
    const all = Promise.all([...first, ...later]);
    await finish(all);
    expect(batches).toEqual([
      [1, 2],
      [3, 4, 5],
    ]);
    await expect(all).resolves.toEqual([10, 20, 30, 40, 50]);
  });

  test("never flushes more than its limit at once", async () => {
    const { batches, flush, finish } = controlled();
    const group = new GroupCommit({ flush, maxBatch: 2 });
    await finish(Promise.all([1, 2, 3, 4, 5].map((item) => group.submit(item))));
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
  });

  test("never flushes more weight than its limit at once, but a heavier item alone", async () => {
    const { batches, flush, finish } = controlled();
    const group = new GroupCommit({ flush, weightOf: (item: number) => item * 500 });
    await finish(Promise.all([1, 3, 1, 1, 9, 1, 2, 2].map((item) => group.submit(item))));
    expect(batches).toEqual([[1, 3], [1, 1], [9], [1, 2], [2]]);
  });

  test("has light items wait for no heavy ones", async () => {
    const { batches, flush, finish } = controlled();
    const group = grouped({ flush, weightOf: (item: number) => item });
    const done = Promise.all([3_000, 1, 2_000, 2, 3].map((item) => group.submit(item)));
    await turns();
    expect(batches).toEqual([[3_000], [1, 2, 3]]);
    await finish(done);
    await group.idle();
    expect(batches).toEqual([[3_000], [1, 2, 3], [2_000]]);
  });

  test("lets a bad item fail alone, with its own error", async () => {
    const group = new GroupCommit({
      flush: async (items: readonly number[]) => {
        if (items.includes(13)) throw new Error(`13 among ${items.length}`);
        return items;
      },
    });
    const outcomes = await Promise.allSettled([1, 13, 2].map((item) => group.submit(item)));
    expect(outcomes).toEqual([
      { status: "fulfilled", value: 1 },
      { status: "rejected", reason: new Error("13 among 1") },
      { status: "fulfilled", value: 2 },
    ]);
  });

  test("goes on after a failed flush", async () => {
    let broken = true;
    const group = new GroupCommit({
      flush: async (items: readonly number[]) => {
        if (broken) throw new Error("down");
        return items;
      },
    });
    await expect(group.submit(1)).rejects.toThrow("down");
    broken = false;
    await expect(group.submit(2)).resolves.toBe(2);
  });

  test("refuses callers beyond its limit, and accepts them again later", async () => {
    const { flush, finish } = controlled();
    const group = new GroupCommit({ flush, maxBatch: 1, maxWaiting: 2 });
    const accepted = [group.submit(1), group.submit(2)];
    await expect(group.submit(3)).rejects.toThrow(OverloadedError);
    await finish(Promise.all(accepted));
    const next = group.submit(4);
    await finish(next);
    await expect(next).resolves.toBe(40);
  });

  test("is idle when everything that waited is done", async () => {
    const { batches, flush, finish } = controlled();
    const group = new GroupCommit({
      flush: withoutResults(async (items: readonly number[]) => void (await flush(items))),
    });
    void group.submit(1);
    void group.submit(2);
    await finish(group.idle());
    expect(batches).toEqual([[1, 2]]);
    await group.idle();
  });
});

describe("a server that is gone", () => {
  test("for one connection only costs no caller an error", async () => {
    const batches: number[][] = [];
    const group = new GroupCommit<number, number>({
      flush: async (items) => {
        batches.push([...items]);
        if (batches.length % 2 === 1) throw away();
        return items;
      },
      maxBatch: 2,
      kindOf,
    });
    await expect(Promise.all([1, 2, 3].map((item) => group.submit(item)))).resolves.toEqual([1, 2, 3]);
    expect(batches).toEqual([[1, 2], [1, 2], [3], [3]]);
  });

  test("is tried twice, and nobody alone", async () => {
    let flushes = 0;
    const group = new GroupCommit<number, number>({
      flush: async () => {
        flushes++;
        throw away();
      },
      kindOf,
    });
    const outcomes = await Promise.allSettled([1, 2, 3].map((item) => group.submit(item)));
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(flushes).toBe(2);
  });

  test("fails all who wait at once, those who stepped aside too", async () => {
    const table = new LockTable();
    const options = table.options({ maxBatch: 2 });
    let isAway = false;
    const group = new GroupCommit({
      ...options,
      flush: async (items) => {
        if (isAway) throw away();
        return options.flush(items);
      },
    });
    table.hold("a");
    const beside = group.submit("a").catch(String);
    await turns();
    await table.pass();
    expect(table.waitedFor).toEqual(["a"]);
    isAway = true;
    const waiting = ["b", "c", "d"].map((item) => group.submit(item).catch(String));
    await expect(Promise.all([beside, ...waiting])).resolves.toEqual(Array(4).fill("Error: away"));
    await group.idle();
  });

  test("after the work may have been done leaves its callers with an unknown outcome, whatever follows", async () => {
    let flushes = 0;
    const group = new GroupCommit<number, number>({
      flush: async () => {
        throw ++flushes === 1 ? new Error("unknown") : away();
      },
      maxBatch: 2,
      kindOf: () => "away",
      isUnknown: (error) => String(error) === "Error: unknown",
    });
    const outcomes = await Promise.all([1, 2, 3].map((item) => group.submit(item).catch(String)));
    expect(outcomes).toEqual(["Error: unknown", "Error: unknown", "Error: away"]);
    expect(flushes).toBe(2);
  });

  test("after the work may have been done tells those who only waited that nothing was done", async () => {
    const now = jest.spyOn(performance, "now");
    const group = new GroupCommit<number, number>({
      flush: async () => {
        now.mockReturnValue(performance.now() + 2_000);
        throw new Error("unknown");
      },
      maxBatch: 2,
      kindOf: () => "away",
      isUnknown: (error) => String(error) === "Error: unknown",
      asNeverSent: away,
    });
    try {
      const outcomes = await Promise.all([1, 2, 3].map((item) => group.submit(item).catch(String)));
      expect(outcomes).toEqual(["Error: unknown", "Error: unknown", "Error: away"]);
    } finally {
      now.mockRestore();
    }
  });

  test.each([
    ["together", grouped],
    ["one by one", unbatched],
  ])(
    "of a database that leaves it unknown is told so by whoever flushes %s, unless told otherwise",
    async (_how, commit) => {
      let flushes = 0;
      const committer = commit<number, number>({
        flush: async () => {
          // The answer to COMMIT was lost, and then there is no server.
          throw new DatabaseError("ECONNRESET", undefined, { isUnknown: ++flushes === 1 });
        },
      });
      await expect(committer.submit(1)).rejects.toMatchObject({ isUnknown: true });
      expect(flushes).toBe(2);
    },
  );

  test("is not tried again when it was slow to fail", async () => {
    let flushes = 0;
    const now = jest.spyOn(performance, "now");
    const group = new GroupCommit<number, number>({
      flush: async () => {
        flushes++;
        now.mockReturnValue(performance.now() + 2_000);
        throw away();
      },
      kindOf,
    });
    try {
      await expect(group.submit(1)).rejects.toThrow("away");
      expect(flushes).toBe(1);
    } finally {
      now.mockRestore();
    }
  });

  test("while members are retried alone fails the rest at once", async () => {
    const batches: number[][] = [];
    const group = new GroupCommit<number, number>({
      flush: async (items) => {
        batches.push([...items]);
        throw new Error(items.length > 1 ? "refused" : "away");
      },
      maxBatch: 3,
      kindOf,
    });
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map((item) => group.submit(item)));
    expect(outcomes).toEqual(
      Array.from({ length: 4 }, () => ({ status: "rejected", reason: new Error("away") })),
    );
    expect(batches).toEqual([[1, 2, 3], [1], [1]]);
    await group.idle();
  });
});

describe("a server that is gone when it is asked who holds a lock", () => {
  test("fails all who wait at once, without trying them", async () => {
    const table = new LockTable();
    const options = table.options({ maxBatch: 1 });
    const group = new GroupCommit({
      ...options,
      locks: { keysOf, wait: async () => undefined, held: () => Promise.reject(away()) },
    });
    table.hold("a");
    const all = ["a", "b"].map((item) => group.submit(item).catch(String));
    await turns();
    await table.pass();
    await expect(Promise.all(all)).resolves.toEqual(["Error: away", "Error: away"]);
    expect(table.batches).toEqual([["a"]]);
  });

  test("or while a lock is waited for, fails those who wait for it at once", async () => {
    const table = new LockTable();
    const options = table.options();
    let waits = 0;
    const held = async (keys: readonly string[]) => new Set(waits < 9 ? keys : []);
    const wait = async () => {
      waits++;
      throw away();
    };
    const group = new GroupCommit({ ...options, locks: { keysOf, wait, held } });
    table.hold("a");
    const only = group.submit("a").catch(String);
    await turns();
    await table.pass();
    await expect(only).resolves.toBe("Error: away");
    // Once more, since it may have been the connection alone.
    expect(waits).toBe(2);
  });
});

describe("a lock that somebody else holds", () => {
  test("is waited for in turn with others that are held", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options());
    table.hold("a", "b");
    const all = ["a", "b"].map((item) => group.submit(item));
    await turns();
    for (let pass = 0; pass < 4; pass++) await table.pass();
    expect(table.waitedFor).toEqual(["a", "b", "a", "b"]);
    table.release("a", "b");
    await Promise.all(all);
  });

  test("is forgotten when nobody has wanted it for a while, even if it is held", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options());
    table.hold("a");
    const first = group.submit("a").catch(String);
    await turns();
    await table.pass();
    const wantedAt = performance.now();
    const now = jest.spyOn(performance, "now");
    try {
      now.mockReturnValue(wantedAt + 3_000);
      await table.passUntil(first);
      await expect(first).resolves.toBe("Error: contended");
      now.mockReturnValue(wantedAt + 14_000);
      await table.pass();
      const looked = table.waitedFor.length;
      await table.pass();
      expect(table.waitedFor).toHaveLength(looked + 1);
      now.mockReturnValue(wantedAt + 16_000);
      await table.pass();
      await table.pass();
      expect(table.waitedFor).toHaveLength(looked + 1);
      await group.idle();
    } finally {
      now.mockRestore();
    }
  });

  test("blocks those who want it, and nobody else", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options());
    table.hold("a");
    const first = ["b", "a", "c"].map((item) => group.submit(item));
    await turns();
    await table.pass();
    expect(table.flushed).toEqual(["b", "c"]);
    const later = ["d", "a,e", "e"].map((item) => group.submit(item));
    await turns();
    expect(table.flushed).toEqual(["b", "c", "d", "e"]);
    table.release("a");
    await expect(Promise.all([...first, ...later])).resolves.toEqual(["B", "A", "C", "D", "A,E", "E"]);
    // The line met the lock once.
    expect(table.batches).toEqual([
      ["b", "a", "c"],
      ["b", "c"],
      ["d", "e"],
      ["a", "a,e"],
    ]);
    await group.idle();
  });

  test("is waited for by one connection, which holds nothing else, however many want it", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options());
    table.hold("a");
    const all = Array.from({ length: 30 }, (_, index) => group.submit(`${index},a`));
    await turns();
    await table.pass();
    await table.pass();
    await table.pass();
    expect(table.batches).toHaveLength(1);
    expect(table.waitedFor).toEqual(["a", "a", "a"]);
    table.release("a");
    await Promise.all(all);
    expect(table.batches).toHaveLength(2);
  });

  test("lets items with the same key keep their order", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options({ maxBatch: 2 }));
    table.hold("a");
    const all = ["a,1", "b,2", "a,3", "b,4", "a,5"].map((item) => group.submit(item));
    await turns();
    await table.pass();
    all.push(group.submit("a,6"));
    await turns();
    table.release("a");
    await Promise.all(all);
    expect(table.flushed).toEqual(["b,2", "b,4", "a,1", "a,3", "a,5", "a,6"]);
  });

  test("fails those who want it when it is held for long, later ones at once, and nobody once it is free", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options({ patienceMs: 10 }));
    table.hold("a");
    const first = group.submit("a");
    await table.passUntil(first);
    await expect(first).rejects.toThrow("contended");
    const flushes = table.batches.length;
    await expect(group.submit("a")).rejects.toThrow("contended");
    expect(table.batches).toHaveLength(flushes);
    await group.idle();
    await expect(group.submit("b")).resolves.toBe("B");
    table.release("a");
    await turns();
    await expect(group.submit("a")).resolves.toBe("A");
  });

  test("that is held at every check, but only for a moment each, is waited for in turn", async () => {
    const table = new LockTable();
    const options = table.options();
    let looks = 0;
    const group = new GroupCommit({
      ...options,
      locks: {
        keysOf,
        wait: async () => undefined,
        held: async (keys) => {
          if (++looks === 1) table.release("hot");
          return new Set(keys);
        },
      },
    });
    table.hold("hot");
    const all = ["hot", "cold"].map((item) => group.submit(item));
    await turns();
    await table.pass();
    await expect(Promise.all(all)).resolves.toEqual(["HOT", "COLD"]);
  });

  test("of an unknown kind has each tried alone, aside from the queue", async () => {
    const table = new LockTable();
    const { locks, ...options } = table.options({ patienceMs: 200 });
    const group = new GroupCommit(options);
    table.hold("a");
    const [before, blocked, after] = ["b", "a", "c"].map((item) => group.submit(item));
    await turns();
    await table.pass();
    await expect(group.submit("d")).resolves.toBe("D");
    await table.passUntil(Promise.allSettled([blocked, after]));
    await expect(Promise.all([before, after])).resolves.toEqual(["B", "C"]);
    await expect(blocked).rejects.toThrow("contended");
    await group.idle();
    expect(table.flushed.toSorted()).toEqual(["b", "c", "d"]);
  });

  test("of an unknown kind fails all who have waited for long, whether or not it was their turn", async () => {
    const table = new LockTable();
    const { locks, ...options } = table.options({ patienceMs: 2_000 });
    const group = new GroupCommit(options);
    const now = jest.spyOn(performance, "now").mockReturnValue(0);
    try {
      table.hold("a");
      const all = ["a,1", "a,2", "a,3"].map((item) => group.submit(item).catch(String));
      await turns();
      await table.pass();
      now.mockReturnValue(2_000);
      // The try of the first ends, and nobody else has been tried alone.
      await table.pass();
      await expect(Promise.all(all)).resolves.toEqual(Array(3).fill("Error: contended"));
      expect(table.batches).toEqual([["a,1", "a,2", "a,3"], ["a,1"]]);
    } finally {
      now.mockRestore();
    }
  });

  test("of an unknown kind leaves the one under way to its own try when the queue finds the server gone", async () => {
    const table = new LockTable();
    const { locks, ...options } = table.options();
    let isAway = false;
    const group = new GroupCommit<string, string>({
      ...options,
      flush: async (items) => {
        if (isAway) throw away();
        return options.flush(items);
      },
    });
    table.hold("a");
    const tried = group.submit("a");
    await turns();
    await table.pass();
    isAway = true;
    await expect(group.submit("b")).rejects.toThrow("away");
    isAway = false;
    table.release("a");
    await expect(tried).resolves.toBe("A");
    await group.idle();
  });

  test("counts those who stepped aside among those who wait", async () => {
    const table = new LockTable();
    const group = new GroupCommit<string, string>({ ...table.options(), maxWaiting: 2 });
    table.hold("a");
    const all = [group.submit("a"), group.submit("a")];
    await turns();
    await table.pass();
    await expect(group.submit("b")).rejects.toThrow(OverloadedError);
    table.release("a");
    await Promise.all(all);
  });

  test("is not idle while somebody waits for it", async () => {
    const table = new LockTable();
    const group = new GroupCommit(table.options());
    table.hold("a");
    let done = false;
    void group.submit("a").then(() => (done = true));
    await turns();
    await table.pass();
    const idle = group.idle();
    table.release("a");
    await idle;
    expect(done).toBe(true);
  });
});

describe("without sharing", () => {
  test("every item is flushed by itself, at once and beside the others", async () => {
    const { batches, flush, finish } = controlled();
    const single = unbatched({ flush });
    const all = Promise.all([1, 2, 3].map((item) => single.submit(item)));
    expect(batches).toEqual([[1], [2], [3]]);
    await finish(all);
    await expect(all).resolves.toEqual([10, 20, 30]);
  });

  test("a flush that fails is its own item's, whatever the error", async () => {
    const flushes: number[] = [];
    const single = new Unbatched({
      flush: async ([item]: readonly number[]) => {
        flushes.push(item ?? NaN);
        if (item === 13) throw away();
        return [item];
      },
      kindOf,
    });
    const outcomes = await Promise.allSettled([1, 13, 2].map((item) => single.submit(item)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(flushes).toEqual([1, 13, 2, 13]);
  });

  test("a flush that meets a lock is tried again, as long as anybody waits for one", async () => {
    const table = new LockTable();
    const single = new Unbatched(table.options({ patienceMs: 10 }));
    table.hold("a");
    const impatient = single.submit("a");
    await table.passUntil(impatient);
    await expect(impatient).rejects.toThrow("contended");
    const patient = single.submit("a");
    table.release("a");
    await expect(patient).resolves.toBe("A");
  });

  test("more than the limit are refused, and accepted again later", async () => {
    const { flush, finish } = controlled();
    const single = new Unbatched({ flush, maxWaiting: 2 });
    const accepted = [single.submit(1), single.submit(2)];
    await expect(single.submit(3)).rejects.toThrow(OverloadedError);
    await finish(Promise.all(accepted));
    const next = single.submit(4);
    await finish(next);
    await expect(next).resolves.toBe(40);
  });
});

describe.each(Object.entries(COMMITS))("with group commit %s", (_, commit) => {
  test("a flush with too few results is an error", async () => {
    const committer = commit({ flush: async () => [] as number[] });
    await expect(committer.submit(1)).rejects.toThrow("1 items gave 0 results");
  });

  test("a flush that throws before it has begun is an error like any other", async () => {
    const committer = commit<number, number>({
      flush: () => {
        throw new Error("not even begun");
      },
    });
    await expect(committer.submit(1)).rejects.toThrow("not even begun");
  });

  test("every flush is observed, including failed and unshared ones", async () => {
    const sizes: number[] = [];
    const committer = commit<number, number>({
      flush: async (items) => {
        if (items.includes(13)) throw new Error("13");
        return items;
      },
      observe: ({ size, seconds }) => {
        expect(seconds).toBeGreaterThanOrEqual(0);
        expect(seconds).toBeLessThan(60);
        sizes.push(size);
      },
    });
    await Promise.allSettled([1, 13].map((item) => committer.submit(item)));
    expect(sizes).toEqual(commit === COMMITS.on ? [2, 1, 1] : [1, 1]);
  });

  test("it is idle once everything is done, including what failed", async () => {
    const { batches, flush, finish } = controlled();
    const committer = commit({
      flush: withoutResults(async (items: readonly number[]) => {
        await flush(items);
        if (items.includes(13)) throw new Error("13");
      }),
    });
    const done: number[] = [];
    for (const item of [1, 13, 2]) {
      const noted = () => void done.push(item);
      committer.submit(item).then(noted, noted);
    }
    await finish(committer.idle());
    expect(done.toSorted((a, b) => a - b)).toEqual([1, 2, 13]);
    expect(batches.flat()).toEqual(expect.arrayContaining([1, 2, 13]));
  });
});
