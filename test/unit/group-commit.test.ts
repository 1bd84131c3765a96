import { describe, expect, test } from "@jest/globals";
import {
  COMMITS,
  eachAlone,
  GroupCommit,
  LoneCommit,
  OverloadedError,
  withoutResults,
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

  test("takes what arrives in one turn together, and what arrives during a flush next, first in first out", async () => {
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

  test("never flushes more than its bound at once", async () => {
    const { batches, flush, finish } = controlled();
    const group = new GroupCommit({ flush, maxBatch: 2 });
    await finish(Promise.all([1, 2, 3, 4, 5].map((item) => group.submit(item))));
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
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

  test("tries nobody alone when the error cannot be one item's", async () => {
    let flushes = 0;
    const group = new GroupCommit<number, number>({
      flush: async () => {
        flushes++;
        throw new Error("the server is gone");
      },
      mayBeOneItem: () => false,
    });
    const outcomes = await Promise.allSettled([1, 2, 3].map((item) => group.submit(item)));
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(flushes).toBe(1);
  });

  test("lets nobody wait in vain when the error cannot be one item's", async () => {
    let fail: (error: Error) => void = () => {};
    const group = new GroupCommit<number, number>({
      flush: () => new Promise((_resolve, reject) => (fail = reject)),
      maxBatch: 1,
      mayBeOneItem: () => false,
    });
    const all = [1, 2, 3].map((item) => group.submit(item));
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    fail(new Error("the server is gone"));
    const outcomes = await Promise.allSettled(all);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected", "rejected"]);
  });

  test("tries nobody else alone once the server is gone", async () => {
    const batches: number[][] = [];
    const group = new GroupCommit<number, number>({
      flush: async (items) => {
        batches.push([...items]);
        throw new Error(items.length > 1 ? "refused" : "the server is gone");
      },
      maxBatch: 3,
      mayBeOneItem: (error) => error instanceof Error && error.message === "refused",
    });
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map((item) => group.submit(item)));
    expect(outcomes).toEqual(
      Array.from({ length: 4 }, () => ({ status: "rejected", reason: new Error("the server is gone") })),
    );
    expect(batches).toEqual([[1, 2, 3], [1]]);
    await group.idle();
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

  test("refuses more than it may let wait, and takes callers again later", async () => {
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

describe("without sharing", () => {
  test("every item is flushed by itself, at once and beside the others", async () => {
    const { batches, flush, finish } = controlled();
    const alone = eachAlone({ flush });
    const all = Promise.all([1, 2, 3].map((item) => alone.submit(item)));
    expect(batches).toEqual([[1], [2], [3]]);
    await finish(all);
    await expect(all).resolves.toEqual([10, 20, 30]);
  });

  test("a flush that fails is its own item's, whatever the error", async () => {
    let flushes = 0;
    const alone = new LoneCommit({
      flush: async ([item]: readonly number[]) => {
        flushes++;
        if (item === 13) throw new Error("the server is gone");
        return [item];
      },
      mayBeOneItem: () => false,
    });
    const outcomes = await Promise.allSettled([1, 13, 2].map((item) => alone.submit(item)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(flushes).toBe(3);
  });

  test("more than may be under way are refused, and taken again later", async () => {
    const { flush, finish } = controlled();
    const alone = new LoneCommit({ flush, maxWaiting: 2 });
    const accepted = [alone.submit(1), alone.submit(2)];
    await expect(alone.submit(3)).rejects.toThrow(OverloadedError);
    await finish(Promise.all(accepted));
    const next = alone.submit(4);
    await finish(next);
    await expect(next).resolves.toBe(40);
  });
});

describe.each(Object.entries(COMMITS))("with group commit %s", (_, commit) => {
  test("a flush that gave too few results is not taken for done", async () => {
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

  test("every flush is observed, one that fails and one that nobody shares too", async () => {
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

  test("nothing is idle before everything is done, what failed too", async () => {
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
