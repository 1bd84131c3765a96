import { setTimeout as delay } from "node:timers/promises";
import type { GuardedProcess } from "./guard.ts";
import { identify, isAlive, type ProcessIdentity } from "./lock.js";
import type { StateFile } from "./state.ts";

/** What the API and the worker get to drain, beyond the time that they give themselves. */
const APP_MARGIN_MS = 5000;
const APP_SHUTDOWN_MS = 10_000;
const HOPELESS_MS = 2000;
/** Containers may take a minute. */
const SERVER_DEADLINE_MS = 75_000;
/** Longer than any guard's grace period. */
const LEFTOVER_MS = 90_000;
const POLL_MS = 50;

/** Applications use the servers, so they end first. */
export type ChildKind = "app" | "server";

/** The processes of one run: written down as they come, ended in the right order. */
export class Children {
  #children = new Map<string, { kind: ChildKind; process: GuardedProcess }>();
  #state: StateFile;
  #stopping = false;

  constructor(state: StateFile) {
    this.#state = state;
  }

  /** Whether processes that end now are meant to. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /**
   * Waits until the processes of an earlier run are gone: when a starter is killed, its guards end them a moment
   * later. Two servers must never share a data folder.
   *
   * @param onWait called when there is something to wait for
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

  /** Takes over a process that was just started, in place of an earlier one with the same name. */
  add(name: string, kind: ChildKind, child: GuardedProcess): void {
    this.#children.set(name, { kind, process: child });
    const identity = identify(child.pid);
    this.#state.update((remembered) => {
      remembered.children = remembered.children.filter((record) => record.name !== name);
      if (identity) remembered.children.push({ name, ...identity });
    });
    if (this.#stopping) child.kill("SIGKILL");
  }

  /** Whether anything was started. */
  get any(): boolean {
    return this.#children.size > 0;
  }

  /**
   * Lets the applications finish what they do, then ends the servers.
   *
   * @param hopeless set when something broke that they need: they get a moment only
   */
  async stop(hopeless: boolean): Promise<void> {
    this.#stopping = true;
    const ownDeadline = Number(process.env["SHUTDOWN_TIMEOUT_MS"]) || APP_SHUTDOWN_MS;
    await this.#stopAll("app", hopeless ? HOPELESS_MS : ownDeadline + APP_MARGIN_MS);
    await this.#stopAll("server", SERVER_DEADLINE_MS);
  }

  /** Ends all at once; `stop` then settles. What was accepted is safe: the servers recover from their logs. */
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
    // Gone in the meantime.
  }
}
