import { parseArgs, type ParseArgsConfig } from "node:util";
import { errorCode, Failure } from "./failure.ts";
import { messageOf } from "./text.ts";

/** Like parseArgs, but reports a mistake in one line. @throws {Failure} */
export function readArguments<T extends ParseArgsConfig>(
  command: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    if (!errorCode(error)?.startsWith("ERR_PARSE_ARGS")) throw error;
    throw new Failure(`${messageOf(error).split(/\.\s/)[0]}; see npm run ${command} -- --help`);
  }
}

/** Parses a numeric option and checks its bounds. @throws {Failure} that names the option */
export function numberOption(
  name: string,
  text: string,
  bounds: { least: number; most: number; isWhole?: boolean },
): number {
  const { least, most, isWhole = true } = bounds;
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
  const kind = isWhole ? "a whole number" : "a number";
  throw new Failure(`--${name} must be ${kind} from ${least} to ${most}, not ${JSON.stringify(text)}`);
}
