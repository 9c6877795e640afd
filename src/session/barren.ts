/** Modules in which a rule has no probes, and why: nothing to trace, or processes died of them. */
import type { UnderspanError } from '../errors.js';
import { MAIN } from '../plan/module-role.js';
import { stampOf } from '../targets/open-file.js';
import type { Crashes } from './crashes.js';
import { isKeyOf, keyOf, type ProbedModule } from './probed-module.js';
import type { TraceRule } from './rule.js';

/** Modules that are remembered. */
const MOST = 10_000;
/** What passes as soon as other probes go. */
export const NO_ROOM = 'TOO_MANY_FUNCTIONS';

interface Reason {
  error: UnderspanError;
  /** Of the file that it holds for. */
  stamp: string;
  /** By which Crashes says how long; null: for as long as the file stays as it is. */
  crash: string | null;
}

export class Barren {
  private readonly reasons = new Map<string, Reason>();

  constructor(
    private readonly crashes: Crashes | null,
    private readonly probed: () => Iterable<ProbedModule>,
  ) {}

  add(key: string, reason: Reason): void {
    this.reasons.set(key, reason);
    const [oldest] = this.reasons.keys();
    if (this.reasons.size > MOST && oldest !== undefined) this.reasons.delete(oldest);
  }

  has(key: string, file: string): boolean {
    const reason = this.reasons.get(key);
    return reason?.stamp === stampOf(file) && !this.isPardoned(reason);
  }

  /** It has not been attached for long enough, or somebody has decided so. */
  private isPardoned({ crash }: Reason): boolean {
    return crash !== null && !this.crashes?.refusal(crash);
  }

  /** Forgets what may be attached again; true if there is any. */
  pardon(): boolean {
    const pardoned = [...this.reasons].filter(([, reason]) => this.isPardoned(reason));
    for (const [key] of pardoned) this.reasons.delete(key);
    return pardoned.length > 0;
  }

  /** Why the module has nothing to trace, if that is known. */
  problem(rule: TraceRule, fileId: string, role = MAIN): UnderspanError | null {
    return this.reasons.get(keyOf(rule, fileId, role))?.error ?? null;
  }

  /** What keeps functions of the rule from being traced. */
  problemsOf(rule: TraceRule): UnderspanError[] {
    const found = [...this.probed()].some((probed) => probed.rule === rule);
    return [...this.reasons]
      .filter(([key, { error, crash }]) => {
        if (crash !== null) return isKeyOf(rule, key);
        if (!key.startsWith(keyOf(rule, '', MAIN))) return false;
        // Where a rule has several modules, not every pattern is meant for all of them.
        return !(found && error.code === 'NO_FUNCTION_MATCHES');
      })
      .map(([, { error }]) => error);
  }

  /** There is room again for what found none. */
  forgetNoRoom(): void {
    for (const [key, { error }] of this.reasons) {
      if (error.code === NO_ROOM) this.reasons.delete(key);
    }
  }

  forget(rule: TraceRule): void {
    for (const key of [...this.reasons.keys()]) {
      if (isKeyOf(rule, key)) this.reasons.delete(key);
    }
  }
}
