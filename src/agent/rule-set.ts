/** The rules of a configuration as the engine takes them; what did not change stays the same object. */
import { UnderspanError } from '../errors.js';
import { CONTINUE_OTHERS, mayContinueOthers } from '../native/host.js';
import type { Features } from '../native/native.js';
import type { HostCosts } from '../plan/host-costs.js';
import { hasGuard } from '../session/hold-guard.js';
import type { TraceRule } from '../session/rule.js';
import { functionsAtMost, ruleOf, type TraceWishes } from '../session/wishes.js';
import { MAX_HOLD_NAMES } from '../spans/records.generated.js';
import type { Procfs } from '../targets/procfs.js';
import type { Workloads } from '../targets/workload.js';
import { type AgentConfig, MAX_FUNCTIONS, type RuleConfig } from './config/config.js';
import { nameBeginsWith } from './config/glob.js';
import { selectsOf } from './selects.js';

export interface RuleSetOptions {
  features: Features;
  costs: HostCosts;
  procfs: Procfs;
  workloads: Workloads;
}

const holdNames = ({ hold, select }: RuleConfig): string[] =>
  hold ? select.executables.map(nameBeginsWith) : [];

export class RuleSet {
  private known = new Map<string, TraceRule>();
  private made = 0;

  constructor(private readonly options: RuleSetOptions) {}

  /**
   * In the order of the file, which decides where several rules select a process. Throws where what
   * a rule wants is not permitted.
   */
  from({ rules, limits }: AgentConfig): TraceRule[] {
    const holding = rules.find(({ hold }) => hold);
    if (holding) requireHold(holding.name);
    const names = new Set(rules.flatMap(holdNames));
    if (names.size > MAX_HOLD_NAMES) {
      throw new UnderspanError(
        'usage',
        'TOO_MANY_HOLD_NAMES',
        `rules hold processes of ${names.size} different file names, and the kernel side has room for ${MAX_HOLD_NAMES}`,
        "let rules that hold share the beginnings of file names in 'executable', or leave out hold",
      );
    }
    const known = new Map<string, TraceRule>();
    for (const config of rules) {
      const most = limits.functions ?? functionsAtMost(this.options.features, MAX_FUNCTIONS);
      const text = JSON.stringify([config, most]);
      known.set(text, this.known.get(text) ?? this.make(config, most));
    }
    // Only now: where one cannot be made, all others stay the same objects.
    this.known = known;
    return [...known.values()];
  }

  private make(config: RuleConfig, maxFunctions: number): TraceRule {
    const { features, costs, procfs, workloads } = this.options;
    const wishes: TraceWishes = {
      ...config.trace,
      ...{ handlers: config.http, maxFunctions },
      // Rules have no summary.
      by: null,
    };
    return ruleOf(wishes, features, costs, {
      id: `${config.name}#${++this.made}`,
      name: config.name,
      ...selectsOf(config.select, procfs, workloads),
      followExecs: false,
      hold: holdNames(config),
    });
  }
}

function requireHold(rule: string): void {
  if (!mayContinueOthers()) {
    throw new UnderspanError(
      'not-permitted',
      'HOLD_NOT_PERMITTED',
      `rule '${rule}' holds processes, and this user may not let those of others go on`,
      `grant ${CONTINUE_OTHERS}, or leave out hold`,
    );
  }
  if (!hasGuard()) {
    throw new UnderspanError(
      'unsupported',
      'HOLD_WITHOUT_SHELL',
      `rule '${rule}' holds processes, and there is no /bin/sh to let them go on should the agent die`,
      'run the agent where there is one, or leave out hold',
    );
  }
}
