import { AsyncLocalStorage } from "node:async_hooks";
import { context, ROOT_CONTEXT, trace, type Context, type Link, type Span } from "@opentelemetry/api";
import type { Commit, Committer, GroupCommitOptions } from "../group-commit.ts";
import { noteError, tracer } from "./tracer.ts";

/** Links that a flush has; the SDK keeps 128 of them, and warns of each further one. */
const MOST_LINKS = 100;

interface Member<Item> {
  readonly item: Item;
  /** Where the caller stands: within its own wait for the batch. */
  readonly context: Context;
}

/** During a flush: in which context each of its items was submitted. */
const flushing = new AsyncLocalStorage<readonly Member<unknown>[]>();

/**
 * The same commit, whose batches can be told apart: each caller has a span, from its arrival until it has its result; and
 * each flush has one, for all of them. A span has one parent, so the flush is a part of the trace of its first caller that
 * is recorded, and linked with the spans of the others, and these with it.
 *
 * A group commit flushes in the context of whoever came first: here that is made right.
 */
export function followBatches(commit: Commit): Commit {
  return <Item, Result>(options: GroupCommitOptions<Item, Result>): Committer<Item, Result> => {
    const { name = "batch", locks } = options;
    const committer = commit<Member<Item>, Result>({
      ...options,
      flush: (members) => flushWithin(name, members, options.flush),
      locks: locks && { ...locks, keysOf: ({ item }) => locks.keysOf(item) },
    });
    return {
      submit(item) {
        const span = trace.getActiveSpan();
        // Nobody follows this one; its context is handed on all the same, with what was decided of its trace.
        if (!span?.isRecording()) return committer.submit({ item, context: context.active() });
        return tracer.startActiveSpan(name, (own) =>
          settled(own, () => committer.submit({ item, context: context.active() })),
        );
      },
      idle: () => committer.idle(),
    };
  };
}

/** What is being flushed now, each item with the context in which it was submitted; none outside of a flush. */
export function submitted(): readonly Member<unknown>[] {
  return flushing.getStore() ?? [];
}

function flushWithin<Item, Result>(
  name: string,
  members: readonly Member<Item>[],
  flush: (items: readonly Item[]) => Promise<readonly Result[]>,
): Promise<readonly Result[]> {
  const run = () => flushing.run(members, () => flush(members.map(({ item }) => item)));
  const followed = members.flatMap((member) => {
    const span = trace.getSpan(member.context);
    return span?.isRecording() ? [{ span, context: member.context }] : [];
  });
  const [first, ...rest] = followed;
  const others = rest.slice(0, MOST_LINKS);
  if (first === undefined) return context.with(ROOT_CONTEXT, run);
  const span = tracer.startSpan(
    `flush ${name}`,
    {
      attributes: { "conveyor.batch.size": members.length },
      links: others.map((other) => linkTo(other.span)),
    },
    first.context,
  );
  for (const other of others) other.span.addLink(linkTo(span));
  return context.with(trace.setSpan(first.context, span), () => settled(span, run));
}

function linkTo(span: Span): Link {
  return { context: span.spanContext() };
}

async function settled<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    noteError(span, error);
    throw error;
  } finally {
    span.end();
  }
}
