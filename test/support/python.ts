import { execFileSync } from "node:child_process";
import { test } from "@jest/globals";

function hasPython(): boolean {
  try {
    execFileSync("python3", ["-c", "import sqlite3"], { stdio: "ignore" });
    return true;
  } catch {
    process.stderr.write("NOT TRIED: what needs python3 with sqlite3, which is not installed here.\n");
    return false;
  }
}

/** A test that is skipped where there is no Python. */
export const withPython = hasPython() ? test : test.skip;
