import { errorCode } from "../shared/failure.ts";

/** What the system says of a place that can't be written, and what that means. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "no space is left on its disk",
  EDQUOT: "the disk quota is used up",
  EROFS: "its disk is read-only",
  EACCES: "this user may not write there",
  EPERM: "this user may not write there",
  EEXIST: "a file is where a folder should be",
  ENOTDIR: "a file is where a folder should be",
};
/** The same in the words of programs. */
const TOLD: readonly (readonly [pattern: RegExp, code: string])[] = [
  [/No space left on device|enough free space|\bENOSPC\b|OS errno 28\b|Errcode: 28\b/i, "ENOSPC"],
  [/Disk quota exceeded|\bEDQUOT\b/i, "EDQUOT"],
  [/Read-only file system|\bEROFS\b/i, "EROFS"],
  [/Permission denied|\bEACCES\b/i, "EACCES"],
];

/** One line that says why a file or folder can't be written; undefined for any other error. */
export function diskFault(error: unknown): string | undefined {
  const reason = REASONS[errorCode(error) ?? ""];
  if (reason === undefined) return undefined;
  const place =
    typeof error === "object" && error !== null && "path" in error ? String(error.path) : "a file";
  return `${place} can't be written: ${reason}`;
}

/** Why a program that printed these lines could not write; undefined if they say nothing of that. */
export function toldDiskFault(lines: readonly string[]): string | undefined {
  const code = TOLD.find(([pattern]) => lines.some((line) => pattern.test(line)))?.[1];
  return code === undefined ? undefined : REASONS[code];
}
