import { percentile } from "../../shared/percentile.ts";
import type { Sample } from "../load/messages.ts";
import type { OutagePhase, OutageSecond } from "../report.ts";

/** A named part of a load, in milliseconds from its start. */
export interface Span {
  readonly phase: string;
  readonly from: number;
  readonly to: number;
}

/** What clients noticed in each second of a load. */
export function secondsOf(samples: readonly Sample[], seconds: number): OutageSecond[] {
  return Array.from({ length: Math.ceil(seconds) }, (_, second) => {
    const within = samples.filter(({ at }) => Math.floor(at / 1_000) === second);
    return {
      second,
      sent: within.length,
      failed: failedOf(within),
      p50: timeOf(within, 0.5),
      p99: timeOf(within, 0.99),
    };
  });
}

/** What clients noticed in a part of a load. */
export function phaseOf(samples: readonly Sample[], span: Span): OutagePhase {
  const within = samplesIn(samples, span);
  return {
    phase: span.phase,
    p50: timeOf(within, 0.5) ?? 0,
    p99: timeOf(within, 0.99) ?? 0,
    failedShare: failedOf(within) / Math.max(1, within.length),
  };
}

/** The 99th percentile in a part of a load; NaN if nothing was sent in it. */
export function p99In(samples: readonly Sample[], spans: readonly Span[], phase: string): number {
  const span = spans.find((each) => each.phase === phase);
  return (span && timeOf(samplesIn(samples, span), 0.99)) ?? Number.NaN;
}

function samplesIn(samples: readonly Sample[], { from, to }: Span): Sample[] {
  return samples.filter(({ at }) => at >= from && at < to);
}

function timeOf(samples: readonly Sample[], part: number): number | null {
  const times = samples.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  return times.length === 0 ? null : percentile(times, part);
}

function failedOf(samples: readonly Sample[]): number {
  return samples.filter(({ status }) => status !== 201 && status !== 202).length;
}
