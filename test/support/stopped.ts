import { readFileSync } from "node:fs";
import { waitFor } from "./wait-for.ts";

/** Waits until a process that got SIGSTOP stands still: a signal takes a moment. Linux only. */
export async function untilStopped(pid: number): Promise<void> {
  await waitFor(`process ${pid} to stand still`, () =>
    /\) T /.test(readFileSync(`/proc/${pid}/stat`, "utf8")),
  );
}
