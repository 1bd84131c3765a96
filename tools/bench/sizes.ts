/** How much to measure. */
export interface Sizes {
  readonly repeats: number;
  readonly accept: {
    readonly warmUpMs: number;
    readonly ms: number;
    readonly connections: readonly number[];
  };
  readonly drain: {
    /** Orders for group commit, and for the slower modes with one transaction each. */
    readonly orders: number;
    readonly slowOrders: number;
    readonly warmUpOrders: number;
  };
  readonly alone: { readonly orders: number; readonly warmUpOrders: number };
  readonly outage: {
    readonly repeats: number;
    readonly perSecond: number;
    readonly healthyMs: number;
    readonly slowMs: number;
    readonly downMs: number;
    readonly backMs: number;
    /** How often the worker probes the inventory. */
    readonly probeMs: number;
  };
  readonly growth: {
    readonly orders: readonly number[];
    readonly acceptMs: number;
    readonly drainOrders: number;
    readonly backlog: number;
  };
  readonly scaling: {
    readonly workers: readonly number[];
    /** Per worker. */
    readonly warmUpOrders: number;
    readonly concurrency: number;
    readonly ms: number;
  };
}

export type Size = "full" | "quick" | "smoke";

export const SIZES: Readonly<Record<Size, Sizes>> = {
  full: {
    repeats: 3,
    // Long enough for the JIT to finish: until then a request takes 50 % more CPU, in every process.
    accept: { warmUpMs: 8_000, ms: 4_000, connections: [1, 50, 200] },
    drain: { orders: 10_000, slowOrders: 2_000, warmUpOrders: 5_000 },
    alone: { orders: 200, warmUpOrders: 300 },
    outage: {
      repeats: 3,
      perSecond: 100,
      healthyMs: 15_000,
      slowMs: 15_000,
      downMs: 20_000,
      backMs: 15_000,
      probeMs: 5_000,
    },
    growth: {
      orders: [10_000, 100_000, 1_000_000],
      acceptMs: 4_000,
      drainOrders: 6_000,
      backlog: 100_000,
    },
    // A low concurrency, so that workers wait for their providers and not for the two cores they share.
    scaling: { workers: [1, 2, 4], warmUpOrders: 200, concurrency: 2, ms: 8_000 },
  },
  quick: {
    repeats: 2,
    accept: { warmUpMs: 300, ms: 400, connections: [1, 50, 200] },
    drain: { orders: 1_000, slowOrders: 120, warmUpOrders: 300 },
    alone: { orders: 10, warmUpOrders: 5 },
    outage: {
      repeats: 1,
      perSecond: 100,
      healthyMs: 2_500,
      slowMs: 1_500,
      downMs: 4_000,
      backMs: 2_000,
      probeMs: 5_000,
    },
    growth: { orders: [1_000, 10_000], acceptMs: 300, drainOrders: 500, backlog: 1_000 },
    scaling: { workers: [1, 2, 4], warmUpOrders: 10, concurrency: 2, ms: 1_000 },
  },
  smoke: {
    repeats: 1,
    accept: { warmUpMs: 50, ms: 300, connections: [1, 4] },
    drain: { orders: 60, slowOrders: 30, warmUpOrders: 10 },
    alone: { orders: 3, warmUpOrders: 1 },
    outage: {
      repeats: 1,
      perSecond: 20,
      healthyMs: 500,
      slowMs: 500,
      downMs: 1_500,
      backMs: 500,
      probeMs: 200,
    },
    growth: { orders: [20, 60], acceptMs: 300, drainOrders: 30, backlog: 60 },
    scaling: { workers: [1, 2], warmUpOrders: 10, concurrency: 5, ms: 300 },
  },
};
