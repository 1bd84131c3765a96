import type { Lease } from "../../src/platform/lease.ts";

/** A lease that nobody else asks for. */
export const UNDISPUTED: Lease = { hold: async () => 1, token: 1, release: async () => undefined };
