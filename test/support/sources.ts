import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const SOURCES = [
  "src",
  "db",
  "queues",
  "workers",
  // What has the inventory fail.
  "tools/simulators",
  "tools/shared",
  "package.json",
  "tsconfig.json",
];

/** A copy of what the processes run, for tests that change it. */
export interface Sources {
  readonly folder: string;
  /** Puts a stage into the pipeline after `reserve`: one new file, one line with its import. */
  /** @param after the stage that it follows; `reserve` by default. */
  addStage(stage: {
    readonly file: string;
    readonly name: string;
    readonly code: string;
    readonly after?: string;
  }): Promise<void>;
  remove(): Promise<void>;
}

export async function copySources(): Promise<Sources> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-sources-"));
  for (const source of SOURCES) {
    await cp(path.join(REPOSITORY, source), path.join(folder, source), { recursive: true });
  }
  await symlink(path.join(REPOSITORY, "node_modules"), path.join(folder, "node_modules"));
  return {
    folder,
    async addStage({ file, name, code, after = "reserve" }) {
      await writeFile(path.join(folder, "src/order/stages", file), code);
      const table = path.join(folder, "src/order/pipeline.ts");
      const before = await readFile(table, "utf8");
      await writeFile(
        table,
        `import { ${name} } from "./stages/${file}";\n${before.replace(`  ${after},`, `  ${after},\n  ${name},`)}`,
      );
    },
    remove: () => rm(folder, { recursive: true }),
  };
}
