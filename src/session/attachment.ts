/** One module's programs, loaded with its settings, and their links. */
import { availableParallelism } from 'node:os';
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BpfMap, Features, Module, Native, Programs } from '../native/native.js';
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
  numbersFrom,
} from './encode.js';
import { COOKIE_GENERATION_SHIFT, Governed as Bit, valuePlan } from '../spans/records.generated.js';
import { Governed } from './governed.js';
import { GRACE_MS, SiteLinks, type SiteProgram, wavesOf } from './site-links.js';

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
  'own_stacks',
  'inheritances',
  'statistics',
  'activity',
  'told',
  'trampolines',
  'target_facts',
  'hit_samples',
  'governed',
  'call_waits',
] as const;

/** Maps that all attachments of a rule have in common. */
export const RULE_MAPS = [
  'started_spans',
  'next_tree',
  'call_values',
  'http_requests',
  'http_uncounted',
  'allocation_stacks',
  'allocation_rest',
  'seen_hits',
] as const;

type SessionMap = (typeof SESSION_MAPS)[number];
type SharedMap = SessionMap | (typeof RULE_MAPS)[number];
export type SessionMaps = Record<SessionMap, BpfMap>;
export type SharedMaps = Record<SharedMap, BpfMap>;

const THREAD_MAPS = [
  ...([
    'ring',
    'stacks',
    'own_stacks',
    'inheritances',
    'statistics',
    'activity',
    'governed',
    'call_waits',
  ] as const),
  ...(['next_tree', 'call_values', 'http_requests', 'http_uncounted'] as const),
];

/** Those of them that each object has. */
export const MAPS = {
  go: [...SESSION_MAPS, ...RULE_MAPS],
  native: [
    ...THREAD_MAPS,
    ...(['targets', 'trampolines', 'target_facts', 'hit_samples', 'seen_hits'] as const),
  ],
  threads: [...THREAD_MAPS, 'targets', 'trampolines', 'target_facts', 'hit_samples'],
  schedule: [
    ...(['ring', 'targets', 'stacks', 'own_stacks', 'inheritances', 'statistics'] as const),
    ...(['activity', 'call_waits', 'target_facts', 'hit_samples'] as const),
  ],
  kernel: [...THREAD_MAPS, 'targets', 'told', 'started_spans', 'target_facts', 'hit_samples'],
} as const satisfies Record<ModulePlan['kind'] | 'threads' | 'schedule', readonly SharedMap[]>;

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
   * call is seen to begin whose end would be missed. `hot`: numbers of functions that come last.
   */
  attach(path: string, pid: number | null, hot?: ReadonlySet<number>): Promise<void>;
  /** Whether the function's number is one of its own. */
  has(functionIndex: number): boolean;
  /** To this process, or with null to all. */
  isAttached(pid: number | null): boolean;
  /** Calls of these functions count no more, in any process, until they are restored. */
  withdraw(functions: readonly number[]): Promise<void>;
  /** Of calls of these functions only the entries are seen, until they are restored. */
  count(functions: readonly number[]): Promise<void>;
  restore(functionIndex: number): Promise<void>;
  /** Calls begin no trees, and are only counted. */
  thin(on: boolean): void;
  /** What calls wait for is looked at, or no more. */
  watchWaits(on: boolean): Promise<void>;
  /** No call is counted any more; those that are open may still end. */
  detachEntries(): Promise<void>;
  detach(pid?: number): Promise<void>;
  runTimes(): ReturnType<Programs['runTimes']>;
  close(): void;
}

export class Attachment implements ModuleProbes {
  /** By pid, or null for all processes. */
  private readonly links = new Map<number | null, SiteLinks>();
  /** What the governor has withdrawn. */
  private readonly away = new Set<number>();
  /** Of what it lets only the entries be seen. */
  private readonly counted = new Set<number>();
  /** In how many processes a function's links are being replaced. */
  private readonly replacing = new Map<number, number>();
  /** No call begins any more. */
  private closed = false;
  private watching = true;

  private constructor(
    readonly plan: ModulePlan,
    readonly firstFunction: number,
    readonly number: number,
    private readonly programs: Programs,
    private readonly encoded: EncodedSites,
    private readonly offsetOf: (address: number) => number,
    private readonly governed: Governed,
    /** Sites are attached one by one. */
    private readonly oneByOne: boolean,
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
      programs: programsFor(encoded),
    });
    try {
      fill(programs, plan, encoded, features);
      fillValues(programs, plan, values);
    } catch (error) {
      programs.close();
      throw error;
    }
    const offsetOf = offsets(plan.module);
    return new Attachment(
      plan,
      firstFunction,
      options.attachment,
      programs,
      encoded,
      offsetOf,
      new Governed(shared.governed),
      !features.uprobeMulti,
    );
  }

  async attach(path: string, pid: number | null, hot?: ReadonlySet<number>): Promise<void> {
    const links = new SiteLinks({
      encoded: this.encoded,
      single: this.oneByOne,
      link: (program, sites, generation) =>
        this.programs.attachUprobes(program, {
          path,
          pid,
          offsets: Float64Array.from(sites, ({ address }) => this.offsetOf(address)),
          cookies: Float64Array.from(
            sites,
            ({ index }) => index + generation * 2 ** COOKIE_GENERATION_SHIFT,
          ),
        }),
      isWanted: (program, index) =>
        !this.away.has(index) && !(program === 'leave' && this.counted.has(index)),
      isWatching: () => this.watching,
      onTwice: (functions, twice) => this.twice(functions, twice),
    });
    this.reopen();
    this.links.set(pid, links);
    try {
      await links.attach(wavesOf(this.numbers(), hot));
    } catch (error) {
      this.links.delete(pid);
      throw error;
    }
  }

  async withdraw(functions: readonly number[]): Promise<void> {
    for (const each of functions) this.away.add(each);
    this.governed.set(functions, Bit.WITHDRAWN, true);
    await this.reconcile(functions);
  }

  async count(functions: readonly number[]): Promise<void> {
    for (const each of functions) this.counted.add(each);
    this.governed.set(functions, Bit.COUNTED, true);
    // Calls that have begun may still end.
    await setTimeout(GRACE_MS);
    await this.reconcile(functions);
  }

  async restore(functionIndex: number): Promise<void> {
    const functions = [functionIndex];
    this.away.delete(functionIndex);
    this.counted.delete(functionIndex);
    this.governed.set(functions, Bit.WITHDRAWN, false);
    try {
      await this.reconcile(functions);
    } finally {
      // Only now are all its returns seen.
      if (!this.counted.has(functionIndex)) this.governed.set(functions, Bit.COUNTED, false);
    }
  }

  /** In all processes, also if it fails in some. */
  private async reconcile(functions: readonly number[]): Promise<void> {
    const all = [...this.links.values()].map((links) => links.reconcile(functions));
    const failed = (await Promise.allSettled(all)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  /** The kernel knows it by function, while each process's links are replaced for themselves. */
  private twice(functions: Iterable<number>, twice: boolean): void {
    const changed: number[] = [];
    for (const each of functions) {
      const count = (this.replacing.get(each) ?? 0) + (twice ? 1 : -1);
      if (count === 0) this.replacing.delete(each);
      else this.replacing.set(each, count);
      if (count === (twice ? 1 : 0)) changed.push(each);
    }
    this.governed.set(changed, Bit.TWICE, twice);
  }

  thin(on: boolean): void {
    this.governed.set(this.numbers(), Bit.THINNED, on);
  }

  /** Calls know it before the probes go, and after they are there. */
  async watchWaits(on: boolean): Promise<void> {
    this.watching = on;
    if (!on) this.governed.set(this.numbers(), Bit.UNWATCHED, true);
    await Promise.all([...this.links.values()].map((links) => links.rewatch()));
    if (this.watching) this.governed.set(this.numbers(), Bit.UNWATCHED, false);
  }

  private numbers(): number[] {
    return this.plan.functions.map((_, index) => this.firstFunction + index);
  }

  has(functionIndex: number): boolean {
    const index = functionIndex - this.firstFunction;
    return index >= 0 && index < this.plan.functions.length;
  }

  isAttached(pid: number | null): boolean {
    return this.links.has(pid) || this.links.has(null);
  }

  detachEntries(): Promise<void> {
    // Links stay for now: those of both ends are closed at once, and the kernel takes its time.
    const { keys, values } = encodeClosed(this.encoded);
    if (keys.length > 0) this.programs.map('sites').updateMany(keys, values);
    this.closed = true;
    return Promise.resolve();
  }

  /** It is attached again after all. */
  private reopen(): void {
    if (!this.closed) return;
    this.closed = false;
    const { count, sites } = this.encoded;
    this.programs.map('sites').updateMany(numbersFrom(0, count), sites);
  }

  async detach(pid?: number): Promise<void> {
    const keys = pid === undefined ? [...this.links.keys()] : [pid];
    const gone = keys.flatMap((key) => this.links.get(key) ?? []);
    // At once: the pid may be used again before the kernel is done.
    for (const key of keys) this.links.delete(key);
    await Promise.all(gone.map((links) => links.detach()));
  }

  runTimes(): ReturnType<Programs['runTimes']> {
    return this.programs.runTimes();
  }

  close(): void {
    this.governed.clear();
    this.programs.close();
    this.plan.module.close();
  }
}

/** Those that have sites: each one takes the verifier a tenth of a second, or several. */
function programsFor(encoded: EncodedSites): SiteProgram[] {
  const { entries, returns, support, watch, around } = encoded;
  const sites = { enter: entries, leave: returns, support: [...support, ...watch], around };
  return (Object.keys(sites) as SiteProgram[]).filter((program) => sites[program].length > 0);
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
  const { entries, returns, support, watch } = encoded;
  const all = [...entries, ...returns, ...support, ...watch];
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
