import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { findCommit, Revision } from "../../../tools/bench/revision.ts";
import { PROJECT_FOLDER } from "../../../tools/launcher/local-folder.ts";
import { run } from "../../../tools/launcher/run.ts";
import { endWithJest } from "../../support/end-with-jest.ts";

const AUTHOR = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"];
const OTHER_LOCK = JSON.stringify({ name: "shop", lockfileVersion: 3, packages: { "": { name: "shop" } } });

let folder: string;
let repository: string;

beforeEach(async () => {
  endWithJest();
  folder = mkdtempSync(path.join(os.tmpdir(), "revision-"));
  repository = path.join(folder, "repository");
  await run("git", ["init", "--quiet", repository]);
  copyFileSync(path.join(PROJECT_FOLDER, "package-lock.json"), path.join(repository, "package-lock.json"));
  await commit("first");
});
afterEach(() => rmSync(folder, { recursive: true }));

const git = (...args: string[]) => run("git", ["-C", repository, ...AUTHOR, ...args]);

/** Commits a version whose build says which it is. */
async function commit(version: string): Promise<void> {
  const scripts = { build: `mkdir dist && echo ${version} > dist/version` };
  writeFileSync(path.join(repository, "package.json"), JSON.stringify({ name: "shop", scripts }));
  await git("add", ".");
  await git("commit", "--quiet", "--message", version);
}

describe("the commit to compare with", () => {
  test("is the last tag", async () => {
    await git("tag", "v1");
    await commit("second");
    const [hash] = await git("rev-parse", "v1");
    expect(await findCommit(undefined, repository)).toEqual({ name: "v1", hash, repository });
  });

  test("is the one that is named, tags or not", async () => {
    await git("tag", "v1");
    await commit("second");
    const [hash] = await git("rev-parse", "HEAD");
    expect(await findCommit("HEAD", repository)).toEqual({ name: "HEAD", hash, repository });
  });

  test("is missing without a tag, and outside of a repository", async () => {
    expect(await findCommit(undefined, repository)).toBeUndefined();
    expect(await findCommit(undefined, folder)).toBeUndefined();
  });

  test.each(["v9", "--all", ""])("is refused if there is no %j", async (name) => {
    await expect(findCommit(name, repository)).rejects.toThrow(
      `--against: ${JSON.stringify(name)} is no commit of this repository`,
    );
  });
});

describe("an earlier version", () => {
  const checkOut = async (name: string) => {
    const found = await findCommit(name, repository);
    if (found === undefined) throw new Error("the commit was made above");
    return Revision.checkOut(found, path.join(folder, "before"));
  };

  test("is built by its own script, with this version's dependencies if its lock file is the same", async () => {
    await git("tag", "v1");
    await commit("second");
    writeFileSync(path.join(repository, "package.json"), "not committed");
    const version = await checkOut("v1");
    expect(version.name).toMatch(/^v1 \([0-9a-f]{7}\)$/);
    expect(readFileSync(path.join(version.code, "version"), "utf8")).toBe("first\n");
    expect(realpathSync(path.join(folder, "before/node_modules"))).toBe(
      realpathSync(path.join(PROJECT_FOLDER, "node_modules")),
    );
  });

  test("gets its own dependencies if its lock file differs", async () => {
    writeFileSync(path.join(repository, "package-lock.json"), OTHER_LOCK);
    await commit("second");
    const [hash = ""] = await git("rev-parse", "HEAD");
    expect((await checkOut(hash)).name).toBe(hash.slice(0, 7));
    expect(existsSync(path.join(folder, "before/node_modules/express"))).toBe(false);
  });

  test("that can't be built says why", async () => {
    writeFileSync(path.join(repository, "package.json"), JSON.stringify({ scripts: {} }));
    await git("commit", "--quiet", "--all", "--message", "no build");
    await expect(checkOut("HEAD")).rejects.toThrow(/npm --prefix .* run build: /);
  });
});
