import { Failure } from "../shared/failure.ts";

/** Where the API is, and the key it takes. */
export interface Target {
  readonly url: URL;
  readonly apiKey: string;
}

interface Running {
  readonly conveyorUrl: string;
  readonly apiKey: string;
}

/**
 * The service to talk to: the one that CONVEYOR_URL and CONVEYOR_API_KEY name, or else the one that runs in this folder.
 * @param running reads what `npm start` left about itself.
 * @throws {Failure} when there is neither, or the variables are no use.
 */
export function findTarget(
  environment: Readonly<Record<string, string | undefined>>,
  running: () => Running | undefined,
): Target {
  const url = environment["CONVEYOR_URL"] || undefined;
  const apiKey = environment["CONVEYOR_API_KEY"] || undefined;
  if (url && !apiKey) throw new Failure("CONVEYOR_URL is set but CONVEYOR_API_KEY is not: set both, or none");
  if (url && apiKey) return { url: parse(url), apiKey: checked(apiKey) };
  const here = running();
  if (!here)
    throw new Failure("no Conveyor runs here: run `npm start`, or set CONVEYOR_URL and CONVEYOR_API_KEY");
  return { url: parse(here.conveyorUrl), apiKey: apiKey ?? here.apiKey };
}

function parse(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !["http:", "https:"].includes(url.protocol))
    throw new Failure(
      `CONVEYOR_URL must be an address such as http://localhost:3000, not ${JSON.stringify(text)}`,
    );
  return url;
}

function checked(apiKey: string): string {
  if (!/^[\x21-\x7E]+$/.test(apiKey))
    throw new Failure("CONVEYOR_API_KEY must be of visible ASCII characters, without spaces");
  return apiKey;
}
