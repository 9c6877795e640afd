/** The rules of a configuration as the engine takes them; what did not change stays the same object. */
import { UnderspanError } from '../errors.js';
import { CONTINUE_OTHERS, mayContinueOthers } from '../native/host.js';
import type { Features } from '../native/native.js';
import { hasGuard } from '../session/holds.js';
import type { TraceRule } from '../session/rule.js';
import { ruleOf, type TraceWishes } from '../session/wishes.js';
import type { Procfs } from '../targets/procfs.js';
import type { Workloads } from '../targets/workload.js';
import type { AgentConfig, RuleConfig } from './config/config.js';
import { nameBeginsWith } from './config/glob.js';
import { selectsOf } from './selects.js';

export interface RuleSetOptions {
  features: Features;
  procfs: Procfs;
  workloads: Workloads;
}

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
    const before = this.known;
    this.known = new Map();
    return rules.map((config) => {
      const text = JSON.stringify([config, limits.functions]);
      const rule = before.get(text) ?? this.make(config, limits.functions);
      this.known.set(text, rule);
      return rule;
    });
  }

  private make(config: RuleConfig, maxFunctions: number): TraceRule {
    const { features, procfs, workloads } = this.options;
    const wishes: TraceWishes = { ...config.trace, handlers: config.http, maxFunctions };
    return ruleOf(wishes, features, {
      id: `${config.name}#${++this.made}`,
      name: config.name,
      ...selectsOf(config.select, procfs, workloads),
      followExecs: false,
      hold: config.hold ? config.select.executables.map(nameBeginsWith) : [],
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
