import { randomFillSync } from "node:crypto";
import { v7 } from "uuid";

const BYTES = 16;
/** A pool of random bytes, since fetching them in bulk costs little more than fetching a few. */
const pool = new Uint8Array(256 * BYTES);
let used = pool.length;

/** A new order id: a UUIDv7 (RFC 9562), which sorts by creation time. */
export function newOrderId(createdAt: Date): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += BYTES;
  return v7({ msecs: createdAt.getTime(), random: pool.subarray(used - BYTES, used) });
}
