import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** A span as the shop saw it. */
export interface TruthContext {
  trace: string;
  span: string;
  sampled: boolean;
}

export interface TruthCall {
  seq: number;
  function: string;
  goroutine: number;
  order: number;
  time: bigint;
  /** seq of the innermost call open on this goroutine, whether traced or not. */
  around: number | null;
  context: TruthContext | null;
  current: TruthContext | null;
  /** When it ended; null: it was still running. */
  end: bigint | null;
}

export interface TruthSpan {
  name: string;
  trace: string;
  span: string;
  parent: string | null;
  goroutine: number;
  order: number;
  time: bigint;
}

/** The `go` statement that started a goroutine. */
export interface TruthGoroutine {
  goroutine: number;
  parent: number;
  order: number;
  time: bigint;
  /** As in a call, on the parent. */
  around: number | null;
  current: TruthContext | null;
}

/** What the shop's log says; test/targets/README.md describes the format. */
export class Truth {
  readonly calls = new Map<number, TruthCall>();
  readonly spans = new Map<string, TruthSpan>();
  readonly goroutines = new Map<number, TruthGoroutine>();

  static async read(path: string): Promise<Truth> {
    const truth = new Truth();
    const ends = new Map<number, bigint>();
    const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity });
    for await (const line of lines) truth.add(line, ends);
    return truth.close(ends);
  }

  static parse(text: string): Truth {
    const truth = new Truth();
    const ends = new Map<number, bigint>();
    for (const line of text.split('\n')) if (line !== '') truth.add(line, ends);
    return truth.close(ends);
  }

  private add(line: string, ends: Map<number, bigint>): void {
    const event = JSON.parse(line) as TruthEvent;
    const time = BigInt(event.time);
    if (event.event === 'call') this.calls.set(event.seq, { ...event, time, end: null });
    else if (event.event === 'span') this.spans.set(event.span, { ...event, time });
    else if (event.event === 'go') this.goroutines.set(event.goroutine, { ...event, time });
    // Lines are in no strict order, so the call may be yet to come.
    else if (event.event === 'return') ends.set(event.seq, time);
  }

  private close(ends: Map<number, bigint>): this {
    for (const [seq, end] of ends) {
      const call = this.calls.get(seq);
      if (call) call.end = end;
    }
    return this;
  }
}

type TruthEvent =
  | ({ event: 'call'; time: string } & Omit<TruthCall, 'time' | 'end'>)
  | ({ event: 'span'; time: string } & Omit<TruthSpan, 'time'>)
  | { event: 'return'; seq: number; time: string; unwound: boolean }
  | ({ event: 'go'; time: string } & Omit<TruthGoroutine, 'time'>)
  | { event: 'end'; span: string; time: string };

/** Generic functions have one body for many types, and go by `name[...]`. */
export function plainName(name: string): string {
  return name.replace(/\[.*\]/, '[...]');
}
