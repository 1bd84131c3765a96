import type { AppOptions } from "../api/app.ts";
import type { Service } from "../platform/service.ts";

/** How accepted orders are processed: by workers, or by the API itself. */
export interface Mode {
  readonly app: Pick<
    AppOptions,
    "live" | "redis" | "queues" | "accept" | "process" | "operations" | "waking" | "failureGroups"
  >;
  /** Called after each committed change that is told as an event. */
  readonly onEvents: () => void;
  readonly services: readonly Service[];
  /** Stopped before waiting for requests under way. */
  readonly beforeRequests: readonly Service[];
}
