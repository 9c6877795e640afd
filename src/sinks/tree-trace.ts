/** One trace as lines: the program's own spans and ours, nested, in the order they began. */
import type { FunctionSpan, ProcessResource, ProgramSpan, SpanEvent } from '../spans/span.js';
import { count, duration, type Paint, plural, printable, width } from './tree-format.js';

interface Node {
  spanId: string;
  parentSpanId: string | null;
  name: string;
  startNs: bigint;
  /** null: not known, of a span that was only named as a parent. */
  durationNs: number | null;
  /** Of the program's own SDK. */
  program: boolean;
  error: boolean;
  incomplete: boolean;
  /** What it waited for by itself, and who let it; '': nothing for long. */
  waited: string;
  /** Calls that it stands for. */
  times: number;
  children: Node[];
}

interface Line {
  indent: string;
  node: Node;
  /** More than 1: that many alike, in one line. */
  times: number;
  durationNs: number | null;
}

/** So many alike in a row become one line. */
const FOLD = 4;
const MIN_WIDTH = 40;
const MAX_WIDTH = 110;
/** Room at the end of a line for " × 1,234", a duration and a mark. */
const TAIL = 34;

export class TraceView {
  readonly spanIds = new Set<string>();
  private readonly nodes: Node[] = [];
  private resource: ProcessResource | null = null;
  functionSpans = 0;

  constructor(readonly traceId: string) {}

  get size(): number {
    return this.nodes.length;
  }

  addProgramSpan(span: ProgramSpan): void {
    const durationNs = Number(span.endTimeUnixNano - span.startTimeUnixNano);
    this.add(span, {
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      name: span.name === '' ? unnamed(span.spanId) : printable(span.name),
      startNs: span.startTimeUnixNano,
      durationNs,
      program: true,
      error: false,
      incomplete: false,
      waited: '',
      times: 1,
      children: [],
    });
  }

  addFunctionSpan(span: FunctionSpan): void {
    this.functionSpans++;
    const folded = foldedIn(span);
    this.add(span, {
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      name: printable(span.name),
      startNs: span.startTimeUnixNano,
      durationNs: folded?.totalNs ?? span.durationNano,
      program: false,
      error: span.status.code === 'error',
      incomplete: span.attributes['underspan.incomplete'] === true,
      waited: waitOf(span),
      times: folded?.count ?? 1,
      children: [],
    });
  }

  /** `omitted`: spans of this trace that there was no room for. */
  render(paint: Paint, columns: number, omitted: number): string[] {
    const lines: Line[] = [];
    for (const root of this.roots()) collect([root], '', true, lines);
    const limit = Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, columns - TAIL));
    const texts = lines.map((line) => cut(line.indent + label(line), limit));
    const column = texts.reduce((most, text) => Math.max(most, width(text)), 0);
    const times = lines.map(({ durationNs }) => (durationNs === null ? '' : duration(durationNs)));
    const timeColumn = times.reduce((most, time) => Math.max(most, width(time)), 0);
    const rendered = lines.map((line, index) => {
      const text = texts[index] ?? '';
      const { node } = line;
      const marks = [node.error ? 'error' : '', node.incomplete ? 'incomplete' : '']
        .filter((mark) => mark !== '')
        .join(', ');
      const waited = node.waited === '' ? '' : `  ${paint.dim(node.waited)}`;
      const painted = node.error ? paint.red(text) : node.program ? paint.bold(text) : text;
      const gap = ' '.repeat(column - width(text));
      const tail = `${gap}  ${paint.dim((times[index] ?? '').padStart(timeColumn))}${waited}${marks && `  ${paint.red(marks)}`}`;
      return (painted + tail).trimEnd();
    });
    if (omitted > 0) rendered.push(paint.dim(`… ${plural(omitted, 'more span')} of this trace`));
    return [paint.dim(this.title()), ...rendered, ''];
  }

  private add(span: { resource: ProcessResource }, node: Node): void {
    this.resource ??= span.resource;
    if (this.spanIds.has(node.spanId)) return;
    this.spanIds.add(node.spanId);
    this.nodes.push(node);
  }

  private title(): string {
    const service = this.resource?.attributes['service.name'];
    const of = typeof service === 'string' ? `  ${printable(service)}` : '';
    return `trace ${this.traceId}${of}`;
  }

  private roots(): Node[] {
    const byId = new Map<string, Node>();
    for (const node of this.nodes) byId.set(node.spanId, { ...node, children: [] });
    // A call's parent that was not seen itself stands as a line without a duration. The parent of
    // the program's own outermost span is in another process, and is not shown.
    for (const { parentSpanId, program, startNs } of this.nodes) {
      if (program || parentSpanId === null) continue;
      const parent = byId.get(parentSpanId);
      if (!parent) byId.set(parentSpanId, unseen(parentSpanId, startNs));
      else if (parent.durationNs === null && startNs < parent.startNs) parent.startNs = startNs;
    }
    const roots: Node[] = [];
    for (const node of [...byId.values()].sort(byStart)) {
      const parent = node.parentSpanId === null ? undefined : byId.get(node.parentSpanId);
      if (parent && parent !== node) parent.children.push(node);
      else roots.push(node);
    }
    return roots;
  }
}

function unseen(spanId: string, startNs: bigint): Node {
  return {
    spanId,
    parentSpanId: null,
    name: unnamed(spanId),
    startNs,
    durationNs: null,
    program: true,
    error: false,
    incomplete: false,
    waited: '',
    times: 1,
    children: [],
  };
}

/** The longest of its waits: "mutex 640ms, by main.(*Ledger).Audit". */
function waitOf({ events = [] }: FunctionSpan): string {
  const nsOf = ({ attributes }: SpanEvent): number =>
    Number(attributes['underspan.wait.duration'] ?? 0);
  const [longest] = events
    .filter(({ name }) => name === 'underspan.wait')
    .sort((a, b) => nsOf(b) - nsOf(a));
  if (!longest) return '';
  const { attributes } = longest;
  const by = attributes['underspan.wait.by.function'];
  const reason = String(attributes['underspan.wait.reason']).replaceAll('_', ' ');
  const whose = typeof by === 'string' ? `, by ${printable(by)}` : '';
  return `${reason} ${duration(nsOf(longest))}${whose}`;
}

/** How many calls a span stands for, and for how much time; null: for one. */
function foldedIn({ attributes }: FunctionSpan): { count: number; totalNs: number } | null {
  const count = attributes['underspan.folded.count'];
  const totalNs = attributes['underspan.folded.total'];
  return typeof count === 'number' && typeof totalNs === 'number' ? { count, totalNs } : null;
}

function unnamed(spanId: string): string {
  return `span ${spanId.slice(0, 8)}…`;
}

function byStart(a: Node, b: Node): number {
  return a.startNs < b.startNs ? -1 : a.startNs > b.startNs ? 1 : 0;
}

function label({ node, times }: Line): string {
  const name = node.program ? `● ${node.name}` : node.name;
  return times > 1 ? `${name} × ${count(times)}` : name;
}

/** Alike are siblings of one name, none of which has anything beneath it or went wrong. */
function isPlainLeaf(node: Node): boolean {
  return node.children.length === 0 && !node.error && !node.incomplete && node.waited === '';
}

function runOf(siblings: readonly Node[], from: number): number {
  const first = siblings[from];
  if (!first || !isPlainLeaf(first)) return 1;
  let end = from + 1;
  for (let next = siblings[end]; next; next = siblings[end]) {
    if (next.name !== first.name || next.program !== first.program || !isPlainLeaf(next)) break;
    end++;
  }
  return end - from;
}

function collect(siblings: readonly Node[], indent: string, isRoot: boolean, lines: Line[]): void {
  for (let index = 0; index < siblings.length;) {
    const node = siblings[index];
    if (!node) return;
    const run = runOf(siblings, index);
    const all = siblings.slice(index, index + run);
    const calls = all.reduce((sum, { times }) => sum + times, 0);
    const alike = run > 1 && calls >= FOLD ? all : all.slice(0, 1);
    const isLast = index + alike.length === siblings.length;
    const durationNs =
      alike.length === 1
        ? node.durationNs
        : alike.reduce((sum, sibling) => sum + (sibling.durationNs ?? 0), 0);
    const times = alike.length === 1 ? node.times : calls;
    const branch = isRoot ? '' : isLast ? '└─ ' : '├─ ';
    lines.push({ indent: indent + branch, node, times, durationNs });
    collect(node.children, isRoot ? indent : indent + (isLast ? '   ' : '│  '), false, lines);
    index += alike.length;
  }
}

function cut(text: string, limit: number): string {
  const characters = [...text];
  return characters.length <= limit ? text : `${characters.slice(0, limit - 1).join('')}…`;
}
