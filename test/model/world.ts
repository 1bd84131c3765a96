import { createHash } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { isDatabaseUnavailable } from "../../src/platform/storage-error.ts";
import { listFailed, markFailed, resumeOrders } from "../../db/failures.ts";
import { setStock } from "../../db/stock.ts";
import type { DueJob } from "../../src/engine/ports.ts";
import { lifecycle, type Deadline } from "../../src/order/lifecycle.ts";
import { totalOf, type NewOrder, type OrderLine } from "../../src/order/order.ts";
import type { Sweeper } from "../../src/engine/sweeper.ts";
import type { TestEnvironment } from "../support/environment.ts";
import type { Auditor, Books } from "./books.ts";
import { Calls, type Fate, type PendingCall, type Process } from "./calls.ts";
import { MemoryQueue, type Job } from "./memory-queue.ts";
import { BrokenPromise, OrderModel } from "./order-model.ts";
import {
  startApi,
  startSweeper,
  startWorker,
  type Api,
  type Sabotage,
  type Surroundings,
  type Worker,
} from "./processes.ts";
import { NOTHING_MORE } from "../support/orders.ts";

/** So few that orders run out of them, and that more make no other stories. */
const ATTEMPTS = 2;
/** After so many rounds without faults every order has ended, or never will. */
const ROUNDS = 20;
const CALLS_A_ROUND = 1_000;

/** Messages of errors that the schedule makes, or that refuse what comes too late. */
const FORESEEN = [
  /^(refused|not reached|reply lost)$/,
  /^Redis is away$/,
  /^the attempt took too long$/,
  /^payments answered 503$/,
  /^(payments|carrier) answered 409 unexpectedly: {"error":"the (charge was refunded|label was voided)"}$/,
  /^the reservation of order \S+ was released$/,
  /^order \S+ holds no reservation to ship$/,
];

/** What a client sends. */
export interface Body {
  readonly lines: readonly OrderLine[];
  readonly paymentToken: string;
}

/** A worker at an order, for a job. */
export interface Execution {
  readonly worker: Worker;
  readonly job: Job;
  readonly attempt: AbortController;
}

/**
 * The service in one process, under a schedule: two workers and an API over a real MySQL, with {@link MemoryQueue} for
 * Redis. Nothing moves unless it is told to, and after each step the books are shown to the model.
 */
export class World {
  readonly model: OrderModel;
  readonly queue = new MemoryQueue();
  readonly calls = new Calls();
  /** Attempts under way. */
  executions: readonly Execution[] = [];
  readonly #environment: TestEnvironment;
  readonly #auditor: Auditor;
  readonly #surroundings: Surroundings;
  readonly #deadlines = new Map<string, Deadline>();
  readonly #sweeper: Sweeper;
  readonly #names = new Map<string, string>();
  readonly #story: string[] = [];
  #workers: readonly [Worker, Worker];
  #workersStarted = 0;
  #frozen: readonly Process[] = [];
  #api: Api;
  #fault: unknown;
  #seen = true;
  #books: Books | undefined;

  /** A service with this stock, and two orders on their way. */
  static async begin(
    environment: TestEnvironment,
    auditor: Auditor,
    loaded: ReadonlyMap<string, number>,
    sabotage: Sabotage = {},
  ): Promise<World> {
    await environment.redis.flushdb();
    await auditor.clear();
    await setStock(
      environment.database,
      [...loaded].map(([sku, onHand]) => ({ sku, onHand })),
    );
    const world = new World(environment, auditor, loaded, sabotage);
    for (const sku of loaded.keys()) {
      const lines = [{ sku, quantity: 1, unitPrice: 500 }];
      await world.create({ lines, paymentToken: "tok_approved" }, `${sku} please`);
    }
    await world.goOn();
    return world;
  }

  private constructor(
    environment: TestEnvironment,
    auditor: Auditor,
    loaded: ReadonlyMap<string, number>,
    sabotage: Sabotage,
  ) {
    this.#environment = environment;
    this.#auditor = auditor;
    this.model = new OrderModel(loaded);
    this.#surroundings = { environment, queue: this.queue, calls: this.calls, sabotage };
    this.#workers = [this.#startWorker(), this.#startWorker()];
    this.#api = startApi(this.#surroundings);
    this.#sweeper = startSweeper(this.#surroundings, this.#deadlines);
  }

  /** What has happened, for people. */
  get story(): readonly string[] {
    return this.#story;
  }

  /** What went wrong and how it came to it, with orders called by their numbers. */
  tell(error: unknown): string {
    const text = [String(error), ...this.#story].join("\n  ");
    return [...this.#names].reduce((told, [id, name]) => told.replaceAll(id, name), text);
  }

  /** The books as they were last seen. */
  get books(): Books | undefined {
    return this.#books;
  }

  /**
   * Lets everything go on that was begun: what one process asks for at the same moment, together. What dead processes
   * have sent out stays on its way.
   */
  async goOn(): Promise<void> {
    for (let count = 0; count < CALLS_A_ROUND; count++) {
      const first = this.calls.pending.find(({ process }) => process.alive);
      if (first === undefined) return this.look();
      await this.proceed(together(first, this.calls.pending), "answered");
    }
    throw new BrokenPromise("it goes on for ever");
  }

  /** A client posts an order. */
  async create(body: Body, key: string | null): Promise<void> {
    const requestHash = createHash("sha256").update(JSON.stringify(body)).digest("base64");
    await this.#post({
      ...NOTHING_MORE,
      id: uuidv7(),
      customerId: "customer",
      reference: null,
      currency: "EUR",
      total: totalOf(body.lines) ?? 0,
      lines: body.lines,
      paymentToken: body.paymentToken,
      shipTo: null,
      createdAt: new Date(),
      idempotency: key === null ? null : { client: "client", key, requestHash },
    });
  }

  /** A client wants an order to be cancelled. */
  async cancel(orderId: string, reason: string): Promise<void> {
    this.#tell(`a client cancels ${this.#name(orderId)}`);
    this.model.cancelAsked(orderId, reason);
    const { cancellation } = this.#api;
    this.#underWay(async () => {
      const answer = await cancellation.request(orderId, reason);
      this.#tell(`  answer: cancel ${this.#name(orderId)}: ${answer?.accepted ? 202 : 409}`);
      this.model.cancelAnswered(orderId, answer?.accepted ?? false);
    });
    await this.calls.settle();
  }

  /** A worker gets a job. */
  async deliver(job: Job, worker: 0 | 1): Promise<void> {
    const taken = this.#workers[worker];
    this.#tell(`${taken.process.name} gets ${this.#nameJob(job)}`);
    const execution: Execution = { worker: taken, job, attempt: new AbortController() };
    this.executions = [...this.executions, execution];
    this.#underWay(async () => {
      await this.#execute(execution);
      this.executions = this.executions.filter((other) => other !== execution);
    });
    await this.calls.settle();
  }

  /** Lets calls go on. */
  async proceed(calls: readonly PendingCall[], fate: Fate): Promise<void> {
    for (const { process, name } of calls)
      this.#tell(`${process.name}${process.alive ? "" : " (dead)"} ${name}: ${fate}`);
    await this.calls.proceed(calls, fate);
    this.#seen = false;
  }

  /** Lets a process get on until it waits for nothing. */
  async letRun(process: Process): Promise<void> {
    for (let count = 0; count < CALLS_A_ROUND; count++) {
      const call = this.calls.pending.find((waiting) => waiting.process === process);
      if (call === undefined) return;
      await this.proceed([call], "answered");
    }
    throw new BrokenPromise(`${process.name} goes on for ever`);
  }

  /** Shows the books to the model, where they may have changed. @throws {BrokenPromise} */
  async look(): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#seen) return;
    this.#books = await this.#auditor.read();
    this.model.observe(this.#books);
    this.#seen = true;
  }

  get api(): Process {
    return this.#api.process;
  }

  get workers(): readonly Process[] {
    return this.#workers.map((worker) => worker.process);
  }

  /** Kills a process; another one takes its place. */
  kill(process: Process): void {
    this.#tell(`${process.name} is killed`);
    this.calls.kill(process);
    this.executions = this.executions.filter(({ worker }) => worker.process !== process);
    this.#replace(process);
  }

  /** A worker stands still for so long that its jobs are given to others. */
  freeze(process: Process): void {
    this.#tell(`${process.name} freezes`);
    process.frozen = true;
    this.#frozen = [...this.#frozen, process];
    for (const { worker, job } of this.executions)
      if (worker.process === process && job.state === "active") this.again(job);
    this.executions = this.executions.filter(({ worker }) => worker.process !== process);
    this.#replace(process);
  }

  /** Workers that stand still. */
  get frozen(): readonly Process[] {
    return this.#frozen;
  }

  /** It goes on where it stood. */
  thaw(process: Process): void {
    this.#tell(`${process.name} goes on`);
    process.frozen = false;
    this.#frozen = this.#frozen.filter((other) => other !== process);
  }

  /** An attempt has taken too long. */
  async timeOut({ job, attempt, worker }: Execution): Promise<void> {
    this.#tell(`the attempt of ${worker.process.name} at ${this.#nameJob(job)} times out`);
    attempt.abort(new Error("the attempt took too long"));
    await this.calls.settle();
  }

  /** A job is to be delivered though somebody has it, or nobody should. */
  again(job: Job): void {
    this.#tell(`${this.#nameJob(job)} (${job.state}) is given out again`);
    this.queue.again(job);
  }

  /** A job of old is back, whatever became of it. */
  restore(due: DueJob): void {
    this.#tell(`${this.#nameJob({ due })} comes again`);
    this.queue.restore(due);
  }

  /** Redis loses everything. */
  async flush(): Promise<void> {
    this.#tell("Redis loses everything");
    this.queue.flush();
    await this.#environment.redis.flushdb();
  }

  /** The sweeper goes round. */
  async sweep(): Promise<void> {
    this.#tell("the sweeper goes round");
    this.#underWay(() => this.calls.busyWith(async () => void (await this.#sweeper.sweep())));
    await this.calls.settle();
  }

  /** The sweeper goes round when every order that is not paid yet is too late. */
  async sweepLate(): Promise<void> {
    this.model.deadlinePassed();
    for (const [status, deadline] of lifecycle.deadlines({ pay: 0 })) this.#deadlines.set(status, deadline);
    await this.sweep();
    this.#deadlines.clear();
  }

  /** An operator resumes all that has failed. */
  async resume(): Promise<void> {
    this.#tell("an operator resumes what has failed");
    const { orders } = await listFailed(this.#environment.database, {}, { limit: 100 });
    const ids = orders.map(({ id }) => id);
    await resumeOrders(this.#environment.database, ids, "operator");
  }

  /**
   * Nothing goes wrong any more, clients repeat what they have asked for, and the service gets the time it needs. What
   * dead and frozen workers have begun goes on when all is over.
   *
   * @param cancelling whether clients have second thoughts about all their orders first.
   * @returns the books at the end. @throws {BrokenPromise} when there is none, or not the right one.
   */
  async heal({ cancelling }: { readonly cancelling: boolean }): Promise<Books> {
    this.#tell("--- nothing goes wrong any more");
    if (cancelling) for (const id of this.model.accepted) await this.cancel(id, "second thoughts");
    await this.goOn();
    await this.#repeatRequests();
    for (let round = 0; round < ROUNDS && !this.#hasEnded(); round++) {
      for (const job of this.queue.jobs) if (job.state === "active") this.again(job);
      await this.resume();
      await this.sweep();
      await this.#deliverAll();
    }
    await this.#repeatRequests();
    this.#tell("--- everything comes late once more");
    for (const due of this.queue.ever) this.queue.restore(due);
    await this.#deliverAll();
    for (const process of this.frozen) this.thaw(process);
    await this.#deliverAll();
    for (const call of this.calls.pending) await this.proceed([call], "answered");
    await this.look();
    const books = await this.#auditor.read();
    this.model.end(books);
    return books;
  }

  async #post(order: NewOrder): Promise<void> {
    this.#names.set(order.id, `#${this.#names.size + 1}`);
    this.#tell(
      `a client posts ${this.#name(order.id)} (${order.idempotency?.key ?? "no key"}): ${pieces(order)}`,
    );
    this.model.createAsked(order);
    const { intake } = this.#api;
    this.#underWay(async () => {
      const answer = await intake.accept(order);
      this.#tell(`  answer to ${this.#name(order.id)}: ${this.#name(answer.id)}`);
      this.model.createAnswered(order, answer);
    });
    await this.calls.settle();
  }

  async #execute({ worker, job, attempt }: Execution): Promise<void> {
    const { orderId, transition } = job.due;
    const delivery = this.queue.take(job);
    try {
      const { outcome } = await worker.executor.execute(orderId, transition.step, attempt.signal);
      this.#tell(`  ${worker.process.name} ends ${this.#nameJob(job)}: ${outcome}`);
      this.queue.finish(delivery, outcome === "snoozed" ? "delayed" : "completed");
    } catch (error) {
      if (!isForeseen(error)) throw error;
      this.#tell(`  ${worker.process.name} ends ${this.#nameJob(job)}: ${String(error)}`);
      const counts = !isDatabaseUnavailable(error);
      const attempts = delivery.attempts + (counts ? 1 : 0);
      if (attempts < ATTEMPTS) return this.queue.finish({ ...delivery, attempts }, "delayed");
      await this.#markFailed(worker, job).catch((failure: unknown) => {
        if (!isForeseen(failure)) throw failure;
      });
      this.queue.finish({ ...delivery, attempts }, "failed");
    }
  }

  #markFailed({ database }: Worker, { due: { orderId, transition } }: Job): Promise<void> {
    return markFailed(database, {
      orderId,
      whileIn: lifecycle.statusesIn(transition.step),
      stage: transition.step.name,
      reason: "out of attempts",
      at: new Date(),
    });
  }

  #replace(process: Process): void {
    const [first, second] = this.#workers;
    if (process === this.api) this.#api = startApi(this.#surroundings);
    else if (process === first.process) this.#workers = [this.#startWorker(), second];
    else if (process === second.process) this.#workers = [first, this.#startWorker()];
  }

  #startWorker(): Worker {
    return startWorker(++this.#workersStarted, this.#surroundings);
  }

  async #repeatRequests(): Promise<void> {
    const requests = new Map(
      this.model.requests.map((request) => [JSON.stringify(request.idempotency), request]),
    );
    for (const request of requests.values()) {
      if (request.idempotency) await this.#post({ ...request, id: uuidv7(), createdAt: new Date() });
    }
    await this.goOn();
  }

  async #deliverAll(): Promise<void> {
    for (let round = 0; round < ROUNDS; round++) {
      await this.goOn();
      const jobs = this.queue.deliverable;
      if (jobs.length === 0) return;
      for (const job of jobs) await this.deliver(job, 0);
    }
  }

  #hasEnded(): boolean {
    return this.#books?.orders.every(({ status }) => lifecycle.hasEnded(status)) ?? true;
  }

  /** Begins something that goes on by itself; an error that is not foreseen is found at the next look. */
  #underWay(work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      if (!isForeseen(error)) this.#fault ??= error;
    });
  }

  #tell(what: string): void {
    this.#story.push(what);
  }

  #name(orderId: string): string {
    return this.#names.get(orderId) ?? orderId;
  }

  #nameJob({ due: { orderId, transition } }: Pick<Job, "due">): string {
    return `${transition.from}-${transition.to} of ${this.#name(orderId)}`;
  }
}

/** The calls that can share a transaction with this one. */
export function together(first: PendingCall, pending: readonly PendingCall[]): PendingCall[] {
  return pending.filter(({ process, name }) => process === first.process && name === first.name);
}

/** What goes wrong is what the schedule does, and what the service itself does to those that come too late. */
function isForeseen(error: unknown): boolean {
  if (isDatabaseUnavailable(error)) return true;
  return error instanceof Error && FORESEEN.some((message) => message.test(error.message));
}

function pieces({ lines, paymentToken }: NewOrder): string {
  return `${lines.map(({ sku, quantity }) => `${quantity} ${sku}`).join(", ")}, ${paymentToken}`;
}
