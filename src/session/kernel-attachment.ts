/** The programs for functions of the kernel, loaded with a rule's settings, and their links. */
import { randomBytes } from 'node:crypto';
import { UnderspanError } from '../errors.js';
import type { BpfMap, Features, Link, LoadOptions, Native, Programs } from '../native/native.js';
import { addressOf } from '../plan/kernel-functions.js';
import { type KernelWay, kernelWay, symbolOf } from '../plan/kernel-plan.js';
import type { ModulePlan, PlannedFunction } from '../plan/plan.js';
import { settings as settingsLayout, valuePlan } from '../spans/records.generated.js';
import { MAPS, type ModuleProbes, objectPath, type SharedMaps } from './attachment.js';
import { encodeSettings, encodeValues, type KernelOptions, numbersFrom } from './encode.js';

/** A function with its number, which is its cookie. */
interface Numbered extends PlannedFunction {
  number: number;
}

/** Programs, and the functions that they are for. */
interface Loaded {
  programs: Programs;
  functions: Numbered[];
}

export class KernelAttachment implements ModuleProbes {
  private links: { entries: Link[]; others: Link[] } | null = null;

  private constructor(
    readonly plan: ModulePlan,
    readonly firstFunction: number,
    readonly number: number,
    private readonly way: KernelWay,
    private readonly loaded: readonly Loaded[],
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
    return new KernelAttachment(plan, firstFunction, options.attachment, way, loaded);
  }

  /** For all processes: the programs tell targets from others. Returns before entries. */
  async attach(): Promise<void> {
    const suffix = this.way === 'trampoline' ? '_trampoline' : '';
    const made: { entries: Link[]; others: Link[] } = { entries: [], others: [] };
    try {
      for (const { programs, functions } of this.loaded) {
        const sites = {
          addresses: BigUint64Array.from(functions, ({ address }) => addressOf(address)),
          cookies: Float64Array.from(functions, ({ number }) => number),
        };
        if (functions.some(({ returns }) => returns.length > 0)) {
          made.others.push(
            await programs.attachKernel(`leave${suffix}`, { ...sites, returns: true }),
          );
        }
        made.entries.push(
          await programs.attachKernel(`enter${suffix}`, { ...sites, returns: false }),
        );
      }
    } catch (error) {
      await Promise.all([...made.entries, ...made.others].map((link) => link.detach()));
      throw error;
    }
    this.links = made;
  }

  has(functionIndex: number): boolean {
    const index = functionIndex - this.firstFunction;
    return index >= 0 && index < this.plan.functions.length;
  }

  isAttached(): boolean {
    return this.links !== null;
  }

  async detachEntries(): Promise<void> {
    const gone = this.links?.entries.splice(0) ?? [];
    await Promise.all(gone.map((link) => link.detach()));
  }

  /** Not from one process: it is no target any more then. */
  async detach(pid?: number): Promise<void> {
    if (pid !== undefined) return;
    const gone = this.links ? [...this.links.entries, ...this.links.others] : [];
    this.links = null;
    await Promise.all(gone.map((link) => link.detach()));
  }

  runTimes(): ReturnType<Programs['runTimes']> {
    return this.loaded.flatMap(({ programs }) => programs.runTimes());
  }

  close(): void {
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
