/** A request, folded to what is compared with others: calls of one function beneath one are one step. */
import type { AttributeValue } from '../spans/span.js';
import {
  ALLOCATED,
  BLOCKED_REASONS,
  isBlockedReason,
  TIME_REASONS,
  type TimeReason,
  type Times,
  timesOf,
  WAIT_BY_FUNCTION,
  WAIT_BY_TRACE,
  WAIT_DURATION,
  WAIT_EVENT,
  WAIT_REASON,
} from '../spans/time-attributes.js';
import type { Request } from './tree.js';
import { type CallNode, MAX_DEPTH } from './waiters.js';

export interface Step {
  name: string;
  calls: number;
  /** That the request waited for it alone, and with what ran beneath it. */
  selfNs: number;
  totalNs: number;
  /** What selfNs was spent on, as far as spans say. */
  times: Times;
  allocated: number;
  errors: number;
  beneath: Map<string, Step>;
}

/** A long wait, and who ended it. */
export interface Wait {
  function: string;
  reason: TimeReason;
  durationNs: number;
  byFunction: string | null;
  byTraceId: string | null;
}

export interface Failure {
  function: string;
  type: string | null;
  message: string | null;
}

export interface Profile {
  request: string;
  /** By the program, and not after its outermost call. */
  isNamed: boolean;
  traceId: string;
  startNs: number;
  durationNs: number;
  root: Step;
  waits: Wait[];
  /** Where an error came up first; null: there was none. */
  failure: Failure | null;
  /** What was asked for, and by whom: attributes of the program's spans, and arguments. */
  marks: Map<string, string>;
  incomplete: boolean;
}

const MAX_WAITS = 16;
const MAX_MARKS = 64;
const MAX_MARK_LENGTH = 200;

export function profileOf(request: Request): Profile {
  const root = newStep(request.name);
  root.calls = 1;
  root.selfNs = request.elsewhereNs;
  root.totalNs = request.durationNs;
  for (const node of request.calls) fold(root, node, 0);
  return {
    request: request.name,
    isNamed: request.isNamed,
    traceId: request.traceId,
    startNs: Number(request.startUnixNano),
    durationNs: request.durationNs,
    root,
    waits: waitsOf(request.all),
    failure: failureOf(request.all),
    marks: marksOf(request),
    incomplete: request.all.some(({ span }) => span.attributes['underspan.incomplete'] === true),
  };
}

function newStep(name: string): Step {
  return {
    name,
    calls: 0,
    selfNs: 0,
    totalNs: 0,
    times: {},
    allocated: 0,
    errors: 0,
    beneath: new Map(),
  };
}

export function stepBeneath(step: Step, name: string): Step {
  let found = step.beneath.get(name);
  if (!found) step.beneath.set(name, (found = newStep(name)));
  return found;
}

/** Returns how long the request waited for the call and all beneath it. */
function fold(above: Step, node: CallNode, depth: number): number {
  const step = stepBeneath(above, node.span.name);
  step.calls++;
  step.selfNs += node.criticalNs;
  if (node.span.status.code === 'error') step.errors++;
  const times = ownTimes(node);
  if (times) addTimes(step.times, times);
  step.allocated += ownAllocated(node);
  let total = node.criticalNs;
  if (depth < MAX_DEPTH) {
    for (const each of [...node.own, ...node.others]) total += fold(step, each, depth + 1);
  }
  step.totalNs += total;
  return total;
}

export function addTimes(to: Times, times: Times, share = 1): void {
  for (const reason of TIME_REASONS) {
    const ns = times[reason];
    if (ns) to[reason] = (to[reason] ?? 0) + ns * share;
  }
}

/** Of the call alone, and no more than the request waited for. */
function ownTimes({ span, own, criticalNs }: CallNode): Times | null {
  const times = timesOf(span.attributes);
  if (!times) return null;
  for (const { span: beneath } of own) {
    const inner = timesOf(beneath.attributes);
    if (!inner) continue;
    for (const reason of TIME_REASONS) {
      if (inner[reason]) times[reason] = Math.max(0, (times[reason] ?? 0) - inner[reason]);
    }
  }
  // What it waited for others that are traced too is theirs.
  let excess = sum(times, TIME_REASONS) - criticalNs;
  for (const reasons of [WAITS_FOR_OTHERS, TIME_REASONS]) {
    const all = sum(times, reasons);
    if (excess <= 0 || all <= 0) continue;
    const kept = Math.max(0, 1 - excess / all);
    for (const reason of reasons) if (times[reason]) times[reason] *= kept;
    excess -= all * (1 - kept);
  }
  return times;
}

const WAITS_FOR_OTHERS = BLOCKED_REASONS.filter((reason) =>
  ['semaphore', 'condition', 'channel_receive', 'channel_send', 'select'].includes(reason),
);

const sum = (times: Times, reasons: readonly TimeReason[]): number =>
  reasons.reduce((total, reason) => total + (times[reason] ?? 0), 0);

function ownAllocated({ span, own }: CallNode): number {
  const bytes = (node: CallNode['span']): number => {
    const value = node.attributes[ALLOCATED];
    return typeof value === 'number' ? value : 0;
  };
  return Math.max(
    0,
    own.reduce((rest, node) => rest - bytes(node.span), bytes(span)),
  );
}

function waitsOf(nodes: readonly CallNode[]): Wait[] {
  const text = (value: AttributeValue | undefined): string | null =>
    typeof value === 'string' ? value : null;
  const waits: Wait[] = [];
  for (const { span } of nodes) {
    for (const { name, attributes } of span.events ?? []) {
      const reason = attributes[WAIT_REASON];
      if (name !== WAIT_EVENT || !isBlockedReason(reason)) continue;
      waits.push({
        function: span.name,
        reason,
        durationNs: Number(attributes[WAIT_DURATION] ?? 0),
        byFunction: text(attributes[WAIT_BY_FUNCTION]),
        byTraceId: text(attributes[WAIT_BY_TRACE]),
      });
    }
  }
  return waits.sort((a, b) => b.durationNs - a.durationNs).slice(0, MAX_WAITS);
}

/** The first call that failed and called nothing that did. */
function failureOf(nodes: readonly CallNode[]): Failure | null {
  const failed = ({ span }: CallNode): boolean => span.status.code === 'error';
  let first: CallNode | null = null;
  for (const node of nodes) {
    if (!failed(node) || node.own.some(failed) || node.others.some(failed)) continue;
    if (!first || node.end < first.end) first = node;
  }
  if (!first) return null;
  const { name, status, attributes } = first.span;
  const type = attributes['error.type'];
  return {
    function: name,
    type: typeof type === 'string' ? type : null,
    message: status.message ?? null,
  };
}

function marksOf({ all, programSpans }: Request): Map<string, string> {
  const marks = new Map<string, string>();
  const add = (key: string, value: AttributeValue): void => {
    if (marks.size < MAX_MARKS && !marks.has(key)) {
      marks.set(key, String(value).slice(0, MAX_MARK_LENGTH));
    }
  };
  for (const { attributes = {} } of programSpans) {
    for (const [key, value] of Object.entries(attributes)) add(key, value);
  }
  for (const { span } of all) {
    for (const [key, value] of Object.entries(span.attributes)) {
      if (key.startsWith('underspan.arg.')) add(key, value);
    }
  }
  return marks;
}
