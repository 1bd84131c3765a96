/** Identifies a process, even if its pid is reused later. */
export interface ProcessIdentity {
  pid: number;
  /** Opaque; compare for equality only. */
  startedAt: string;
}

/** A process's identity; undefined if it has exited (a zombie counts as exited). */
export function identify(pid: number): ProcessIdentity | undefined;

/** Whether this exact process still runs, and not another with the same pid. */
export function isAlive(identity: ProcessIdentity): boolean;

/** Takes the lock, or returns its live owner. Takes over a lock whose owner has died. */
export function tryLock(path: string): { release(): void } | { owner: ProcessIdentity };

/** Runs `work` under the lock, waiting as long as its owner lives. Calls `onWait` once if it has to wait. */
export function withLock<T>(
  path: string,
  work: () => Promise<T>,
  onWait?: (owner: ProcessIdentity) => void,
): Promise<T>;
