import type { Request, Response } from "express";
import type { Redis } from "ioredis";
import type { z } from "zod";
import type { Database } from "../../../db/database.ts";
import type { Queues } from "../../../queues/queues.ts";
import type { Health } from "../readiness.ts";
import { actorOf } from "../auth.ts";
import type { OrderRoutes } from "../orders.ts";
import { Problem } from "../problem.ts";
import type { Logger } from "../../platform/log.ts";
import type { Dispatcher } from "../../engine/ports.ts";
import type { Lifecycle } from "../../order/lifecycle.ts";
import type { WebhookEndpoints } from "../../events/webhooks/endpoints.ts";
import type { Html } from "./html.ts";
import { layout, type Page } from "./layout.ts";

/** What the console works with. */
export interface ConsoleOptions {
  readonly database: Database;
  /** Both undefined where orders are processed without queues. */
  readonly redis?: Redis | undefined;
  readonly queues?: Queues | undefined;
  readonly health: Health;
  readonly lifecycle: Lifecycle;
  readonly cancel: OrderRoutes["cancel"];
  /** Gives orders the jobs that they lack. */
  readonly requeue: Pick<Dispatcher, "revive">;
  readonly webhooks: WebhookEndpoints;
  readonly log: Logger;
}

/** Who does what a request asks for. */
export function operatorOf(response: Response): string {
  return actorOf(response) ?? "nobody";
}

/** Answers with a whole page. */
export function show({ queues }: Pick<ConsoleOptions, "queues">, response: Response, page: Page): void {
  const given = { operator: operatorOf(response), hasQueues: queues !== undefined };
  response.type("html").send(String(layout(page, given)));
}

/** What a form has sent, in the shape of the schema. @throws {Problem} 422, with every fault. */
export function parseForm<Schema extends z.ZodType>(schema: Schema, request: Request): z.output<Schema> {
  const parsed = schema.safeParse(request.body ?? {});
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
  throw new Problem(422, "invalid-input", { errors });
}

/** Answers with a part of a page, for the page to put in place. */
export function showPart(response: Response, part: Html): void {
  response.type("html").send(String(part));
}

/** Leads the browser on after an action, to a page that may be loaded again without doing it twice. */
export function leadTo(response: Response, address: string): void {
  response.redirect(303, address);
}
