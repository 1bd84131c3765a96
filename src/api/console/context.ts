import type { Response } from "express";
import { actorOf } from "../auth.ts";
import { addressOf, baseOf } from "../public-address.ts";
import type { Services } from "../services.ts";
import type { Html } from "./html.ts";
import { layout, type Page } from "./layout.ts";

/** What the routes of pages and fragments have in common; and those of the forms on them. */
export const PAGE = { method: "GET", scope: "operator" } as const;
export const FORM = { method: "POST", scope: "operator" } as const;

/** Responds with a whole page. */
export function show({ queues }: Pick<Services, "queues">, response: Response, page: Page): void {
  const given = { operator: actorOf(response), hasQueues: queues !== undefined };
  showPart(response, layout(page, given));
}

/** Attributes that lead somewhere on this host. Only templates write them: in values, quotes are escaped. */
const LINK = /(\s(?:action|data-history|data-stream|href|hx-get|hx-post|src)=")\/(?!\/)/g;

/** Responds with a fragment of a page. */
export function showPart(response: Response, part: Html): void {
  const base = baseOf(response);
  const text = String(part);
  response.type("html").send(base === "" ? text : text.replaceAll(LINK, `$1${base}/`));
}

/** Redirects after an action, so that reloading the page does not repeat it. */
export function leadTo(response: Response, address: string): void {
  response.redirect(303, addressOf(response, address));
}
