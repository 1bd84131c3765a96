import { AsyncLocalStorage } from "node:async_hooks";
import { context, ROOT_CONTEXT, trace, type Context, type Link, type Span } from "@opentelemetry/api";
import type { Commit, Committer, GroupCommitOptions } from "../group-commit.ts";
import { settled, tracer } from "./tracer.ts";

/** Maximum links of a flush; the SDK keeps 128 and warns about further ones. */
const MOST_LINKS = 100;

interface Member<Item> {
  readonly item: Item;
  /** The caller's context, within the span of its wait. */
  readonly context: Context;
}

/** During a flush, its items with the contexts in which they were submitted. */
const flushing = new AsyncLocalStorage<readonly Member<unknown>[]>();

/**
 * Wraps a commit with tracing: each caller gets a span from submission to result, and each flush gets one. A
 * span has only one parent, so the flush belongs to the trace of its first recorded caller and is linked to the
 * others' spans, and they to it.
 *
 * It also corrects the context: a group commit flushes in the context of whichever caller came first.
 */
export function followBatches(commit: Commit): Commit {
  return <Item, Result>(options: GroupCommitOptions<Item, Result>): Committer<Item, Result> => {
    const { name = "batch", locks, weightOf, ...others } = options;
    const committer = commit<Member<Item>, Result>({
      ...others,
      name,
      flush: (members) => flushWithin(name, members, options.flush),
      ...(weightOf && { weightOf: ({ item }: Member<Item>) => weightOf(item) }),
      locks: locks && { ...locks, keysOf: ({ item }) => locks.keysOf(item) },
    });
    return {
      submit(item) {
        const span = trace.getActiveSpan();
        // Not recorded, but its context, with the sampling decision, is passed on.
        if (!span?.isRecording()) return committer.submit({ item, context: context.active() });
        return tracer.startActiveSpan(name, (own) =>
          settled(own, () => committer.submit({ item, context: context.active() })),
        );
      },
      idle: () => committer.idle(),
    };
  };
}

/** The items being flushed, with their contexts; empty outside a flush. */
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
