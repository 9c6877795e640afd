import type { Truth, TruthCall, TruthContext } from './truth.js';

/** What the rule of docs/architecture.md demands for a call, before any span is looked at. */
export interface ExpectedCall {
  call: TruthCall;
  parent: { kind: 'none' } | { kind: 'span'; id: string } | { kind: 'call'; call: ExpectedCall };
  /** A trace id; or the outermost call, which began a trace of its own. */
  trace: string | TruthCall;
  source: 'go.context' | 'go.sdk' | 'go.goroutine' | 'none';
  /** Of the context that it had found itself. */
  contextId: string | null;
  sampled: boolean;
}

export interface Watched {
  /** Plain names of the functions that were traced: only they are anybody's parent. */
  traced: ReadonlySet<string>;
  /** When tracing began; what began before was not seen. */
  since?: bigint;
}

/** Applies the rule to every call that was watched, in the order of their beginnings. */
export function expectedCalls(truth: Truth, watched: Watched): ExpectedCall[] {
  const since = watched.since ?? 0n;
  const expected = new Map<number, ExpectedCall>();
  const calls = [...truth.calls.values()].sort((a, b) => a.order - b.order);
  for (const call of calls) {
    if (!watched.traced.has(call.function) || call.time < since) continue;
    const around = callAround(call.around, truth, expected);
    expected.set(call.seq, expectCall(call, around, truth, since, expected));
  }
  return [...expected.values()];
}

/** The innermost of those that were watched, from `innermost` outwards. */
function callAround(
  innermost: number | null,
  truth: Truth,
  expected: ReadonlyMap<number, ExpectedCall>,
): ExpectedCall | null {
  for (let seq = innermost; seq !== null; seq = truth.calls.get(seq)?.around ?? null) {
    const around = expected.get(seq);
    if (around) return around;
  }
  return null;
}

function expectCall(
  call: TruthCall,
  around: ExpectedCall | null,
  truth: Truth,
  since: bigint,
  expected: ReadonlyMap<number, ExpectedCall>,
): ExpectedCall {
  const currentStart = call.current && truth.spans.get(call.current.span);
  const current = currentStart && currentStart.time >= since ? call.current : null;
  const context = call.context ?? current;
  const found = call.context ? 'go.context' : current ? 'go.sdk' : null;
  const contextId = context?.span ?? null;

  if (around && (!context || !wasChosen())) {
    const source = found ?? around.source;
    const { trace, sampled } = around;
    return { call, parent: { kind: 'call', call: around }, trace, source, contextId, sampled };
  }
  if (context)
    return {
      call,
      parent: { kind: 'span', id: context.span },
      trace: context.trace,
      source: found ?? 'none',
      contextId,
      sampled: context.sampled,
    };
  const inherited = inheritedBy(call.goroutine, truth, since, expected);
  if (inherited && !around)
    return {
      call,
      parent: { kind: 'span', id: inherited.span },
      trace: inherited.trace,
      source: 'go.goroutine',
      contextId: inherited.span,
      sampled: inherited.sampled,
    };
  return { call, parent: { kind: 'none' }, trace: call, source: 'none', contextId, sampled: true };

  /** Whether the context was opened since the call around began, or is one from another trace. */
  function wasChosen(): boolean {
    if (!context || !around || context.span === around.contextId) return false;
    const opened = (truth.spans.get(context.span)?.order ?? 0) > around.call.order;
    // A span that is merely current was not chosen by the code.
    return opened || (found === 'go.context' && context.trace !== around.trace);
  }
}

/** The program's span where the goroutine was started, as a call there would have found it. */
function inheritedBy(
  goroutine: number,
  truth: Truth,
  since: bigint,
  expected: ReadonlyMap<number, ExpectedCall>,
): TruthContext | null {
  const started = truth.goroutines.get(goroutine);
  if (!started || started.time < since) return null;
  const around = callAround(started.around, truth, expected);
  const span = started.current && truth.spans.get(started.current.span);
  const current = span && span.time >= since ? started.current : null;
  const newer = current && (!around || (span?.order ?? 0) > around.call.order);
  if (newer) return current;
  if (around?.contextId && typeof around.trace === 'string') {
    return { trace: around.trace, span: around.contextId, sampled: around.sampled };
  }
  return current ?? inheritedBy(started.parent, truth, since, expected);
}
