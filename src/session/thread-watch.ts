/**
 * What threads do, for all rules together: on which stacks they are, and what they wait for. The
 * scheduler's programs run at every switch of the host, so there is one set of them a session.
 */
import type { BpfMap, Features, Link, Native, Programs } from '../native/native.js';
import { ScheduleEvent, settings as settingsLayout } from '../spans/records.generated.js';
import { MAPS, objectPath, type SessionMaps } from './attachment.js';
import { MIN_WAIT_NS } from './encode.js';

/** What the programs tell of, and are hit by. */
const WATCHERS = {
  thread_switched: ScheduleEvent.SWITCHED,
  thread_woken: ScheduleEvent.WOKEN,
} as const;

/** What a hit costs while none has been timed, in ns: the switches of other processes included. */
const UNTIMED_NS = 500;

export interface ThreadWatchOptions {
  /** Records leave by perf buffers, not by the ring. */
  perfBuffers: boolean;
  shards: number;
}

export class ThreadWatch {
  /** No program of it is loaded: it owns the map. */
  private owner: Promise<Programs> | null = null;
  private loading: Promise<Programs> | null = null;
  private programs: Programs | null = null;
  private readonly links: Link[] = [];

  constructor(
    private readonly native: Native,
    private readonly features: Features,
    private readonly options: ThreadWatchOptions,
    private readonly maps: SessionMaps,
  ) {}

  /** On which stack each thread is; wanted by what traces native functions, or the kernel's. */
  async stacks(): Promise<BpfMap> {
    this.owner ??= this.load({ waiting: { maxEntries: 1 } }, []);
    return (await this.owner).map('thread_stacks');
  }

  /** What threads wait for is seen from then on; before any call that is to tell of it. */
  async watchSchedule(): Promise<void> {
    this.loading ??= this.attach();
    await this.loading;
  }

  /** What runs of its programs are estimated by; null: nothing has asked for them. */
  get watching(): Programs | null {
    return this.programs;
  }

  /** Hits so far of threads that are targets', by program. */
  hits(): Map<string, number> {
    const hits = this.programs?.map('schedule_hits').sums(0, ScheduleEvent.EVENTS, 1);
    return new Map(Object.entries(WATCHERS).map(([name, event]) => [name, hits?.[event] ?? 0]));
  }

  async detach(): Promise<void> {
    await this.loading?.catch(() => null);
    await Promise.all(this.links.splice(0).map((link) => link.detach()));
  }

  close(): void {
    this.programs?.close();
    void this.owner?.then(
      (owner) => owner.close(),
      () => undefined,
    );
  }

  private async attach(): Promise<Programs> {
    const programs = await this.load({ thread_stacks: { reuse: await this.stacks() } });
    try {
      for (const name of Object.keys(WATCHERS)) {
        this.links.push(await programs.attachTracepoint(name));
      }
    } catch (error) {
      await Promise.all(this.links.splice(0).map((link) => link.detach()));
      programs.close();
      throw error;
    }
    this.programs = programs;
    return programs;
  }

  private load(
    own: Record<string, { maxEntries: number } | { reuse: BpfMap }>,
    programs?: string[],
  ): Promise<Programs> {
    const { native, features, maps } = this;
    return native.load({
      object: objectPath('schedule', features),
      settings: threadSettings(features, this.options),
      maps: {
        ...Object.fromEntries(MAPS.schedule.map((name) => [name, { reuse: maps[name] }])),
        ...own,
      },
      attach: 'perf',
      sleepable: false,
      ...(programs ? { programs } : {}),
    });
  }
}

/** Of programs that belong to no module. */
export function threadSettings(
  features: Features,
  { shards, perfBuffers }: ThreadWatchOptions,
): Buffer {
  const settings = Buffer.alloc(settingsLayout.size);
  settings.writeUInt32LE(shards - 1, settingsLayout.shardMask);
  settings.writeUInt8(perfBuffers ? 1 : 0, settingsLayout.perfBuffers);
  settings.writeUInt8(features.findsMappings ? 1 : 0, settingsLayout.findsMappings);
  settings.writeUInt8(1, settingsLayout.keepsWaits);
  settings.writeBigUInt64LE(BigInt(MIN_WAIT_NS), settingsLayout.minWaitNs);
  return settings;
}

/** ns that each hit has cost, as far as the kernel has timed any. */
export function priceOf(
  times: readonly { runTimeNs: number; untimedHits: number }[],
  hits: number,
): number {
  const timed = hits - times.reduce((sum, { untimedHits }) => sum + untimedHits, 0);
  const runTimeNs = times.reduce((sum, each) => sum + each.runTimeNs, 0);
  return timed > 0 && runTimeNs > 0 ? runTimeNs / timed : UNTIMED_NS;
}
