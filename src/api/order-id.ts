import { randomFillSync } from "node:crypto";
import { v7 } from "uuid";

const BYTES = 16;
/** Random bytes for many ids: the system gives them in bulk for what a few of them cost. */
const pool = new Uint8Array(256 * BYTES);
let used = pool.length;

/** A new id for an order: a UUIDv7 (RFC 9562), which sorts by time of creation. */
export function newOrderId(createdAt: Date): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += BYTES;
  return v7({ msecs: createdAt.getTime(), random: pool.subarray(used - BYTES, used) });
}
