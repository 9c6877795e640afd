/** What is to be reached, one row each, and how it is told whether it is. */
export interface Row {
  what: string;
  reach: string;
}

const ROWS = {
  cFloor: {
    what: 'C function compiled with CET, plain C program, statistics only, against the floor',
    reach: '≤ 1.3',
  },
  cSpan: { what: 'the same with a span per call', reach: '≤ 1.5' },
  cPeer: {
    what: "the same against bpftrace's entry/return histogram on that binary",
    reach: '≤ 0.25',
  },
  ownEntry: { what: "our programs' own time, less an empty one's: Go entry", reach: '≤ 300 ns' },
  ownReturn: { what: '… Go return', reach: '≤ 250 ns' },
  ownSpan: { what: '… added by a span', reach: '≤ 150 ns' },
  ownHop: { what: '… by each hop of a context', reach: '≤ 200 ns' },
  goFloor: { what: 'Go framed function, statistics, against the floor', reach: '≤ 1.1' },
  goOthers: {
    what: "the same against probes at the symbol's start and each `ret`",
    reach: '≤ 0.6',
  },
  attach: { what: '5,000 functions attached, against bpftrace', reach: '≤ 0.2' },
  detach: { what: '5,000 functions detached, against bpftrace', reach: '≤ 0.2' },
  startCold: {
    what: 'from `trace attach` typed to attached, 100 functions of a 100 MB Go binary, cold',
    reach: '≤ 1.5 s',
  },
  startWarm: { what: 'the same, warm', reach: '≤ 0.5 s' },
  decoded: { what: 'records decoded to spans, one core', reach: '≥ 400,000/s' },
  exported: {
    what: 'spans exported by OTLP/gRPC to a Collector on the same machine, none lost',
    reach: '≥ 60,000/s',
  },
  loopDelay: { what: 'event-loop delay p99 at that load', reach: '≤ 50 ms' },
  memory: {
    what: 'memory: tracer attached to a 100 MB binary, 5,000 sites, resident and BPF maps together',
    reach: '≤ 120 MB',
  },
  idle: { what: 'CPU of an attached, idle tracer', reach: '≤ 0.5 % of a core' },
  tax: {
    what: 'Go HTTP service at a fixed rate (open loop), 10 traced calls a request, `--max-overhead 5%`: tax',
    reach: '≤ 6 % of a CPU',
  },
  latencyHalf: { what: '… p99 latency against untraced at half load', reach: '≤ 1.05' },
  latencyHigh: { what: '… at 85 %', reach: '≤ 1.1' },
  relief: {
    what: 'governor on a hot `main.*` (a million calls a second): time to relief',
    reach: '≤ 200 ms',
  },
  worstSecond: { what: "… worst second's throughput against untraced", reach: '≥ 0.9' },
  bought: {
    what: 'what a budget buys: calls still counted, against those that it could pay for',
    reach: '≥ 80 %',
  },
  stall: {
    what: "a target's longest stall while 5,000 sites are attached or detached, above untraced",
    reach: '≤ 5 ms',
  },
  partsTax: {
    what: 'Go HTTP service at a fixed rate, with `--waits --gc --allocations` and the default budget: tax',
    reach: '≤ 5 % of a CPU',
  },
  partsLatency: { what: '… p99 latency against untraced, so traced at half load', reach: '≤ 1.05' },
  taxPeer: {
    what: 'the HTTP service without a budget, against the same functions by bpftrace: tax',
    reach: '≤ 0.6',
  },
} satisfies Record<string, Row>;

export type RowName = keyof typeof ROWS;
const NAMES = Object.keys(ROWS) as RowName[];

export interface Measured {
  /** With its unit, median first. */
  text: string;
  /** null: it could not be measured, and the text says why. */
  reached: boolean | null;
}

export type Found = Partial<Record<RowName, Measured>>;

const HEADER = ['what', 'reach', 'measured', 'reached', 'when'];

/** The table anew: rows that were not measured now stay as `before` has them. */
export function renderReach(found: Found, before: string, when: string): string {
  const old = before.split('\n');
  const lines = NAMES.map((name) => {
    const start = rowStart(name);
    return (
      renderRow(name, found[name], when) ??
      old.find((line) => line.startsWith(start)) ??
      `${start} not yet | | |`
    );
  });
  return [`| ${HEADER.join(' | ')} |`, `|${'---|'.repeat(HEADER.length)}`, ...lines].join('\n');
}

/** Only those that were measured. */
export const renderFound = (found: Found, when: string): string =>
  NAMES.flatMap((name) => renderRow(name, found[name], when) ?? []).join('\n');

const rowStart = (name: RowName): string => `| ${ROWS[name].what} | ${ROWS[name].reach} |`;

function renderRow(name: RowName, measured: Measured | undefined, when: string): string | null {
  if (!measured) return null;
  const { text, reached } = measured;
  const told = reached === null ? '' : reached ? 'yes' : '**no**';
  return `${rowStart(name)} ${text} | ${told} | ${when} |`;
}

/** The limit that a row states, as it is written there. */
function limitOf(name: RowName): { atMost: boolean; value: number } {
  const [, sign = '', digits = ''] = /^([≤≥]) ([\d.,]+)/.exec(ROWS[name].reach) ?? [];
  return { atMost: sign === '≤', value: Number(digits.replaceAll(',', '')) };
}

/** A figure against its row's limit; `value` is in the limit's unit. */
export function measured(name: RowName, value: number, text: string): Measured {
  if (Number.isNaN(value)) return { text, reached: null };
  const { atMost, value: limit } = limitOf(name);
  return { text, reached: atMost ? value <= limit : value >= limit };
}

export const notMeasured = (why: string): Measured => ({ text: why, reached: null });
