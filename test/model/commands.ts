import * as fc from "fast-check";
import type { Fate, PendingCall, Process } from "./calls.ts";
import type { Job } from "./memory-queue.ts";
import { together, type Body, type World } from "./world.ts";

/** Pieces loaded: fewer than a story's orders may want. */
export const LOADED: ReadonlyMap<string, number> = new Map([
  ["MUG", 3],
  ["TEA", 1],
]);
/** Only a part of them has something to choose from when its turn comes. */
const MOST_COMMANDS = 200;
const MOST_REQUESTS = 6;
const MOST_CANCELS = 2;
const MOST_EXECUTIONS = 6;

/** The world has its model in it, and what can be chosen is to be seen there. */
type Command = fc.AsyncCommand<{ readonly world: World }, World>;

/** One choice of the schedule; what it is about is chosen by a number out of what there is when its turn comes. */
class Choice<T> implements Command {
  readonly #text: string;
  readonly #among: (world: World) => readonly T[];
  readonly #number: number;
  readonly #make: (world: World, chosen: T) => Promise<void> | void;

  constructor(
    text: string,
    among: (world: World) => readonly T[],
    number: number,
    make: (world: World, chosen: T) => Promise<void> | void,
  ) {
    this.#text = text;
    this.#among = among;
    this.#number = number;
    this.#make = make;
  }

  check({ world }: { readonly world: World }): boolean {
    return this.#among(world).length > 0;
  }

  async run(_: object, world: World): Promise<void> {
    const choices = this.#among(world);
    const chosen = choices[this.#number % choices.length];
    if (chosen !== undefined) await this.#make(world, chosen);
    await world.look();
  }

  toString(): string {
    return `${this.#text}(${this.#number})`;
  }
}

const number = fc.nat({ max: 11 });

function choice<T>(
  text: string,
  among: (world: World) => readonly T[],
  make: (world: World, chosen: T) => Promise<void> | void,
): fc.Arbitrary<Command> {
  return number.map((chosen) => new Choice(text, among, chosen, make));
}

const body: fc.Arbitrary<Body> = fc.record({
  lines: fc.constantFrom(
    [{ sku: "MUG", quantity: 1, unitPrice: 700 }],
    [{ sku: "MUG", quantity: 2, unitPrice: 700 }],
    [
      { sku: "TEA", quantity: 1, unitPrice: 300 },
      { sku: "MUG", quantity: 1, unitPrice: 700 },
    ],
    [{ sku: "TEA", quantity: 1, unitPrice: 0 }],
  ),
  paymentToken: fc.oneof(
    { weight: 3, arbitrary: fc.constant("tok_approved") },
    { weight: 2, arbitrary: fc.constant("tok_stumbles_1") },
    { weight: 1, arbitrary: fc.constant("tok_declined") },
  ),
});

/** Requests are answered before anything else happens, or not. */
const atOnce = fc.boolean();

const create = fc.tuple(body, fc.constantFrom(null, "key-1", "key-2"), atOnce).map(
  ([content, key, soon]) =>
    new Choice(
      soon ? "create at once" : "create",
      (world) => (world.model.requests.length < MOST_REQUESTS ? [content] : []),
      0,
      async (world, chosen) => {
        await world.create(chosen, key);
        if (soon) await world.letRun(world.api);
      },
    ),
);

const cancel = fc.tuple(number, atOnce).map(
  ([chosen, soon]) =>
    new Choice(
      soon ? "cancel at once" : "cancel",
      (world) => world.model.accepted.filter((id) => world.model.cancelsAsked(id) < MOST_CANCELS),
      chosen,
      async (world, orderId) => {
        await world.cancel(orderId, `changed my mind: ${world.story.length}`);
        if (soon) await world.letRun(world.api);
      },
    ),
);

/** Jobs that a worker can get. */
const deliverable = (world: World): readonly Job[] =>
  world.executions.length < MOST_EXECUTIONS ? world.queue.deliverable : [];

const deliver = fc
  .tuple(fc.constantFrom(0 as const, 1 as const), number)
  .map(
    ([worker, chosen]) =>
      new Choice(`deliver to ${worker + 1}`, deliverable, chosen, (world, job) => world.deliver(job, worker)),
  );

/** A job is done, as on most days. */
const carry = choice("carry", deliverable, async (world, job) => {
  await world.deliver(job, 0);
  const execution = world.executions.at(-1);
  if (execution) await world.letRun(execution.worker.process);
});

const pending = (world: World): readonly PendingCall[] => world.calls.pending;

const proceed = (fate: Fate) => choice(fate, pending, (world, call) => world.proceed([call], fate));

/** A process gets on undisturbed. */
const run = choice("run", pending, (world, { process }) => world.letRun(process));

const batch = choice("batch", pending, (world, call) =>
  world.proceed(together(call, world.calls.pending), "answered"),
);

/** Only where something is interrupted. */
const isBusy = (world: World) => (process: Process) =>
  world.calls.pending.some((call) => call.process === process);

const kill = choice(
  "kill",
  (world) => [...world.workers, world.api].filter(isBusy(world)),
  (world, process) => world.kill(process),
);

const freeze = choice(
  "freeze",
  (world) => world.workers.filter(isBusy(world)),
  (world, process) => world.freeze(process),
);

const thaw = choice(
  "thaw",
  (world) => world.frozen,
  (world, process) => world.thaw(process),
);

const timeOut = choice(
  "time out",
  (world) => world.executions.filter(({ attempt }) => !attempt.signal.aborted),
  (world, execution) => world.timeOut(execution),
);

const again = choice(
  "again",
  (world) => world.queue.jobs.filter(({ state }) => state === "active" || state === "failed"),
  (world, job) => world.again(job),
);

const late = choice(
  "late",
  (world) => world.queue.ever,
  (world, due) => world.restore(due),
);

/** Once there is something to lose. */
const once = (world: World) => (world.queue.ever.length > 0 ? [world] : []);
const flush = choice("flush", once, (world) => world.flush());
const sweep = choice("sweep", once, (world) => world.sweep());
const sweepLate = choice("deadline", once, (world) => world.sweepLate());
const resume = choice(
  "resume",
  (world) => world.books?.orders.filter(({ failedAt }) => failedAt !== null) ?? [],
  (world) => world.resume(),
);

export interface Story {
  readonly commands: Iterable<Command>;
  /** In the end all orders are cancelled, as far as they can be. */
  readonly cancelling: boolean;
}

export function stories(replayPath: string | undefined): fc.Arbitrary<Story> {
  const weighed = fc.oneof(
    { weight: 8, arbitrary: create },
    { weight: 6, arbitrary: cancel },
    { weight: 16, arbitrary: deliver },
    { weight: 12, arbitrary: carry },
    { weight: 30, arbitrary: proceed("answered") },
    { weight: 12, arbitrary: run },
    { weight: 8, arbitrary: batch },
    { weight: 2, arbitrary: proceed("not reached") },
    { weight: 2, arbitrary: proceed("refused") },
    { weight: 5, arbitrary: proceed("reply lost") },
    { weight: 5, arbitrary: proceed("reply late") },
    { weight: 5, arbitrary: kill },
    { weight: 5, arbitrary: freeze },
    { weight: 2, arbitrary: thaw },
    { weight: 3, arbitrary: timeOut },
    { weight: 5, arbitrary: again },
    { weight: 3, arbitrary: late },
    { weight: 1, arbitrary: flush },
    { weight: 3, arbitrary: sweep },
    { weight: 1, arbitrary: sweepLate },
    { weight: 2, arbitrary: resume },
  );
  const commands = fc.commands([weighed], {
    maxCommands: MOST_COMMANDS,
    size: "max",
    ...(replayPath === undefined ? {} : { replayPath }),
  });
  return fc.record({ commands, cancelling: fc.boolean() });
}
