import { z } from "zod";
import { routeNameIn } from "../api/routes.ts";
import { PROCESSES } from "./config.ts";

/**
 * What the API reads. Behind `https://shop.example/orders`, it could not tell whether the proxy has taken `/orders` away
 * from a request or the API itself is meant. Only the API needs the table of routes, which is much to load.
 */
export const API_PROCESS = PROCESSES.api.refine((given) => faultOf(given) === undefined, {
  path: ["PUBLIC_URL"],
  error: ({ input }) => faultOf(input),
  when: ({ issues }) => !issues.some(({ path }) => path?.[0] === "PUBLIC_URL"),
});

const withAddress = z.object({ PUBLIC_URL: z.string() });

function faultOf(given: unknown): string | undefined {
  const { data } = withAddress.safeParse(given);
  if (data === undefined) return undefined;
  const { pathname, origin } = new URL(data.PUBLIC_URL);
  const name = routeNameIn(pathname);
  return name === undefined
    ? undefined
    : `must not have a path that begins with ${name}, as paths of the API do; use another name, such as ${origin}/conveyor`;
}
