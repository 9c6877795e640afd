/** What a rule's attachments have in common: rates hold for all of them together. */
import type { BpfMap, Features, Link, Native, Programs } from '../native/native.js';
import { MAX_ALLOCATION_STACKS } from '../spans/records.generated.js';
import {
  MAPS,
  objectPath,
  RULE_MAPS,
  SESSION_MAPS,
  type SessionMaps,
  type SharedMaps,
} from './attachment.js';
import { threadSettings, type ThreadWatchOptions } from './thread-watch.js';

/** Calls whose values are kept while they are open; without arguments only while they return. */
const MANY_CALLS = 8_192;
const FEW_CALLS = 512;

/** What of a rule's wishes decides how large they are. */
export interface RuleMapSizes {
  /** Arguments are kept while calls are open. */
  readsArguments: boolean;
  /** Where calls allocate is counted. */
  allocations: boolean;
}

export interface RuleMaps {
  readonly maps: SharedMaps;
  /** What is open on the stack of a thread ends with it; before its first module that has threads. */
  watchThreads(stacks: BpfMap): Promise<void>;
  close(): Promise<void>;
}

export type RuleMapsOptions = ThreadWatchOptions & RuleMapSizes;

export async function openRuleMaps(
  native: Native,
  features: Features,
  options: RuleMapsOptions,
  session: SessionMaps,
): Promise<RuleMaps> {
  // No program of it is loaded: it owns the maps, whichever attachments come and go.
  const owner = await native.load({
    object: objectPath('go', features),
    maps: {
      ...Object.fromEntries(SESSION_MAPS.map((name) => [name, { reuse: session[name] }])),
      call_values: { maxEntries: options.readsArguments ? MANY_CALLS : FEW_CALLS },
      allocation_stacks: { maxEntries: options.allocations ? MAX_ALLOCATION_STACKS : 1 },
    },
    attach: 'perf',
    sleepable: false,
    programs: [],
  });
  const own = Object.fromEntries(RULE_MAPS.map((name) => [name, owner.map(name)]));
  const maps = { ...session, ...own } as SharedMaps;
  let threads: Promise<Watched> | null = null;
  return {
    maps,
    watchThreads: async (stacks) => {
      threads ??= watchThreads(native, features, options, maps, stacks);
      await threads;
    },
    close: async () => {
      const watched = await threads?.catch(() => null);
      await watched?.link.detach();
      watched?.programs.close();
      owner.close();
    },
  };
}

interface Watched {
  programs: Programs;
  link: Link;
}

async function watchThreads(
  native: Native,
  features: Features,
  options: RuleMapsOptions,
  shared: SharedMaps,
  stacks: BpfMap,
): Promise<Watched> {
  const programs = await native.load({
    object: objectPath('threads', features),
    settings: threadSettings(features, options),
    maps: {
      ...Object.fromEntries(MAPS.threads.map((name) => [name, { reuse: shared[name] }])),
      thread_stacks: { reuse: stacks },
    },
    attach: 'perf',
    sleepable: false,
  });
  try {
    return { programs, link: await programs.attachTracepoint('thread_exited') };
  } catch (error) {
    programs.close();
    throw error;
  }
}
