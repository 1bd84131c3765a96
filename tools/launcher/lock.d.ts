/** A process, told apart from a later one that got the same pid. */
export interface ProcessIdentity {
  pid: number;
  /** Opaque: only equality means something. */
  startedAt: string;
}

/** Who a process is; undefined when it is gone (a zombie counts as gone). */
export function identify(pid: number): ProcessIdentity | undefined;

/** Whether this very process, not merely one with its pid, still runs. */
export function isAlive(identity: ProcessIdentity): boolean;

/** Takes the lock, or names its living owner. A lock whose owner died is taken over. */
export function tryLock(path: string): { release(): void } | { owner: ProcessIdentity };

/** Runs `work` under the lock, waiting for it as long as its owner lives. `onWait` hears of the wait, once. */
export function withLock<T>(
  path: string,
  work: () => Promise<T>,
  onWait?: (owner: ProcessIdentity) => void,
): Promise<T>;
