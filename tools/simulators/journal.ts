import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { z } from "zod";
import { StartupError } from "../../src/platform/startup.ts";
import { errorCode } from "../shared/failure.ts";
import { intentState } from "./stripe/state.ts";

/** A line of the providers' books. */
export const entrySchema = z.object({
  key: z.string(),
  kind: z.enum(["charge", "refund", "label", "label-void"]),
  orderId: z.string(),
  amount: z.number(),
  currency: z.string().nullable(),
  outcome: z.enum(["pending", "approved", "declined", "void"]),
  providerId: z.string(),
  reverses: z.string().nullable(),
  attempts: z.number(),
  at: z.coerce.date(),
  held: z.number().optional(),
  intent: intentState.optional(),
});

/**
 * Keeps books in a file, one JSON document a line: an entry each time it changes. What was written survives the death
 * of this process, though not of the machine, unless {@link sync} was called. One process at a time may have it open.
 */
export class Journal<Entry> {
  readonly #fd: number;

  /**
   * Opens the file, and creates it and its folder if need be.
   *
   * @returns the journal, and the entries in it; later ones replace earlier ones with the same key
   * @throws {StartupError} if the file can't be used
   */
  static open<Entry>(
    file: string,
    schema: z.ZodType<Entry>,
  ): { readonly journal: Journal<Entry>; readonly entries: readonly Entry[] } {
    try {
      mkdirSync(path.dirname(file), { recursive: true });
      const text = readIfPresent(file);
      // A process that was killed while it wrote leaves a part of a line, for a call that it did not answer.
      const whole = text.slice(0, text.lastIndexOf("\n") + 1);
      if (whole.length < text.length) truncateSync(file, Buffer.byteLength(whole));
      const lines = whole.split("\n").slice(0, -1);
      return {
        entries: lines.map((line, index) =>
          parse(line, schema, `${file} has no entry of the providers' books in line ${index + 1}`),
        ),
        journal: new Journal<Entry>(file),
      };
    } catch (error) {
      if (error instanceof StartupError) throw error;
      throw new StartupError(`${file} can't be used (${errorCode(error) ?? String(error)})`);
    }
  }

  private constructor(file: string) {
    this.#fd = openSync(file, "a");
  }

  append(booked: Entry): void {
    writeSync(this.#fd, `${JSON.stringify(booked)}\n`);
  }

  /** Waits until everything is on the disk. */
  sync(): void {
    fdatasyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function readIfPresent(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}

function parse<Entry>(line: string, schema: z.ZodType<Entry>, fault: string): Entry {
  try {
    return schema.parse(JSON.parse(line));
  } catch {
    throw new StartupError(fault);
  }
}
