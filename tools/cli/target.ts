import { Failure } from "../shared/failure.ts";

/** The API's address and key. */
export interface Target {
  readonly url: URL;
  readonly apiKey: string;
}

interface Running {
  readonly conveyorUrl: string;
  readonly apiKey: string;
}

/**
 * Finds the service to use: the one in CONVEYOR_URL and CONVEYOR_API_KEY, otherwise the one that runs in this
 * folder.
 * @param running reads the state file of `npm start`.
 * @throws {Failure} if there is neither, or a variable is invalid.
 */
export function findTarget(
  environment: Readonly<Record<string, string | undefined>>,
  running: () => Running | undefined,
): Target {
  const url = environment["CONVEYOR_URL"] || undefined;
  const apiKey = environment["CONVEYOR_API_KEY"] || undefined;
  if (url && !apiKey)
    throw new Failure("CONVEYOR_URL is set but CONVEYOR_API_KEY is not: set both or neither");
  if (url && apiKey) return { url: parse(url), apiKey: checked(apiKey) };
  const here = running();
  if (!here)
    throw new Failure(
      "Conveyor is not running in this folder: run `npm start`, or set CONVEYOR_URL and CONVEYOR_API_KEY",
    );
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
    throw new Failure("CONVEYOR_API_KEY must consist of visible ASCII characters, without spaces");
  return apiKey;
}
