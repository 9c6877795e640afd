/** Why each probe of a plan is where it is, and what it costs. */
import { callCostNs, siteCostNs, spanCostNs, type Way, wayOf } from './cost.js';
import type { HostCosts } from './host-costs.js';
import type { ModulePlan } from './plan.js';
import type { Site } from './sites.js';

export interface ExplainedSite {
  address: number;
  /** As assemblers write it; null: of the kernel. */
  instruction: string | null;
  way: Way;
  /** Of a hit, without our own program. */
  ns: number;
  /** Why it is single-stepped; null: it is not. */
  whyDear: string | null;
}

export interface ExplainedFunction {
  name: string;
  address: number;
  entry: ExplainedSite;
  returns: ExplainedSite[];
  /** What the return of a call adds whose return address is replaced; null: it has return sites. */
  trampolineNs: number | null;
  /** Why its calls are only counted; null: their returns are seen. */
  entryOnly: string | null;
  /** Of a call, our own programs included: with statistics alone, and with a span. */
  callNs: number;
  spanNs: number;
}

export interface ExplainedSupport extends ExplainedSite {
  /** The function it lies in. */
  name: string;
}

export interface ExplainedPlan {
  functions: ExplainedFunction[];
  support: ExplainedSupport[];
}

export async function explain(plan: ModulePlan, costs: HostCosts): Promise<ExplainedPlan> {
  const { functions, support, kind, module } = plan;
  const sites = [...functions.flatMap(({ entry, returns }) => [entry, ...returns]), ...support];
  const addresses = [...new Set(sites.map(({ address }) => address))];
  const texts = kind === 'kernel' ? [] : await module.disassemble(Float64Array.from(addresses));
  const instructions = new Map(addresses.map((address, index) => [address, texts[index] ?? null]));
  const explainSite = (site: Site, whyDear: string): ExplainedSite => {
    const way = wayOf(site, costs);
    return {
      address: site.address,
      instruction: instructions.get(site.address) ?? null,
      way,
      ns: siteCostNs(site, costs),
      whyDear: way === 'single-stepped' ? (site.whyDear ?? whyDear) : null,
    };
  };
  return {
    functions: functions.map((fn) => ({
      name: fn.name,
      address: fn.address,
      entry: explainSite(fn.entry, 'is all of the function'),
      returns: fn.returns.map((site) => explainSite(site, whyReturnIsDear(site))),
      trampolineNs: fn.trampoline ? costs.trampolineNs - costs.emulatedNs : null,
      entryOnly: fn.entryOnly,
      callNs: callCostNs(fn, costs),
      spanNs: spanCostNs(fn, costs),
    })),
    support: support.map((site) => ({
      ...explainSite(site, 'no other instruction tells the same'),
      name: site.name,
    })),
  };
}

function whyReturnIsDear({ plainReturn }: Site): string {
  if (plainReturn) return 'no program may carry out a ret here';
  return plainReturn === false
    ? 'it is no ret of one byte'
    : 'a jump through memory is not emulated';
}
