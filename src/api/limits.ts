/** Limits of requests and answers. Those of an order are in `src/order/limits.ts`. */
export const API_LIMITS = {
  /** Bytes of a request body. */
  bodyBytes: 512 * 1024,
  /** Orders on one page. */
  pageSize: 200,
  /** Events on one page. */
  eventPageSize: 1_000,
  /** Orders that one stream may be limited to. */
  streamedOrders: 100,
  /** SKUs in one stock request. */
  stockItems: 1_000,
} as const;
