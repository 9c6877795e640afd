/**
 * Counts spans by what the program's own span around them says. No tree waits for that: only its
 * sums do, until the program's spans around it have ended.
 *
 * The innermost span that has a value decides. A request is the outermost span that has it too, so
 * that one whose spans all carry it is counted once.
 */
import type { Call, ProgramSpanRecord } from './call.js';
import { EnclosingSpans, type EnclosingSpansOptions, type Hanging } from './enclosing-spans.js';
import { ContextSource, ParentKind } from './records.generated.js';
import type { AttributeValue } from './span.js';
import type { SpanKey } from './span-key.js';
import {
  addTimes,
  type Times,
  type ValueCounts,
  ValueTable,
  type ValueTableOptions,
} from './value-table.js';

export interface SpansByValueOptions
  extends
    Pick<EnclosingSpansOptions<Group>, 'waitNs' | 'maxBytes' | 'maxEnded' | 'now'>,
    ValueTableOptions {
  key: SpanKey;
  /** Of a function, by its number. */
  nameOf: (functionIndex: number) => string;
  /** Calls that have not come, and beneath which some have. */
  maxOpen?: number;
}

/** Calls that hang from one span of the program's own, or from a call that has not come. */
interface Group extends Hanging {
  /** ParentKind of the outermost of them. */
  parentKind: number;
  functionIndex: number;
  times: Times;
  /** Of the outermost. */
  durationNs: number;
  /** Undefined: no span around them has one so far. Null: it could not be read. */
  value: AttributeValue | null | undefined;
  /** The outermost span with this value so far; where none has one, the outermost of all. */
  request: ProgramSpanRecord | null;
}

/** About what a group takes in memory, and each of its functions. */
const GROUP_BYTES = 500;
const FUNCTION_BYTES = 150;

export class SpansByValue {
  private readonly table: ValueTable;
  private readonly around: EnclosingSpans<Group>;
  /** By the id of the call that has not come, the oldest first. */
  private readonly beneath = new Map<string, Group>();
  private readonly maxOpen: number;

  constructor(private readonly options: SpansByValueOptions) {
    this.table = new ValueTable(options);
    this.maxOpen = options.maxOpen ?? 10_000;
    this.around = new EnclosingSpans({
      maxBytes: 16 << 20,
      ...options,
      visit: (group, span) => this.visit(group, span),
      visited: (group) => this.count(group),
      givenUp: (group) => this.giveUp(group),
      bytesOf: ({ times }) => GROUP_BYTES + FUNCTION_BYTES * times.size,
    });
  }

  get key(): string {
    return this.options.key.text;
  }

  get waits(): boolean {
    return this.around.waits;
  }

  /** Calls of a tree that go out at once; those around them may be yet to come. */
  add(calls: readonly Call[]): void {
    for (const [id, group] of this.groupsOf(calls)) {
      if (group.parentKind === ParentKind.PROGRAM) this.around.add(group);
      else if (group.parentKind === ParentKind.CALL) this.keep(id, group);
      else this.count(group);
    }
  }

  spanEnded(span: ProgramSpanRecord): void {
    this.around.spanEnded(span);
  }

  /** Gives up what has waited for too long; to be called a few times a second. */
  tick(): void {
    this.around.tick();
  }

  /** No more calls come and no more spans end, or none of these. */
  finish(isOver: (group: Pick<Group, 'tgid' | 'functionIndex'>) => boolean = () => true): void {
    for (const [id, group] of this.beneath) {
      if (!isOver(group)) continue;
      this.beneath.delete(id);
      this.giveUp(group);
    }
    this.around.finish(isOver);
  }

  /** `most` values, by the time of their requests; the rest is together. */
  rows(most: number): ValueCounts[] {
    return this.table.rows(most);
  }

  /** By the id of what they hang from. */
  private groupsOf(calls: readonly Call[]): Map<string, Group> {
    const outermost = outermostOf(calls);
    const groups = new Map<string, Group>();
    for (const call of calls) {
      const top = outermost(call);
      const id = top.parentKind === ParentKind.NONE ? top.spanId : top.parentId;
      let group = groups.get(id);
      if (!group) groups.set(id, (group = groupOf(top)));
      if (call === top) group.durationNs += call.durationNs;
      const { fold, durationNs } = call;
      addTimes(group.times, this.options.nameOf(call.function), {
        calls: fold?.count ?? 1,
        totalNs: fold?.totalNs ?? durationNs,
        maxNs: fold?.slowestNs ?? durationNs,
      });
      const before = this.beneath.get(call.spanId);
      if (!before) continue;
      this.beneath.delete(call.spanId);
      addAll(group.times, before.times);
    }
    return groups;
  }

  /** The call around runs on, and comes when it has ended. */
  private keep(id: string, group: Group): void {
    const known = this.beneath.get(id);
    if (known) {
      known.durationNs += group.durationNs;
      addAll(known.times, group.times);
      return;
    }
    this.beneath.set(id, group);
    if (this.beneath.size <= this.maxOpen) return;
    for (const [oldest, group] of this.beneath) {
      this.beneath.delete(oldest);
      return this.giveUp(group);
    }
  }

  /** False: a span further out may have the same value. */
  private visit(group: Group, span: ProgramSpanRecord): boolean {
    const value = this.options.key.valueOf(span);
    if (group.value === undefined || group.value === value) {
      group.value = value;
      group.request = span;
    }
    return false;
  }

  /** What a span within has said holds all the same. */
  private giveUp(group: Group): void {
    if (group.value !== undefined) return this.count(group);
    this.count({ ...group, value: null, request: null });
  }

  private count({ value, times, request, durationNs }: Group): void {
    const ns = request ? Number(request.endNs - request.startNs) : durationNs;
    this.table.add(value, times, request, ns);
  }
}

/** As far out as the calls around it are among these, and hang from no span of the program's own. */
function outermostOf(calls: readonly Call[]): (call: Call) => Call {
  const byId = new Map(calls.map((call) => [call.spanId, call]));
  const known = new Map<Call, Call>();
  const outermost = (call: Call): Call => {
    const before = known.get(call);
    if (before) return before;
    // Ends here should ids ever form a circle.
    known.set(call, call);
    const around = call.parentKind === ParentKind.CALL ? byId.get(call.parentId) : undefined;
    const found = around ? outermost(around) : call;
    known.set(call, found);
    return found;
  };
  return outermost;
}

const groupOf = ({ traceId, parentId, tgid, parentKind, source, function: fn }: Call): Group => ({
  ...{ traceId, parentId, tgid, parentKind, functionIndex: fn, times: new Map(), durationNs: 0 },
  value: parentKind === ParentKind.NONE && source === ContextSource.UNREADABLE ? null : undefined,
  request: null,
});

function addAll(to: Times, times: Times): void {
  for (const [name, added] of times) addTimes(to, name, added);
}
