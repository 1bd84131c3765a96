import { execFileSync } from "node:child_process";
import { test } from "@jest/globals";

function hasPython(): boolean {
  try {
    execFileSync("python3", ["-c", "import sqlite3"], { stdio: "ignore" });
    return true;
  } catch {
    process.stderr.write("There is no python3 with sqlite3 here: the examples are not tried.\n");
    return false;
  }
}

/** A test that is skipped where there is no Python. */
export const withPython = hasPython() ? test : test.skip;
