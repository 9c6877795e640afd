/** One module's programs, loaded with its settings, and their links. */
import { availableParallelism } from 'node:os';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { BpfMap, Features, Link, Module, Native, Programs } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import {
  encodeClosed,
  encodeContextTypes,
  encodeErrorTexts,
  encodeSettings,
  encodeSites,
  encodeValues,
  type EncodedSites,
  type KernelOptions,
  type NumberedSite,
  numbersFrom,
} from './encode.js';
import { valuePlan } from '../spans/records.generated.js';

/** Compiled objects lie beside the addon, whether run from a checkout or installed. */
const OBJECTS = fileURLToPath(new URL('../../../build/bpf/', import.meta.url));

export function objectPath(name: string, { atomics, sleepable }: Features): string {
  const kind = !atomics ? '.legacy' : sleepable ? '' : '.awake';
  return `${OBJECTS}${name}${kind}.bpf.o`;
}

/** Maps that all rules of a session have in common. */
export const SESSION_MAPS = [
  'ring',
  'targets',
  'stacks',
  'inheritances',
  'statistics',
  'told',
  'trampolines',
] as const;

/** Maps that all attachments of a rule have in common. */
export const RULE_MAPS = [
  'started_spans',
  'next_tree',
  'call_values',
  'http_requests',
  'http_uncounted',
] as const;

type SharedMap = (typeof SESSION_MAPS)[number] | (typeof RULE_MAPS)[number];
export type SharedMaps = Record<SharedMap, BpfMap>;

const THREAD_MAPS = [
  ...(['ring', 'stacks', 'inheritances', 'statistics'] as const),
  ...(['next_tree', 'call_values', 'http_requests', 'http_uncounted'] as const),
];

/** Those of them that each object has. */
export const MAPS: Record<ModulePlan['kind'] | 'threads', readonly SharedMap[]> = {
  go: [...SESSION_MAPS, ...RULE_MAPS],
  native: [...THREAD_MAPS, 'targets', 'trampolines'],
  threads: THREAD_MAPS,
  kernel: [...THREAD_MAPS, 'targets', 'told', 'started_spans'],
};

/**
 * Shards of the statistics. Before compare-and-exchange each CPU needs its own; with it, a few
 * keep CPUs from waiting for each other's cache lines.
 */
export function shardCount(features: Features): number {
  const wanted = features.atomics
    ? Math.min(availableParallelism(), 8)
    : Math.max(availableParallelism(), 1);
  return 2 ** Math.ceil(Math.log2(wanted));
}

/** The probes of one rule in one module. */
export interface ModuleProbes {
  readonly plan: ModulePlan;
  readonly firstFunction: number;
  /** By which the map `targets` names it. */
  readonly number: number;
  /**
   * Attaches to one process, or to all that run the module. Returns before entries, so that no
   * call is seen to begin whose end would be missed.
   */
  attach(path: string, pid: number | null): Promise<void>;
  /** Whether the function's number is one of its own. */
  has(functionIndex: number): boolean;
  /** To this process, or with null to all. */
  isAttached(pid: number | null): boolean;
  /** No call is counted any more; those that are open may still end. */
  detachEntries(): Promise<void>;
  detach(pid?: number): Promise<void>;
  runTimes(): ReturnType<Programs['runTimes']>;
  close(): void;
}

interface Links {
  /** null: taken back, or it has none. */
  entries: Link | null;
  others: Link[];
}

export class Attachment implements ModuleProbes {
  /** By pid, or null for all processes. */
  private readonly links = new Map<number | null, Links>();

  private constructor(
    readonly plan: ModulePlan,
    readonly firstFunction: number,
    readonly number: number,
    private readonly programs: Programs,
    private readonly encoded: EncodedSites,
    private readonly offsetOf: (address: number) => number,
  ) {}

  static async load(
    native: Native,
    features: Features,
    plan: ModulePlan,
    firstFunction: number,
    options: KernelOptions,
    shared: SharedMaps,
    threadStacks: BpfMap | null,
  ): Promise<Attachment> {
    const encoded = encodeSites(plan, firstFunction);
    const values = encodeValues(plan);
    const maps: Record<string, { maxEntries?: number; reuse?: BpfMap }> = {
      sites: { maxEntries: Math.max(1, encoded.count) },
      site_by_address: { maxEntries: features.cookies ? 1 : Math.max(1, encoded.count) },
      function_values: { maxEntries: Math.max(1, plan.functions.length) },
      value_plans: { maxEntries: Math.max(1, values.plans.length / valuePlan.size) },
      error_texts: { maxEntries: Math.max(1, plan.layout?.errorTexts.length ?? 0) },
    };
    if (plan.layout) {
      maps['context_types'] = { maxEntries: Math.max(1, 2 * plan.layout.contextTypes.length) };
    }
    for (const name of MAPS[plan.kind]) maps[name] = { reuse: shared[name] };
    if (threadStacks) maps['thread_stacks'] = { reuse: threadStacks };
    const programs = await native.load({
      object: objectPath(plan.kind, features),
      settings: encodeSettings(
        plan,
        firstFunction,
        options,
        features,
        randomBytes(8).readBigUInt64LE(),
      ),
      maps,
      attach: features.uprobeMulti ? 'multi' : 'perf',
      sleepable: features.sleepable,
      programs: ['enter', 'leave', 'support', ...(encoded.around.length > 0 ? ['around'] : [])],
    });
    try {
      fill(programs, plan, encoded, features);
      fillValues(programs, plan, values);
    } catch (error) {
      programs.close();
      throw error;
    }
    const offsetOf = offsets(plan.module);
    return new Attachment(plan, firstFunction, options.attachment, programs, encoded, offsetOf);
  }

  async attach(path: string, pid: number | null): Promise<void> {
    const link = (program: string, sites: NumberedSite[]): Promise<Link> =>
      this.programs.attachUprobes(program, {
        path,
        pid,
        offsets: Float64Array.from(sites, ({ address }) => this.offsetOf(address)),
        cookies: Float64Array.from(sites, ({ index }) => index),
      });
    const { support, returns, entries, around } = this.encoded;
    const made: Links = { entries: null, others: [] };
    try {
      if (support.length > 0) made.others.push(await link('support', support));
      if (returns.length > 0) made.others.push(await link('leave', returns));
      if (around.length > 0) made.others.push(await link('around', around));
      if (entries.length > 0) made.entries = await link('enter', entries);
    } catch (error) {
      await Promise.all(made.others.map((each) => each.detach()));
      throw error;
    }
    this.links.set(pid, made);
  }

  has(functionIndex: number): boolean {
    const index = functionIndex - this.firstFunction;
    return index >= 0 && index < this.plan.functions.length;
  }

  isAttached(pid: number | null): boolean {
    return this.links.has(pid) || this.links.has(null);
  }

  async detachEntries(): Promise<void> {
    // One link has both ends of these calls.
    const { keys, values } = encodeClosed(this.encoded);
    if (keys.length > 0) this.programs.map('sites').updateMany(keys, values);
    const gone = [...this.links.values()].map(({ entries }) => entries);
    for (const links of this.links.values()) links.entries = null;
    await Promise.all(gone.map((entries) => entries?.detach()));
  }

  async detach(pid?: number): Promise<void> {
    const keys = pid === undefined ? [...this.links.keys()] : [pid];
    const gone = keys.flatMap((key) => {
      const links = this.links.get(key);
      return links ? [links.entries, ...links.others] : [];
    });
    // At once: the pid may be used again before the kernel is done.
    for (const key of keys) this.links.delete(key);
    await Promise.all(gone.map((link) => link?.detach()));
  }

  runTimes(): ReturnType<Programs['runTimes']> {
    return this.programs.runTimes();
  }

  close(): void {
    this.programs.close();
    this.plan.module.close();
  }
}

function fill(
  programs: Programs,
  { layout }: ModulePlan,
  encoded: EncodedSites,
  features: Features,
): void {
  programs.map('sites').updateMany(numbersFrom(0, encoded.count), encoded.sites);
  if (layout) {
    const { keys, values } = encodeContextTypes(layout);
    if (keys.length > 0) programs.map('context_types').updateMany(keys, values);
  }
  if (!features.cookies) indexByAddress(programs.map('site_by_address'), encoded);
}

function fillValues(
  programs: Programs,
  plan: ModulePlan,
  { plans, functions }: { plans: Buffer; functions: Buffer },
): void {
  if (plans.length > 0) {
    programs.map('value_plans').updateMany(numbersFrom(0, plans.length / valuePlan.size), plans);
  }
  if (functions.length > 0) {
    programs.map('function_values').updateMany(numbersFrom(0, plan.functions.length), functions);
  }
  if (!plan.layout) return;
  const texts = encodeErrorTexts(plan.layout);
  if (texts.keys.length > 0) programs.map('error_texts').updateMany(texts.keys, texts.values);
}

function indexByAddress(map: BpfMap, encoded: EncodedSites): void {
  const all = [...encoded.entries, ...encoded.returns, ...encoded.support];
  const keys = Buffer.alloc(all.length * 8);
  const values = Buffer.alloc(all.length * 4);
  all.forEach(({ address, index }, i) => {
    keys.writeBigUInt64LE(BigInt(address), i * 8);
    values.writeUInt32LE(index, i * 4);
  });
  map.updateMany(keys, values);
}

/** From an address to its place in the file. Sites come from executable segments only. */
function offsets(module: Module): (address: number) => number {
  const segments = module.facts.segments.filter(({ executable }) => executable);
  return (address) => {
    const segment = segments.find(
      (each) => address >= each.address && address < each.address + each.fileSize,
    );
    if (!segment) throw new Error(`address ${address.toString(16)} lies in no executable segment`);
    return address - segment.address + segment.offset;
  };
}
