/**
 * What Go's runtime says that a goroutine waits for. Its reasons are numbers that are numbered anew
 * now and then; a test compares the table with the sources of each version.
 */
import { MAX_WAIT_REASONS, WaitKind } from '../spans/records.generated.js';

const KINDS = new Map<string, number>([
  ['GC assist marking', WaitKind.GC_ASSIST],
  ['GC assist wait', WaitKind.GC_ASSIST],
  ['IO wait', WaitKind.NETWORK],
  ['chan receive (nil chan)', WaitKind.CHANNEL_RECEIVE],
  ['chan receive', WaitKind.CHANNEL_RECEIVE],
  ['chan send (nil chan)', WaitKind.CHANNEL_SEND],
  ['chan send', WaitKind.CHANNEL_SEND],
  ['select', WaitKind.SELECT],
  ['select (no cases)', WaitKind.SELECT],
  ['semacquire', WaitKind.SEMAPHORE],
  ['sleep', WaitKind.SLEEP],
  ['sync.Cond.Wait', WaitKind.CONDITION],
  ['sync.WaitGroup.Wait', WaitKind.CONDITION],
  ['sync.Mutex.Lock', WaitKind.MUTEX],
  ['sync.RWMutex.RLock', WaitKind.MUTEX],
  ['sync.RWMutex.Lock', WaitKind.MUTEX],
]);

const FIRST = [
  ...['', 'GC assist marking', 'IO wait', 'chan receive (nil chan)', 'chan send (nil chan)'],
  ...['dumping heap', 'garbage collection', 'garbage collection scan', 'panicwait', 'select'],
  ...['select (no cases)', 'GC assist wait', 'GC sweep wait', 'GC scavenge wait', 'chan receive'],
  ...['chan send', 'finalizer wait', 'force gc (idle)'],
];
const COMMON = ['semacquire', 'sleep', 'sync.Cond.Wait'];
const LOCKS = ['sync.Mutex.Lock', 'sync.RWMutex.RLock', 'sync.RWMutex.Lock'];
const GROUP = 'sync.WaitGroup.Wait';
const UPDATER = 'GOMAXPROCS updater (idle)';
const FROM_26 = [
  ...['', 'GC assist marking', 'IO wait', 'dumping heap', 'garbage collection'],
  ...['garbage collection scan', 'panicwait', 'GC assist wait', 'GC sweep wait'],
  ...['GC scavenge wait', 'finalizer wait', 'force gc (idle)', UPDATER, 'semacquire', 'sleep'],
  ...['chan receive (nil chan)', 'chan send (nil chan)', 'select (no cases)', 'select'],
  ...['chan receive', 'chan send', 'sync.Cond.Wait', ...LOCKS, GROUP],
];

/** By the first minor version; up to the last that calls wait for: others are of the runtime itself. */
export const WAIT_REASONS: readonly (readonly [minor: number, reasons: readonly string[]])[] = [
  [18, [...FIRST, ...COMMON]],
  [20, [...FIRST, ...COMMON, ...LOCKS]],
  [24, [...FIRST, ...COMMON, ...LOCKS, GROUP]],
  [25, [...FIRST, UPDATER, ...COMMON, ...LOCKS, GROUP]],
  [26, FROM_26],
];

/** WaitKind by the runtime's number, for as many as there may be. */
export function waitKinds(minor: number): number[] {
  const [, reasons] = WAIT_REASONS.findLast(([since]) => since <= minor) ?? [0, []];
  return Array.from(
    { length: MAX_WAIT_REASONS },
    (_, reason) => KINDS.get(reasons[reason] ?? '') ?? WaitKind.OTHER,
  );
}
