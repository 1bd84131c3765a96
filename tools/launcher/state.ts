import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { errorCode, Failure } from "../shared/failure.ts";
import { diskFault } from "./disk.ts";
import { LOCAL } from "./local-folder.ts";
import { isAlive, type ProcessIdentity } from "./lock.js";
import { say, yellow } from "./terminal.ts";

/** What a client needs to reach Conveyor and its servers. */
export interface Running {
  databaseUrl: string;
  redisUrl: string;
  conveyorUrl: string;
  apiKey: string;
  /** URLs of the simulated providers; those of real ones are missing. */
  simulators: Simulators;
}

export interface Simulators {
  payments?: string;
  carrier?: string;
  inventory?: string;
  /** Only where it is the carrier. */
  easypost?: string;
}

/** The run in this folder. Stays behind if `npm start` is killed: check `isAlive(owner)`. */
export interface Run extends Running {
  owner: ProcessIdentity;
  /** ISO 8601. */
  startedAt: string;
  versions: { mysql: string; redis: string };
}

/** A process that `npm start` has started: "api", "worker", "simulators", "mysql", "redis" or "compose". */
export interface ChildRecord extends ProcessIdentity {
  name: string;
}

/** What one run leaves for the next. */
export interface State {
  apiKey: string;
  mysqlPassword: string;
  redisPassword: string;
  apiPort?: number;
  mysqlPort?: number;
  redisPort?: number;
  paymentsPort?: number;
  carrierPort?: number;
  inventoryPort?: number;
  easypostPort?: number;
  /** The compose project that holds the servers' data; set once they have run in containers. */
  composeProject?: string;
  children: ChildRecord[];
  run?: Run;
}

/**
 * What runs in this folder; undefined if nothing does or it is still starting.
 *
 * @throws Failure if the state file can't be read
 */
export function readRunning(file: string = LOCAL.state): Running | undefined {
  const run = readState(file)?.run;
  if (!run || !isAlive(run.owner)) return undefined;
  const { databaseUrl, redisUrl, conveyorUrl, apiKey, simulators } = run;
  return { databaseUrl, redisUrl, conveyorUrl, apiKey, simulators };
}

/** The last written state; undefined before the first start. @throws Failure if it can't be read */
export function readState(file: string = LOCAL.state): State | undefined {
  try {
    // Only this module writes the file, atomically.
    return JSON.parse(readFileSync(file, "utf8")) as State; // oxlint-disable-line no-unsafe-type-assertion
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw new Failure(`${file} can't be read; remove it to start with new ports and keys`);
  }
}

/** The saved state, or a new one with random keys. Only the owner of the folder's lock may use it. */
export class StateFile {
  readonly state: State;
  #file: string;
  #isSaved = false;

  constructor(file: string = LOCAL.state) {
    this.#file = file;
    this.state = readState(file) ?? {
      apiKey: `ck_${randomBytes(16).toString("hex")}`,
      mysqlPassword: randomBytes(16).toString("hex"),
      redisPassword: randomBytes(16).toString("hex"),
      children: [],
    };
  }

  /**
   * Changes the state and saves it atomically: readers see either the old or the new one. Once it was saved, a disk that is
   * full or broken only leaves an older one there.
   *
   * @throws the system's error if it can't be saved the first time
   */
  update(change: (state: State) => void): void {
    change(this.state);
    try {
      this.#save();
      this.#isSaved = true;
    } catch (error) {
      if (!this.#isSaved) throw error;
      say(yellow(`! ${diskFault(error) ?? String(error)}`));
    }
  }

  #save(): void {
    mkdirSync(path.dirname(this.#file), { recursive: true });
    const draft = `${this.#file}.${process.pid}`;
    try {
      writeFileSync(draft, `${JSON.stringify(this.state, null, 2)}\n`, { mode: 0o600 });
      renameSync(draft, this.#file);
    } catch (error) {
      rmSync(draft, { force: true });
      throw error;
    }
  }
}
