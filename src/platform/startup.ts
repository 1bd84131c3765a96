import { describeError } from "./describe-error.ts";

/** The process can't start, for a reason that the operator can fix. */
export class StartupError extends Error {
  override name = "StartupError";
}

/** The command line is invalid. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * Runs a process's main function. If it fails, prints the error and exits with 1. Errors meant for the operator
 * are printed without a stack trace.
 */
export function runMain(main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    const about =
      error instanceof Error && error.name === "DatabaseError"
        ? "the database of DATABASE_URL cannot be used: "
        : "";
    const told = error instanceof Error && FOR_OPERATORS.has(error.name);
    process.stderr.write(
      `${about}${told ? error.message : error instanceof Error ? error.stack : describeError(error)}\n`,
    );
    process.exit(1);
  });
}

const FOR_OPERATORS = new Set([
  "ConfigError",
  "StartupError",
  "UsageError",
  "DatabaseError",
  "InvalidPipelineError",
  "ForeignRedisError",
  "RedisUrlError",
]);
