import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { makeTempFolder, removeAbandonedTempFolders } from "../../tools/launcher/temp-folder.ts";

const TMPDIR = process.env["TMPDIR"];
const folders: string[] = [];

afterEach(() => {
  if (TMPDIR === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = TMPDIR;
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function make(): string {
  const folder = makeTempFolder();
  folders.push(folder);
  return folder;
}

test.each(["/tmp/with space", `/tmp/${"long/".repeat(20)}`])(
  "is short and without spaces, also when TMPDIR is %s",
  (usual) => {
    process.env["TMPDIR"] = usual;
    const folder = make();
    expect(folder).toMatch(/^\S{1,75}$/);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  },
);

test("goes when its process is gone, and stays as long as it lives", () => {
  const [ours, dead, strange] = [make(), make(), make()];
  writeFileSync(path.join(dead, "owner.json"), JSON.stringify({ pid: process.pid, startedAt: "long ago" }));
  rmSync(path.join(strange, "owner.json"));
  removeAbandonedTempFolders();
  expect([ours, dead, strange].map((folder) => existsSync(folder))).toEqual([true, false, true]);
});
