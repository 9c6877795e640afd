/** Whether the programs load in each way that a kernel allows, with no branch left out. */
import { parseSpanCondition } from '../../src/spans/span-condition.js';
import type { Features, LoadOptions, Native, NativeError } from '../../src/native/native.js';
import type { GoLayout, ModulePlan } from '../../src/plan/plan.js';
import { objectPath } from '../../src/session/attachment.js';
import { encodeSettings, type KernelOptions } from '../../src/session/encode.js';
import { SiteKind } from '../../src/spans/records.generated.js';

/** What only a module's plan knows, made up: nothing is zero, so that the verifier sees it all. */
const LAYOUT: GoLayout = {
  version: 'go1.26',
  goidOffset: 152,
  labelsOffset: 352,
  labelsAreMap: false,
  waitKinds: Array.from({ length: 64 }, (_, reason) => reason % 16),
  currentOffset: 184,
  threadOffset: -8,
  requestContextOffset: 248,
  valueItab: 0x1000,
  keyType: 0x2000,
  contextInterface: 0x3000,
  spanTypes: Array.from({ length: 3 }, (_, index) => ({
    name: `span${index}`,
    type: 0x4000 + index,
    contextOffset: 192,
    nameOffset: 40,
    parentOffset: 72,
    tracerOffset: 8,
    remoteOffset: 128,
    statusOffset: 160,
    attributesOffset: 256,
  })),
  contextTypes: [],
  errorTexts: [],
  resource: null,
};

/** All that a plan can turn on. */
const PLAN = {
  kind: 'go',
  layout: LAYOUT,
  module: { facts: { positionIndependent: true } },
  functions: [{ values: { arguments: [], results: [], error: null, stackTrace: true } }],
  support: [{ kind: SiteKind.PARK }],
} as unknown as ModulePlan;

const OPTIONS: Omit<KernelOptions, 'perfBuffers'> = {
  minDurationNs: 1,
  spanAttributes:
    parseSpanCondition(null, ['span.attr.a == 1', 'span.attr.b == 2'])?.attributes ?? [],
  sampleThreshold: 1n,
  maxRate: 1000,
  roots: false,
  unsampled: false,
  entryOnly: false,
  contextHops: 100,
  errorText: true,
  emulateReturns: true,
  returnTrampoline: true,
  waits: true,
  gc: true,
  allocations: true,
  keepsWaits: true,
  allocationStacks: true,
  programSpans: true,
  filterTargets: true,
  attachment: 1,
  shards: 2,
};

export interface Way {
  attach: LoadOptions['attach'];
  sleepable: boolean;
  perfBuffers: boolean;
}

/** Programs sleep where the kernel lets them, and only there: never with perf buffers. */
export function ways({ uprobeMulti, sleepable }: Features): Way[] {
  return (['perf', 'multi'] as const)
    .filter((attach) => attach === 'perf' || uprobeMulti)
    .flatMap((attach) => [
      { attach, sleepable, perfBuffers: false },
      { attach, sleepable: false, perfBuffers: true },
    ]);
}

export const wayName = ({ attach, sleepable, perfBuffers }: Way): string =>
  [attach, ...(sleepable ? ['sleepable'] : []), ...(perfBuffers ? ['perf buffers'] : [])].join('+');

/**
 * Loads the programs for Go, those for native functions, and those that watch the kernel's scheduler,
 * that way; rejects with the verifier's words.
 */
export async function loadOnce(native: Native, features: Features, way: Way): Promise<void> {
  const session = way.attach === 'multi' && features.uprobeSession ? ['around'] : [];
  await loadObject(native, features, way, 'go', PLAN, undefined);
  const programs = ['enter', 'leave', 'support', ...session];
  const plan = { ...PLAN, layout: null };
  await loadObject(native, features, way, 'native', plan, programs);
  await loadObject(native, features, way, 'schedule', plan, undefined);
}

async function loadObject(
  native: Native,
  features: Features,
  way: Way,
  object: 'go' | 'native' | 'schedule',
  plan: ModulePlan,
  wanted: string[] | undefined,
): Promise<void> {
  try {
    const programs = await native.load({
      object: objectPath(object, { ...features, sleepable: way.sleepable }),
      settings: encodeSettings(plan, 1, { ...OPTIONS, perfBuffers: way.perfBuffers }, features, 1n),
      maps: way.perfBuffers ? { ring: { perfBuffers: true } } : {},
      attach: way.attach,
      sleepable: way.sleepable,
      ...(wanted ? { programs: wanted } : {}),
    });
    programs.close();
  } catch (error) {
    const { message, log } = error as NativeError;
    throw new Error(`${wayName(way)}, ${object}: ${message}\n${log ?? ''}`, { cause: error });
  }
}
