import type { AppOptions } from "../api/app.ts";
import type { Service } from "../platform/service.ts";

/** What becomes of orders once the API has written them down: workers carry them on, or the API itself does. */
export interface Mode {
  readonly app: Pick<
    AppOptions,
    "live" | "redis" | "queues" | "accept" | "process" | "operations" | "failureGroups"
  >;
  readonly services: readonly Service[];
  /** What is stopped before the requests under way are waited for. */
  readonly beforeRequests: readonly Service[];
}
