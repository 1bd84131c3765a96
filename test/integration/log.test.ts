import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { createTestEnvironment } from "../support/environment.ts";
import { TEST_KEY } from "../support/processes.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

test.each(["src/main.ts", "workers/main.ts"])(
  "%s ends in order when nobody reads its log any more",
  async (script) => {
    const environment = await createTestEnvironment();
    const { databaseUrl, redisUrl } = environment;
    const child = spawn(process.execPath, ["--import", "tsx", script], {
      cwd: REPOSITORY,
      env: {
        PATH: process.env["PATH"],
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl,
        API_KEYS: TEST_KEY,
        PORT: "0",
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (text) => (said += String(text)));
    try {
      const ended = once(child, "exit");
      // The first line is the one that says that it is up.
      const failed = ended.then(([code]) => Promise.reject(new Error(`it ended with ${code}: ${said}`)));
      await Promise.race([once(child.stdout, "data"), failed]);
      failed.catch(() => undefined);
      child.stdout.destroy();
      child.kill("SIGTERM");
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill("SIGKILL");
      await environment.close();
    }
  },
);
