import type { Response } from "express";
import { actorOf } from "../auth.ts";
import type { Services } from "../services.ts";
import type { Html } from "./html.ts";
import { layout, type Page } from "./layout.ts";

/** What the routes of pages and fragments have in common; and those of the forms on them. */
export const PAGE = { method: "GET", scope: "operator" } as const;
export const FORM = { method: "POST", scope: "operator" } as const;

/** Responds with a whole page. */
export function show({ queues }: Pick<Services, "queues">, response: Response, page: Page): void {
  const given = { operator: actorOf(response), hasQueues: queues !== undefined };
  response.type("html").send(String(layout(page, given)));
}

/** Responds with a fragment of a page. */
export function showPart(response: Response, part: Html): void {
  response.type("html").send(String(part));
}

/** Redirects after an action, so that reloading the page does not repeat it. */
export function leadTo(response: Response, address: string): void {
  response.redirect(303, address);
}
