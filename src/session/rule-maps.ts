/** What a rule's attachments have in common: rates hold for all of them together. */
import type { BpfMap, Features, Link, Native, Programs } from '../native/native.js';
import { settings as settingsLayout } from '../spans/records.generated.js';
import { MAPS, objectPath, RULE_MAPS, type SharedMaps } from './attachment.js';
import { MIN_WAIT_NS } from './encode.js';

/** Calls whose values are kept while they are open; without arguments only while they return. */
const MANY_CALLS = 8_192;
const FEW_CALLS = 1_024;

export interface RuleMaps {
  readonly maps: SharedMaps;
  /** On which stack each thread is; from its first module on that is no Go program. */
  threadStacks(): Promise<BpfMap>;
  /** What is open on the stack of a thread ends with it; before that module is attached. */
  watchThreads(): Promise<void>;
  /** What threads wait for is seen from then on, if the rule asks for it; before any module. */
  watchSchedule(): Promise<void>;
  close(): Promise<void>;
}

export interface RuleMapsOptions {
  /** Arguments are kept while calls are open. */
  readsArguments: boolean;
  /** What calls wait for, or allocate, is kept while they are open. */
  waits: boolean;
  /** Records leave by perf buffers, not by the ring. */
  perfBuffers: boolean;
  shards: number;
}

/** `common` are those of the session. */
export async function openRuleMaps(
  native: Native,
  features: Features,
  options: RuleMapsOptions,
  common: readonly (readonly [name: string, map: BpfMap])[],
): Promise<RuleMaps> {
  // No program of it is loaded: it owns the maps, whichever attachments come and go.
  const owner = await native.load({
    object: objectPath('go', features),
    maps: {
      ...Object.fromEntries(common.map(([name, reuse]) => [name, { reuse }])),
      call_values: { maxEntries: options.readsArguments ? MANY_CALLS : FEW_CALLS },
      call_waits: { maxEntries: options.waits ? MANY_CALLS : 1 },
    },
    attach: 'perf',
    sleepable: false,
    programs: [],
  });
  const own = RULE_MAPS.map((name) => [name, owner.map(name)] as const);
  const maps = Object.fromEntries([...common, ...own]) as SharedMaps;
  let stacks: Promise<Programs> | null = null;
  let threads: Promise<Watched> | null = null;
  let schedule: Promise<Watched> | null = null;
  const threadStacks = async (): Promise<BpfMap> => {
    stacks ??= load(native, features, 'threads', options, maps, null);
    return (await stacks).map('thread_stacks');
  };
  return {
    maps,
    threadStacks,
    watchThreads: async () => {
      threads ??= threadStacks().then((own) =>
        watch(['thread_exited'], load(native, features, 'threads', options, maps, own)),
      );
      await threads;
    },
    watchSchedule: async () => {
      if (!options.waits) return;
      schedule ??= threadStacks().then((own) =>
        watch(
          ['thread_switched', 'thread_woken'],
          load(native, features, 'schedule', options, maps, own),
        ),
      );
      await schedule;
    },
    close: async () => {
      for (const watched of [schedule, threads]) await (await watched?.catch(() => null))?.close();
      (await stacks?.catch(() => null))?.close();
      owner.close();
    },
  };
}

interface Watched {
  close(): Promise<void>;
}

/** Attaches programs that were loaded to their tracepoints, all or none. */
async function watch(names: readonly string[], loading: Promise<Programs>): Promise<Watched> {
  const programs = await loading;
  const links: Link[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(links.map((link) => link.detach()));
    programs.close();
  };
  try {
    for (const name of names) links.push(await programs.attachTracepoint(name));
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Without `stacks` only the map of them, for which other programs need not wait so long. */
function load(
  native: Native,
  features: Features,
  object: 'threads' | 'schedule',
  { shards, perfBuffers, waits }: RuleMapsOptions,
  shared: SharedMaps,
  stacks: BpfMap | null,
): Promise<Programs> {
  const settings = Buffer.alloc(settingsLayout.size);
  settings.writeUInt32LE(shards - 1, settingsLayout.shardMask);
  settings.writeUInt8(perfBuffers ? 1 : 0, settingsLayout.perfBuffers);
  settings.writeUInt8(waits ? 1 : 0, settingsLayout.waits);
  settings.writeBigUInt64LE(BigInt(MIN_WAIT_NS), settingsLayout.minWaitNs);
  return native.load({
    object: objectPath(object, features),
    settings,
    maps: {
      ...Object.fromEntries(MAPS[object].map((name) => [name, { reuse: shared[name] }])),
      ...(stacks ? { thread_stacks: { reuse: stacks } } : {}),
    },
    attach: 'perf',
    sleepable: false,
    ...(stacks ? {} : { programs: [] }),
  });
}
