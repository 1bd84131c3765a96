import { setTimeout as delay } from "node:timers/promises";
import type { GuardedProcess } from "./guard.ts";
import { identify, isAlive, type ProcessIdentity } from "./lock.js";
import type { StateFile } from "./state.ts";

/** Time for the API and the worker to drain, on top of their own shutdown timeout. */
const APP_MARGIN_MS = 5000;
const APP_SHUTDOWN_MS = 10_000;
const BROKEN_DEADLINE_MS = 2000;
/** Containers may take a minute. */
const SERVER_DEADLINE_MS = 75_000;
/** Longer than any guard's grace period. */
const LEFTOVER_MS = 90_000;
const POLL_MS = 50;

/** Applications use the servers, so they stop first. */
export type ChildKind = "app" | "server";

/** The processes of one run: recorded as they start, stopped in the right order. */
export class Children {
  #children = new Map<string, { kind: ChildKind; process: GuardedProcess }>();
  #state: StateFile;
  #stopping = false;

  constructor(state: StateFile) {
    this.#state = state;
  }

  /** Whether we are shutting down, so that processes are expected to exit. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /**
   * Waits until the processes of an earlier run have exited: when `npm start` is killed, the guards end them a
   * moment later. Two servers must never share a data folder.
   *
   * @param onWait called if there is anything to wait for
   */
  async endLeftovers(onWait: () => void): Promise<void> {
    const deadline = Date.now() + LEFTOVER_MS;
    let alive = this.#state.state.children.filter(isAlive);
    if (alive.length > 0) onWait();
    while (alive.length > 0) {
      if (Date.now() > deadline) alive.forEach(killGroup);
      await delay(POLL_MS);
      alive = alive.filter(isAlive);
    }
    this.#state.update((remembered) => (remembered.children = []));
  }

  /** Registers a process that was just started, replacing an earlier one with the same name. */
  add(name: string, kind: ChildKind, child: GuardedProcess): void {
    this.#children.set(name, { kind, process: child });
    const identity = identify(child.pid);
    this.#state.update((remembered) => {
      remembered.children = remembered.children.filter((record) => record.name !== name);
      if (identity) remembered.children.push({ name, ...identity });
    });
    if (this.#stopping) child.kill("SIGKILL");
  }

  /** Whether any process was started. */
  get any(): boolean {
    return this.#children.size > 0;
  }

  /**
   * Lets the applications finish their work, then stops the servers.
   *
   * @param isBroken set when something they need has failed: they get two seconds only
   */
  async stop(isBroken: boolean): Promise<void> {
    this.#stopping = true;
    const delayMs = Number(process.env["SHUTDOWN_DELAY_MS"]) || 0;
    const workMs = Number(process.env["SHUTDOWN_TIMEOUT_MS"]) || APP_SHUTDOWN_MS;
    await this.#stopAll("app", isBroken ? BROKEN_DEADLINE_MS : delayMs + workMs + APP_MARGIN_MS);
    await this.#stopAll("server", SERVER_DEADLINE_MS);
  }

  /**
   * Kills everything at once; `stop` then settles. Accepted orders are safe: the servers recover from their
   * logs.
   */
  kill(): void {
    this.#stopping = true;
    for (const child of this.#children.values()) child.process.kill("SIGKILL");
  }

  async #stopAll(kind: ChildKind, deadlineMs: number): Promise<void> {
    const children = [...this.#children.values()].filter((child) => child.kind === kind);
    await Promise.all(children.map((child) => child.process.stop(deadlineMs)));
  }
}

function killGroup({ pid }: ProcessIdentity): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has exited in the meantime.
  }
}
