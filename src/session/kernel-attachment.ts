/** The programs for functions of the kernel, loaded with a rule's settings, and their links. */
import { randomBytes } from 'node:crypto';
import { UnderspanError } from '../errors.js';
import type { BpfMap, Features, Link, LoadOptions, Native, Programs } from '../native/native.js';
import { addressOf } from '../plan/kernel-functions.js';
import { type KernelWay, kernelWay, symbolOf } from '../plan/kernel-plan.js';
import type { ModulePlan, PlannedFunction } from '../plan/plan.js';
import {
  Governed as Bit,
  settings as settingsLayout,
  valuePlan,
} from '../spans/records.generated.js';
import { MAPS, type ModuleProbes, objectPath, type SharedMaps } from './attachment.js';
import { encodeSettings, encodeValues, type KernelOptions, numbersFrom } from './encode.js';
import { Governed } from './governed.js';
import { WorkQueue } from './work-queue.js';

/** A function with its number, which is its cookie. */
interface Numbered extends PlannedFunction {
  number: number;
}

/** Programs, and the functions that they are for. */
interface Loaded {
  programs: Programs;
  functions: Numbered[];
}

/** The links of what was loaded together. */
interface Group {
  loaded: Loaded;
  entries: Link[];
  others: Link[];
}

async function close({ entries, others }: Group): Promise<void> {
  await Promise.all([...entries.splice(0), ...others.splice(0)].map((link) => link.detach()));
}

export class KernelAttachment implements ModuleProbes {
  private groups: readonly Group[] | null = null;
  /** What the governor has withdrawn. */
  private readonly away = new Set<number>();
  private readonly work = new WorkQueue();

  private constructor(
    readonly plan: ModulePlan,
    readonly firstFunction: number,
    readonly number: number,
    private readonly way: KernelWay,
    private readonly loaded: readonly Loaded[],
    private readonly governed: Governed,
  ) {}

  static async load(
    native: Native,
    features: Features,
    plan: ModulePlan,
    firstFunction: number,
    options: KernelOptions,
    shared: SharedMaps,
    threadStacks: BpfMap,
  ): Promise<KernelAttachment> {
    const way = kernelWay(features, plan.functions.length);
    const functions = plan.functions.map((each, index) => ({
      ...each,
      number: firstFunction + index,
    }));
    const seed = randomBytes(8).readBigUInt64LE();
    const settings = encodeSettings(plan, firstFunction, options, features, seed);
    settings.writeUInt32LE(await distance(native, way), settingsLayout.returnDistance);
    const maps: LoadOptions['maps'] = {
      site_by_address: { maxEntries: features.cookies ? 1 : functions.length },
      thread_stacks: { reuse: threadStacks },
    };
    for (const name of MAPS.kernel) maps[name] = { reuse: shared[name] };
    const common = {
      // Probes in the kernel must not sleep.
      object: objectPath('kernel', { ...features, sleepable: false }),
      maps,
      attach: 'perf',
      sleepable: false,
      kprobeMulti: way === 'multi',
    } as const;
    const loaded: Loaded[] = [];
    const load = async (some: Numbered[], more: Partial<LoadOptions>): Promise<void> => {
      const values = encodeValues({ ...plan, functions: some });
      const sizes = {
        function_values: { maxEntries: some.length },
        value_plans: { maxEntries: Math.max(1, values.plans.length / valuePlan.size) },
      };
      const programs = await native.load({ ...common, ...more, maps: { ...maps, ...sizes } });
      loaded.push({ programs, functions: some });
      if (!features.cookies) indexByAddress(programs.map('site_by_address'), some);
      fillValues(programs, some.length, values);
    };
    try {
      if (way !== 'trampoline') await load(functions, { settings, programs: ['enter', 'leave'] });
      for (const each of way === 'trampoline' ? functions : []) {
        const own = Buffer.from(settings);
        own.writeBigUInt64LE(BigInt(each.number), settingsLayout.firstFunction);
        own.writeUInt8(each.parameters ?? 0, settingsLayout.arguments);
        await load([each], {
          settings: own,
          kernelFunction: symbolOf(each.name),
          programs: ['enter_trampoline', 'leave_trampoline'],
        });
      }
    } catch (error) {
      for (const { programs } of loaded) programs.close();
      throw error;
    }
    const governed = new Governed(shared.governed);
    return new KernelAttachment(plan, firstFunction, options.attachment, way, loaded, governed);
  }

  /** For all processes: the programs tell targets from others. */
  async attach(): Promise<void> {
    const groups: Group[] = [];
    try {
      for (const loaded of this.loaded) groups.push(await this.open(loaded));
    } catch (error) {
      await Promise.all(groups.map(close));
      throw error;
    }
    this.groups = groups;
  }

  /** Returns before entries. */
  private async open(loaded: Loaded): Promise<Group> {
    const suffix = this.way === 'trampoline' ? '_trampoline' : '';
    const group: Group = { loaded, entries: [], others: [] };
    const functions = loaded.functions.filter(({ number }) => !this.away.has(number));
    if (functions.length === 0) return group;
    const sites = {
      addresses: BigUint64Array.from(functions, ({ address }) => addressOf(address)),
      cookies: Float64Array.from(functions, ({ number }) => number),
    };
    const link = (program: string, returns: boolean): Promise<Link> =>
      loaded.programs.attachKernel(`${program}${suffix}`, { ...sites, returns });
    try {
      if (functions.some(({ returns }) => returns.length > 0)) {
        group.others.push(await link('leave', true));
      }
      group.entries.push(await link('enter', false));
    } catch (error) {
      await close(group);
      throw error;
    }
    return group;
  }

  async withdraw(functions: readonly number[]): Promise<void> {
    for (const each of functions) this.away.add(each);
    this.governed.set(functions, Bit.WITHDRAWN, true);
    await this.work.add(() => this.replace(functions));
  }

  /** Their entries cost about as much as their returns: there is nothing between all and nothing. */
  count(functions: readonly number[]): Promise<void> {
    return this.withdraw(functions);
  }

  async restore(functionIndex: number): Promise<void> {
    this.away.delete(functionIndex);
    this.governed.set([functionIndex], Bit.WITHDRAWN, false);
    await this.work.add(() => this.replace([functionIndex]));
  }

  /** The links of the groups that have one of these, by such as have what is present now. */
  private async replace(functions: readonly number[]): Promise<void> {
    const changed = new Set(functions);
    for (const group of this.groups ?? []) {
      if (!group.loaded.functions.some(({ number }) => changed.has(number))) continue;
      const all = group.loaded.functions.map(({ number }) => number);
      this.governed.set(all, Bit.TWICE, true);
      try {
        const next = await this.open(group.loaded);
        this.groups = this.groups?.map((each) => (each === group ? next : each)) ?? null;
        if (!this.groups) await close(next);
        await close(group);
      } finally {
        this.governed.set(all, Bit.TWICE, false);
      }
    }
  }

  thin(on: boolean): void {
    const all = this.plan.functions.map((_, index) => this.firstFunction + index);
    this.governed.set(all, Bit.THINNED, on);
  }

  watchWaits(on: boolean): Promise<void> {
    const all = this.plan.functions.map((_, index) => this.firstFunction + index);
    this.governed.set(all, Bit.UNWATCHED, !on);
    return Promise.resolve();
  }

  has(functionIndex: number): boolean {
    const index = functionIndex - this.firstFunction;
    return index >= 0 && index < this.plan.functions.length;
  }

  isAttached(): boolean {
    return this.groups !== null;
  }

  async detachEntries(): Promise<void> {
    await this.work.add(async () => {
      const gone = this.groups?.flatMap(({ entries }) => entries.splice(0)) ?? [];
      await Promise.all(gone.map((link) => link.detach()));
    });
  }

  /** Not from one process: it is no target any more then. */
  async detach(pid?: number): Promise<void> {
    if (pid !== undefined) return;
    await this.work.add(async () => {
      const gone = this.groups ?? [];
      this.groups = null;
      await Promise.all(gone.map(close));
    });
  }

  runTimes(): ReturnType<Programs['runTimes']> {
    return this.loaded.flatMap(({ programs }) => programs.runTimes());
  }

  close(): void {
    this.governed.clear();
    for (const { programs } of this.loaded) programs.close();
  }
}

/** Where a call's return address lies must be the same at its entry and its return. */
async function distance(native: Native, way: KernelWay): Promise<number> {
  if (way === 'trampoline') return 0;
  const found = await native.kernelReturnDistance(way === 'multi');
  if (found !== null) return found;
  throw new UnderspanError(
    'unsupported',
    'KERNEL_FUNCTIONS_UNSUPPORTED',
    'functions of the kernel cannot be traced here: what its return probes see could not be found out',
    "leave out the patterns that begin with 'kernel:'",
  );
}

function indexByAddress(map: BpfMap, functions: readonly Numbered[]): void {
  const keys = Buffer.alloc(functions.length * 8);
  const values = Buffer.alloc(functions.length * 4);
  functions.forEach(({ address, number }, index) => {
    keys.writeBigUInt64LE(addressOf(address), index * 8);
    values.writeUInt32LE(number, index * 4);
  });
  map.updateMany(keys, values);
}

function fillValues(
  programs: Programs,
  count: number,
  { plans, functions }: ReturnType<typeof encodeValues>,
): void {
  programs.map('function_values').updateMany(numbersFrom(0, count), functions);
  if (plans.length === 0) return;
  programs.map('value_plans').updateMany(numbersFrom(0, plans.length / valuePlan.size), plans);
}
