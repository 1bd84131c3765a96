import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Clone } from "../../support/clone.ts";
import { waitFor } from "../../support/wait-for.ts";

/** Runs a command with a small disk of its own in the place of a folder, which the command alone sees. */
function onSmallDisk(folder: string, size: string): [string, ...string[]] {
  return [
    "unshare",
    "--mount",
    "--map-root-user",
    "/bin/sh",
    "-c",
    `mount -t tmpfs -o size=${size} tmpfs "$0" && exec "$@"`,
    folder,
  ];
}

const probe = mkdtempSync(path.join(os.tmpdir(), "conveyor-disk-"));
const [command, ...args] = [...onSmallDisk(probe, "64k"), "true"];
/** Mounting needs root, or a system that lets users make namespaces. */
const canMount = spawnSync(command, args).status === 0;
rmSync(probe, { recursive: true });

let clone: Clone;
beforeEach(() => {
  clone = new Clone();
});
afterEach(() => clone.remove());

(canMount ? describe : describe.skip)("npm start on a disk that is full", () => {
  test("under the logs: everything goes on, and it is said once", async () => {
    const logs = clone.path(".local/logs");
    mkdirSync(logs, { recursive: true });
    const run = await clone.start({ LOG_LEVEL: "trace" }, onSmallDisk(logs, "1m"));
    const root = `/proc/${run.pid}/root`;
    // Whatever is left of it is used up.
    const filler = path.join(root, logs, "filler");
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4k"]);
    await waitFor("the launcher to tell", () => run.output().includes("no space is left on its disk"));

    // What ends meanwhile is started again.
    const before = clone.child("worker");
    process.kill(before.pid, "SIGKILL");
    await waitFor("another worker", () => clone.child("worker").pid !== before.pid);
    const { apiKey, run: running } = clone.state();
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    const body = JSON.stringify({
      customerId: "cust-1",
      currency: "EUR",
      lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 1250 }],
    });
    const answer = await fetch(`${running!.conveyorUrl}/orders`, { method: "POST", headers, body });
    expect(answer.status).toBe(202);

    run.kill("SIGTERM");
    expect(await run.ended).toBe(0);
    // Each log of it has the same trouble: those of the servers, the providers, the API and two workers.
    expect(run.output().match(/^.*no space is left on its disk.*$/gm)).toEqual([
      expect.stringContaining(`${logs} can't be written: no space is left on its disk`),
    ]);
  });

  test("under the logs: it is said when there is space again", async () => {
    const logs = clone.path(".local/logs");
    mkdirSync(logs, { recursive: true });
    const run = await clone.start({}, onSmallDisk(logs, "4m"));
    const filler = path.join(`/proc/${run.pid}/root`, logs, "filler");
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4k"]);
    await waitFor("the launcher to tell", () => run.output().includes("no space is left on its disk"));
    rmSync(filler);
    await waitFor("it to tell that too", () => run.output().includes(`There is space for ${logs} again`));
    run.kill("SIGTERM");
    expect(await run.ended).toBe(0);
  });

  test("under everything: one line that names the folder and the cause", async () => {
    const local = clone.path(".local");
    const { code, output } = await clone.runToEnd("start", [], { PORT: "0" }, onSmallDisk(local, "4k"));
    expect(code).toBe(1);
    expect(output).toMatch(/^✗ .* can't be written: no space is left on its disk\n$/m);
    expect(output).not.toMatch(/\n\s+at |install/);
  });

  test("under the packages: one line that says so, and not to install a server", async () => {
    rmSync(clone.path(".local/packages"));
    mkdirSync(clone.path(".local/packages"));
    const { code, output } = await clone.runToEnd(
      "start",
      [],
      { PORT: "0", PATH: pathWithoutServers(clone) },
      onSmallDisk(clone.path(".local/packages"), "300k"),
    );
    expect(code).toBe(1);
    expect(output).toMatch(
      /^✗ Debian's packages can't be unpacked into \S.*: no space is left on its disk: /m,
    );
    expect(output).not.toMatch(/apt-get install|\n\s+at /);
  });
});

test("npm start in a folder that can't be written is told in one line", async () => {
  // Root may write anywhere but below a file.
  rmSync(clone.path(".local"), { recursive: true });
  writeFileSync(clone.path(".local"), "");
  const { code, output } = await clone.runToEnd("start", [], { PORT: "0" });
  rmSync(clone.path(".local"));
  expect(code).toBe(1);
  expect(output).toMatch(/^✗ \S.*\.local\S* can't be written: a file is where a folder should be\n$/);
});

/** Has `npm start` look for packages: what this machine has installed is out of its way. */
function pathWithoutServers(of: Clone): string {
  const folder = of.path("programs");
  mkdirSync(folder);
  for (const name of ["apt-get", "dpkg-deb", "unshare", "mount", "sh", "dpkg", "tar", "rm"]) {
    const found = (process.env["PATH"] ?? "")
      .split(":")
      .map((each) => path.join(each, name))
      .find(existsSync);
    if (found === undefined) continue;
    writeFileSync(path.join(folder, name), `#!/bin/sh\nexec ${found} "$@"\n`);
    chmodSync(path.join(folder, name), 0o755);
  }
  expect(readFileSync(path.join(folder, "sh"), "utf8")).toContain("exec");
  return folder;
}
