/** The maps of each rule, and what the kernel counts in them. */
import type { ModuleProbes } from './attachment.js';
import {
  type CountedRest,
  type CountedStack,
  forgetAllocationStacks,
  readAllocationRest,
  readAllocationStacks,
} from './allocation-stacks.js';
import { forgetHttpRequests, type HttpRequests, readHttpRequests } from './http-requests.js';
import type { TraceRule } from './rule.js';
import type { RuleMaps } from './rule-maps.js';
import type { Session } from './session.js';

export class MapsByRule {
  private readonly maps = new Map<TraceRule, Promise<RuleMaps>>();

  constructor(private readonly session: Session) {}

  /** Common to all modules of the rule. */
  of(rule: TraceRule): Promise<RuleMaps> {
    let maps = this.maps.get(rule);
    if (!maps) {
      maps = this.session.addRule({
        readsArguments: rule.request.values.args.length > 0,
        allocations: rule.options.allocations,
      });
      this.maps.set(rule, maps);
    }
    return maps;
  }

  /** HTTP requests of all rules. */
  async httpRequests(): Promise<HttpRequests[]> {
    const maps = await Promise.all(this.maps.values());
    const read = await Promise.all(maps.map(({ maps }) => readHttpRequests(maps.http_requests)));
    return read.flat();
  }

  /** Requests of the rule that found no room among those. */
  async httpUncounted(rule: TraceRule): Promise<number> {
    const maps = await this.maps.get(rule);
    return maps ? Number(maps.maps.http_uncounted.read(0, 1).readBigUInt64LE()) : 0;
  }

  /** Where calls allocated, of all rules that ask for it; null: none does. */
  async allocations(): Promise<{ stacks: CountedStack[]; rest: CountedRest } | null> {
    const all = await this.allocationMaps();
    if (all.length === 0) return null;
    const stacks = await Promise.all(
      all.map(({ maps }) => readAllocationStacks(maps.allocation_stacks)),
    );
    const rests = all.map(({ maps }) => readAllocationRest(maps.allocation_rest));
    const sum = (of: (rest: CountedRest) => number): number =>
      rests.reduce((total, rest) => total + of(rest), 0);
    const rest = { bytes: sum(({ bytes }) => bytes), samples: sum(({ samples }) => samples) };
    return { stacks: stacks.flat(), rest };
  }

  private allocationMaps(): Promise<RuleMaps[]> {
    const looking = [...this.maps].filter(([rule]) => rule.options.allocations);
    return Promise.all(looking.map(([, maps]) => maps));
  }

  /** What is counted for functions of the rule whose numbers will be those of others. */
  async forgetFunctions(rule: TraceRule, { firstFunction, plan }: ModuleProbes): Promise<void> {
    const count = plan.functions.length;
    const { maps } = await this.of(rule);
    await forgetHttpRequests(maps.http_requests, firstFunction, count);
    // A call of one rule may allocate where another looks.
    for (const { maps } of await this.allocationMaps()) {
      await forgetAllocationStacks(maps.allocation_stacks, firstFunction, count);
    }
  }

  /** The rule is gone, and so are its probes. */
  async forget(rule: TraceRule): Promise<void> {
    const maps = this.maps.get(rule);
    this.maps.delete(rule);
    // If they could not be made, whoever needed them has been told.
    await (await maps?.catch(() => null))?.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.maps.keys()].map((rule) => this.forget(rule)));
  }
}
