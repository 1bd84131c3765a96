import type { Response } from "express";
import { actorOf } from "../auth.ts";
import type { Services } from "../services.ts";
import type { Html } from "./html.ts";
import { layout, type Page } from "./layout.ts";

/** What shows a page, or a part of one; and what a page's form is sent to. */
export const PAGE = { method: "GET", scope: "operator" } as const;
export const FORM = { method: "POST", scope: "operator" } as const;

/** Answers with a whole page. */
export function show({ queues }: Pick<Services, "queues">, response: Response, page: Page): void {
  const given = { operator: actorOf(response), hasQueues: queues !== undefined };
  response.type("html").send(String(layout(page, given)));
}

/** Answers with a part of a page, for the page to put in place. */
export function showPart(response: Response, part: Html): void {
  response.type("html").send(String(part));
}

/** Leads the browser on after an action, to a page that may be loaded again without doing it twice. */
export function leadTo(response: Response, address: string): void {
  response.redirect(303, address);
}
