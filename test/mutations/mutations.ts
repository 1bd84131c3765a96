/** A fault that somebody might write, and the tests that must notice it. */
export interface Mutation {
  /** What the fault would break, in one sentence. */
  readonly breaks: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Text that stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Test files, relative to `test/` and without `.test.ts`: at least one test of them must fail. */
  readonly tests: readonly string[];
}

type Fault = Omit<Mutation, "file" | "tests">;

const inFile = (file: string, tests: readonly string[], faults: readonly Fault[]): Mutation[] =>
  faults.map((fault) => ({ ...fault, file, tests }));

export const MUTATIONS: readonly Mutation[] = [
  ...inFile(
    "src/engine/executor.ts",
    ["integration/workers/executor"],
    [
      {
        breaks: "an order that is to be cancelled is worked on",
        find: "if (order.cancellation) return this.#cancel(",
        replace: "if (false) return this.#cancel(",
      },
      {
        breaks: "an order is handed to the carrier though its cancellation was asked for meanwhile",
        find: "unlessCancelled: stage.pointOfNoReturn ?? false,",
        replace: "unlessCancelled: false,",
      },
      {
        breaks: "no stage is followed by the next one until the sweeper comes",
        find: "next: this.#lifecycle.next({ status, cancelled: cancellation !== null })",
        replace: "next: undefined",
      },
      {
        breaks: "a cancellation does not say which stage rejected the order",
        find: "stage: step.name,\n      reason,",
        replace: "reason,",
      },
      {
        breaks: "a stage that rejects after the point of no return cancels a parcel that is under way",
        find: "if (!this.#lifecycle.canCancel(order.status)) {",
        replace: "if (false) {",
      },
      {
        breaks: "an order that goes on still says that it failed",
        find: "if (order.failed || order.waiting) await this.#store.clearFailed(order.id);",
        replace: "",
      },
      {
        breaks: "a customer's payment token and address get into logs and jobs",
        find: "throw withoutSecrets(error, order);",
        replace: "throw error;",
      },
      {
        breaks: "a process does again what another one did since it remembered the order",
        find: "known && this.#isFor(known, step) ? known :",
        replace: "known ? known :",
      },
      {
        breaks: "a cancellation that came while a stage ran is left to the sweeper",
        find: "if (order.cancellation && this.#isFor(order, attempt.step))",
        replace: "if (false)",
      },
    ],
  ),
  ...inFile(
    "src/engine/stage-runner.ts",
    ["integration/workers/executor"],
    [
      {
        breaks: "a repeated attempt has another idempotency key, so that a card is charged twice",
        find: "const runKey = `${order.id}:${stage.name}`;",
        replace: "const runKey = `${order.id}:${stage.name} ${Math.random()}`;",
      },
      {
        breaks: "a refund has the key of its charge, and the provider gives the charge's answer",
        find: "const undoKey = `${runKey}:undo`;",
        replace: "const undoKey = runKey;",
      },
      {
        breaks: "an order is CANCELLED though it could not be refunded",
        find: "if (errors.length > 0) throw",
        replace: "if (errors.length > 5) throw",
      },
    ],
  ),
  ...inFile(
    "workers/stage-worker.ts",
    ["integration/workers/stage-worker"],
    [
      {
        breaks: "an attempt goes on after its job was given to another worker",
        find: "for (const jobId of jobIds) this.#worker.cancelJob(jobId, LOCK_LOST);",
        replace: "",
      },
      {
        breaks: "a job that no retry can help is retried",
        find: 'if (kind === "permanent") return new UnrecoverableError(message);',
        replace: "",
      },
      {
        breaks: "an order that rests in the failed set does not say so",
        find: "await (last ? this.#giveUp(attempt, message) : this.#noteFailure(attempt, message));",
        replace: "await this.#noteFailure(attempt, message);",
      },
      {
        breaks: "the timeline of an order does not show its failed attempts",
        find: "await failures.noteFailedAttempt(",
        replace: "void (",
      },
    ],
  ),
  ...inFile(
    "src/engine/attempts.ts",
    ["integration/workers/stage-worker", "integration/workers/in-place"],
    [
      {
        breaks: "an order that a worker hands back when it stops has used up an attempt",
        find: "if (interrupted?.reason === SHUTDOWN || interrupted?.reason === LOCK_LOST) {",
        replace: "if (false) {",
      },
      {
        breaks: "orders that fail again and again take every place of a stage",
        find: "if (isSuspect && this.#suspects?.take(orderId) === false) throw new NoPlaceError();",
        replace: "",
      },
      {
        breaks: "the places of orders that failed before are never free again",
        find: "this.#suspects?.leave(attempt.orderId);",
        replace: "",
      },
      {
        breaks: "an order that its carrier has yet to deliver counts as done with the stage",
        find: 'if (execution.outcome !== "snoozed") return { kind: "over", execution };',
        replace: 'return { kind: "over", execution };',
      },
    ],
  ),
  ...inFile(
    "workers/stage-worker.ts",
    ["integration/workers/in-place"],
    [
      {
        breaks: "orders go on in place in a stage that is full",
        find: "this.#places.hasPlaceForGuest &&",
        replace: "",
      },
      {
        breaks: "orders go on in place in a stage that this worker holds",
        find: "[...this.#holds].every((reason) => reason === CIRCUIT) &&",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "workers/in-place.ts",
    ["integration/workers/in-place"],
    [
      {
        breaks: "a limit over all workers is exceeded by orders that entered before it was set",
        find: "if (!hasConcurrency || !(await haveGuests(step)))",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "workers/in-place.ts",
    ["unit/workers/in-place"],
    [
      {
        breaks: "orders that a limit turns away count as guests, so that the limited stage stands still",
        find: "if (this.#limited.has(step.name) && !(await this.#isUnlimited(step))) return undefined;",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "workers/places.ts",
    ["integration/workers/in-place", "unit/workers/places"],
    [
      {
        breaks: "orders that come in place take the place of the queue's next job",
        find: "return this.#free > 1;",
        replace: "return this.#free > 0;",
      },
      {
        breaks: "jobs are fetched for places that orders in place have taken",
        find: "const fitting = Math.max(1, this.#jobs + this.#free);",
        replace: "const fitting = this.concurrency;",
      },
      {
        breaks: "every order costs a command of its own to fetch its job",
        find: "if (this.#unclaimed <= 0) await this.#untilFree();",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "workers/stage-worker.ts",
    ["e2e/crashing-stage"],
    [
      {
        breaks: "an order that crashes its worker crashes the next one too, with all that this has in hand",
        find: "hasCrashed: stalledCounter > 0 || data.hasCrashed === true,",
        replace: "hasCrashed: false,",
      },
    ],
  ),
  ...inFile(
    "src/engine/sweeper.ts",
    ["integration/workers/sweeper"],
    [
      {
        breaks: "orders that have just moved are taken for lost",
        find: "return updatedAt.getTime() <= since ||",
        replace: "return true ||",
      },
      {
        breaks: "an order that is to be withdrawn, since its client was refused, is carried on",
        find: "performance.now() - this.#options.afterMs < this.#backSince ? -Infinity : nowMs() - forMs",
        replace: "nowMs() - forMs",
      },
      {
        breaks: "orders that a person has to look at are tried again for ever",
        find: "return failedAt === null || (cancelRequestedAt !== null && cancelRequestedAt >= failedAt);",
        replace: "return true;",
      },
      {
        breaks: "orders that are nearly done wait behind all others when Redis has lost its data",
        find: ".toReversed();",
        replace: ";",
      },
      {
        breaks: "orders that are to be cancelled are worked on",
        find: "stopped.filter((order) => !isCancelled(order))",
        replace: "stopped",
      },
      {
        breaks: "a backlog is walked over again and again, with no rest",
        find: "if (last && !isOutdated && last.after === undefined && now < last.beganAt + intervalMs) continue;",
        replace: "",
      },
      {
        breaks: "orders behind the first page are never looked at",
        find: "this.#walks.set(status, { ...walk, after: page.next });",
        replace: "this.#walks.set(status, { ...walk, after: undefined });",
      },
      {
        breaks: "the age of the oldest order is that of the newest",
        find: "seen.oldest = Math.min(",
        replace: "seen.oldest = Math.max(",
      },
      {
        breaks: "an order misses its deadline, and nobody cancels it",
        find: "return nowMs() - (dueFrom ?? createdAt).getTime() >= deadline.milliseconds;",
        replace: "return false;",
      },
    ],
  ),
  ...inFile(
    "src/engine/breaker.ts",
    ["unit/workers/breaker"],
    [
      {
        breaks: "an order pays with an attempt for an outage that has just ended",
        find: "if (!answers || pings.lastAwayAt(service) >= startedAt)",
        replace: "if (!answers)",
      },
      {
        breaks: "poisoned orders of a few customers have a service taken for one that fails everybody",
        find: "if (isSuspect && !isKnown) return;",
        replace: "",
      },
      {
        breaks: "a service that serves others is still taken for one that fails everybody",
        find: "this.#failing.clear();\n    this.#ofCustomers",
        replace: "this.#ofCustomers",
      },
      {
        breaks: "all orders at once try a service that is just back",
        find: 'this.#circuit = "half open";\n    gate.halfOpen();',
        replace: 'this.#circuit = "half open";\n    gate.open();',
      },
      {
        breaks: "a stage stays half open for ever",
        find: 'this.#circuit = "closed";\n    gate.open();',
        replace: "",
      },
      {
        breaks: "a stage that is held asks its service once, and never again",
        find: "return this.#probeLater();",
        replace: "return;",
      },
      {
        breaks: "a customer whose orders go through again stays suspected",
        find: "this.#ofCustomers.delete(customerId);",
        replace: "",
      },
      {
        breaks: "a held stage does work for orders",
        find: 'if (this.#circuit === "open") throw this.#heldError();',
        replace: "",
      },
      {
        breaks: "orders are tried in step with each other, again and again",
        find: "+ (random() * longest) / 2",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "src/platform/group-commit.ts",
    ["unit/group-commit"],
    [
      {
        breaks: "those who only waited are told that their work may have been done",
        find: "const known = isUnknown(error) ? asNeverSent(error) : error;",
        replace: "const known = error;",
      },
      {
        breaks: "one bad item fails all that share its flush",
        find: "if (members.length > 1) return this.#settleApart(members);",
        replace: "",
      },
      {
        breaks: "one flush takes all that wait, however many",
        find: "this.#waiting.splice(0, end < 0 ? this.#maxBatch : end)",
        replace: "this.#waiting.splice(0)",
      },
      {
        breaks: "a database that stands still costs memory without end",
        find: "if (waiting >= this.#maxWaiting) {",
        replace: "if (false) {",
      },
      {
        breaks: "items with the same key overtake each other after a lock",
        find: "this.#waiting.unshift(...members);",
        replace: "this.#waiting.push(...members.toReversed());",
      },
    ],
  ),
  ...inFile(
    "src/platform/flush.ts",
    ["unit/group-commit"],
    [
      {
        breaks: "who does not know whether the work was done is told that it was not",
        find: "if (isUnknown(error)) for (const member of members) member.unknown = error;",
        replace: "",
      },
      {
        breaks: "one connection that is cut costs everybody in the flush an error",
        find: 'if (kindOf(error) !== "away" || performance.now() - startedAt > PROMPT_MS) throw error;',
        replace: "throw error;",
      },
      {
        breaks: "a flush with too few results is taken for done",
        find: "if (results.length !== members.length) {",
        replace: "if (false) {",
      },
    ],
  ),
  ...inFile(
    "src/platform/contention.ts",
    ["unit/group-commit"],
    [
      {
        breaks: "who wants a row that is locked for long waits for ever",
        find: "if (late) fail(member, late.error);",
        replace: "",
      },
    ],
  ),
  ...inFile(
    "db/transitions.ts",
    ["integration/db/orders", "integration/workers/executor"],
    [
      {
        breaks: "a cancellation that was asked for meanwhile is passed over",
        find: "AND cancel_requested_at IS NULL AND changed_at IS NULL",
        replace: "AND changed_at IS NULL",
      },
      {
        breaks: "an order is moved twice from the same status",
        find: "if (order?.status !== from || (unlessCancelled && toBeCancelled))",
        replace: "if (order === undefined || (unlessCancelled && toBeCancelled))",
      },
      {
        breaks: "an event is written of a transition that was not made",
        find: "return { ...update, mustAffect: length };",
        replace: "return update;",
      },
    ],
  ),
  ...inFile(
    "src/order/change.ts",
    ["integration/workers/executor", "unit/order/change"],
    [
      {
        breaks: "an order that has moved on still says that it failed",
        find: "return { status: to, failed: null, waiting: null, updatedAt: at }",
        replace: "return { status: to, waiting: null, updatedAt: at }",
      },
    ],
  ),
  ...inFile(
    "db/database.ts",
    ["integration/db/database", "integration/db/database-away"],
    [
      {
        breaks: "after a failover each connection to the old primary costs a request",
        find: "if (failure instanceof DatabaseError && failure.doubtsConnections) this.#doubts++;",
        replace: "",
      },
      {
        breaks: "a deadlock fails a transaction that would succeed the next time",
        find: 'else if (failure.kind !== "contended" || tries === TRANSACTION_TRIES) throw failure;',
        replace: "else if (true) throw failure;",
      },
    ],
  ),
  ...inFile(
    "db/commit.ts",
    ["integration/db/database", "integration/db/database-away"],
    [
      {
        breaks: "a lost answer to COMMIT is told as if nothing had been done",
        find: "last.some(isCheck)) throw new UnexpectedCountError();\n    throw afterCommitWasSent(error);",
        replace: "last.some(isCheck)) throw new UnexpectedCountError();\n    throw error;",
      },
      {
        breaks: "a server that stood still commits what was given up",
        find: "[...writes.map(asWrite).flatMap(checked), fence]",
        replace: "[...writes.map(asWrite).flatMap(checked)]",
      },
    ],
  ),
  ...inFile(
    "db/fence.ts",
    ["unit/db/fence"],
    [
      {
        breaks: "a commit is begun so late that its answer comes after it was given up",
        find: "(deadline - this.#marginMs + aheadMs) / 1_000",
        replace: "(deadline + aheadMs) / 1_000",
      },
      {
        breaks: "a server's clock that was set back lets it commit what was given up",
        find: "Math.max(this.#trustedSince, performance.now() - CLOCK_COUNTS_FOR_MS)",
        replace: "this.#trustedSince",
      },
    ],
  ),
];
