import type { RequestHandler } from "express";
import { Problem } from "./problem.ts";

/** How long a body of somebody without a key may take to come. A few kilobytes are expected. Milliseconds. */
const BODY_WITHIN_MS = 5_000;

/**
 * Refuses a body that does not come in time, and ends the connection. For routes without a key: anyone could hold on to a
 * connection by sending half of it. Those with a key have the server's time limit.
 */
export const bodyInTime: RequestHandler = (request, response, next) => {
  const timer = setTimeout(() => {
    if (request.complete || response.headersSent) return;
    const detail = `the body did not come within ${BODY_WITHIN_MS} ms`;
    new Problem(408, "body-too-slow", { detail, headers: { Connection: "close" } }).send(response);
  }, BODY_WITHIN_MS);
  response.once("close", () => clearTimeout(timer));
  next();
};
