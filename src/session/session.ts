/** What is loaded and attached: the maps that all programs share, the reader, the attachments. */
import { runTimesAreOn } from '../native/features.js';
import type {
  BpfMap,
  Features,
  Link,
  Native,
  ProgramRunTime,
  Programs,
  Reader,
} from '../native/native.js';
import type { GoLayout, ModulePlan } from '../plan/plan.js';
import {
  MAX_TARGET_MODULES,
  processSettings,
  settings as settingsLayout,
  statistics,
  target as targetLayout,
  targetModule,
  ThreadContextFormat,
  threadContextPlace,
} from '../spans/records.generated.js';
import type { ThreadContextPlace } from '../targets/thread-context.js';
import {
  Attachment,
  MAPS,
  type ModuleProbes,
  objectPath,
  RULE_MAPS,
  SESSION_MAPS,
  type SharedMaps,
  shardCount,
} from './attachment.js';
import { type KernelOptions, numbersFrom, type RuleOptions } from './encode.js';
import { kernelError } from './kernel-errors.js';
import { Numbers } from './numbers.js';
import { allOpenCalls, openCallsOn, type OpenStackCalls } from './open-calls.js';
import { type FunctionStatistics, readStatistics } from './statistics.js';
import { pidKey } from './trampolines.js';
import type { Transport } from './transport.js';

/** How often the ring is looked at, and how much is taken at once. */
const READER = { intervalMs: 5, batchBytes: 1 << 20, maxPending: 16 };

/** Calls whose values are kept while they are open; without arguments only while they return. */
const MANY_CALLS = 8_192;
const FEW_CALLS = 1_024;

export interface SessionOptions {
  /** Perf buffers also where the kernel has no ring. */
  transport: Transport;
  /** Of the ring, or of all perf buffers together. */
  ringBytes: number;
  maxFunctions: number;
  /** Report every exec on the host, not only those of targets. */
  everyExec: boolean;
  /** Ended spans of the program's own SDK are reported too. */
  programSpans: boolean;
}

/** What a rule's attachments have in common: rates hold for all of them together. */
export interface RuleMaps {
  readonly maps: SharedMaps;
  /** On which stack each thread is; from its first module on that is no Go program. */
  threadStacks(): Promise<BpfMap>;
  close(): Promise<void>;
}

/** A module of a process, with whose attachment it is probed. */
export interface TargetModule {
  /** Where it is mapped, less where its file says. */
  bias: number;
  attachment: number;
}

interface Threads {
  stacks: BpfMap;
  close(): Promise<void>;
}

/** How the g of a Go program's thread is found. */
export type GoThreads = Pick<GoLayout, 'threadOffset' | 'currentOffset'>;

interface TargetEntry {
  modules: TargetModule[];
  go?: GoThreads;
  followForks: boolean;
}

export class Session {
  private readonly attachments = new Set<ModuleProbes>();
  /** 0 is that of the runtime's and the SDK's sites. */
  private readonly numbers: Numbers;
  /** Numbers of attachments given out; 0 is none. */
  private attached = 0;
  /** What the map `targets` says of each. */
  private readonly targets = new Map<number, TargetEntry>();
  /** Where their threads publish contexts, as far as they do. */
  private readonly threadContexts = new Map<number, ThreadContextPlace>();
  private runTimeStatistics: { close(): void } | null = null;
  private readonly startedAt = process.hrtime.bigint();
  /** What removed attachments had come to. */
  private readonly gone = new Map<string, ProgramRunTime>();

  private constructor(
    private readonly native: Native,
    readonly features: Features,
    private readonly options: SessionOptions,
    private readonly perfBuffers: boolean,
    private readonly shards: number,
    private readonly processes: Programs,
    private readonly tracepoints: Link[],
    private readonly reader: Reader,
  ) {
    this.numbers = new Numbers(1, options.maxFunctions);
  }

  /** Loads what all modules share and begins to read; `onBatch` gets records end to end. */
  static async open(
    native: Native,
    features: Features,
    options: SessionOptions,
    onBatch: (batch: Buffer) => void,
  ): Promise<Session> {
    const shards = shardCount(features);
    const perfBuffers = options.transport === 'perf' || !features.ringBuffer;
    const settings = Buffer.alloc(processSettings.size);
    settings.writeUInt32LE(shards - 1, processSettings.shardMask);
    settings.writeUInt8(options.everyExec ? 1 : 0, processSettings.everyExec);
    settings.writeUInt8(perfBuffers ? 1 : 0, processSettings.perfBuffers);
    try {
      const processes = await native.load({
        object: objectPath('processes', features),
        settings,
        maps: {
          ring: perfBuffers ? { perfBuffers } : { maxEntries: options.ringBytes },
          statistics: { maxEntries: (options.maxFunctions + 1) * shards },
        },
        attach: 'perf',
        sleepable: false,
      });
      const tracepoints = await Promise.all(
        ['process_forked', 'process_executed', 'process_exited'].map((program) =>
          processes.attachTracepoint(program),
        ),
      );
      const perfBytes = options.ringBytes;
      const reader = native.read(processes.map('ring'), { ...READER, perfBytes }, onBatch);
      const session = new Session(
        native,
        // The kernel lets no program sleep that writes to perf buffers.
        { ...features, sleepable: features.sleepable && !perfBuffers },
        options,
        perfBuffers,
        shards,
        processes,
        tracepoints,
        reader,
      );
      if (features.runTimeStatistics) session.runTimeStatistics = native.enableRunTimeStatistics();
      else if (runTimesAreOn()) session.runTimeStatistics = { close: () => undefined };
      return session;
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** `readsArguments`: arguments are kept while calls are open. */
  async addRule(readsArguments: boolean): Promise<RuleMaps> {
    const common = SESSION_MAPS.map((name) => [name, this.map(name)] as const);
    try {
      // No program of it is loaded: it owns the maps, whichever attachments come and go.
      const owner = await this.native.load({
        object: objectPath('go', this.features),
        maps: {
          ...Object.fromEntries(common.map(([name, reuse]) => [name, { reuse }])),
          call_values: { maxEntries: readsArguments ? MANY_CALLS : FEW_CALLS },
        },
        attach: 'perf',
        sleepable: false,
        programs: [],
      });
      const own = RULE_MAPS.map((name) => [name, owner.map(name)] as const);
      const maps = Object.fromEntries([...common, ...own]) as SharedMaps;
      let threads: Promise<Threads> | null = null;
      return {
        maps,
        threadStacks: async () => (await (threads ??= this.watchThreads(maps))).stacks,
        close: async () => {
          await (await threads?.catch(() => null))?.close();
          owner.close();
        },
      };
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** What is open on the stack of a thread ends with it. */
  private async watchThreads(shared: SharedMaps): Promise<Threads> {
    const { native, features, shards, perfBuffers } = this;
    const settings = Buffer.alloc(settingsLayout.size);
    settings.writeUInt32LE(shards - 1, settingsLayout.shardMask);
    settings.writeUInt8(perfBuffers ? 1 : 0, settingsLayout.perfBuffers);
    const programs = await native.load({
      object: objectPath('threads', features),
      settings,
      maps: Object.fromEntries(MAPS.threads.map((name) => [name, { reuse: shared[name] }])),
      attach: 'perf',
      sleepable: false,
      programs: ['thread_exited'],
    });
    try {
      const link = await programs.attachTracepoint('thread_exited');
      const close = async (): Promise<void> => {
        await link.detach();
        programs.close();
      };
      return { stacks: programs.map('thread_stacks'), close };
    } catch (error) {
      programs.close();
      throw error;
    }
  }

  /** Loads the programs for one module; nothing is attached yet. The plan must fit `room`. */
  async add(
    plan: ModulePlan,
    rule: RuleMaps,
    options: RuleOptions,
    filterTargets: boolean,
  ): Promise<ModuleProbes> {
    const first = this.numbers.take(plan.functions.length);
    if (first === null) throw new Error(`no room for ${plan.functions.length} functions`);
    const { perfBuffers, shards } = this;
    const { programSpans } = this.options;
    const number = ++this.attached;
    try {
      const load = plan.kind === 'kernel' ? loadForKernel : loadForFile;
      const attachment = await load(
        this.native,
        this.features,
        plan,
        first,
        { ...options, programSpans, filterTargets, perfBuffers, attachment: number, shards },
        rule,
      );
      this.attachments.add(attachment);
      return attachment;
    } catch (error) {
      this.numbers.giveBack(first, plan.functions.length);
      throw kernelError(error);
    }
  }

  /** Gives back all that a detached attachment had; its counts are gone. */
  remove(attachment: ModuleProbes): void {
    if (!this.attachments.delete(attachment)) return;
    const { firstFunction, plan } = attachment;
    for (const { program, runTimeNs, runCount, recursionMisses } of attachment.runTimes()) {
      const sum = this.gone.get(program);
      this.gone.set(program, {
        program,
        runTimeNs: (sum?.runTimeNs ?? 0) + runTimeNs,
        runCount: (sum?.runCount ?? 0) + runCount,
        recursionMisses: (sum?.recursionMisses ?? 0) + recursionMisses,
      });
    }
    attachment.close();
    const elements = plan.functions.length * this.shards;
    const first = firstFunction * this.shards;
    this.map('statistics').updateMany(
      numbersFrom(first, elements),
      Buffer.alloc(elements * statistics.size),
    );
    this.numbers.giveBack(firstFunction, plan.functions.length);
  }

  /** How many functions the next module may have. */
  get room(): number {
    return this.numbers.room;
  }

  /** The process is followed; hits in none of its modules count yet. */
  addTarget(pid: number, followForks: boolean): void {
    this.targets.set(pid, { modules: [], followForks });
    this.writeTarget(pid);
  }

  /** A child that was forked is to the kernel what its parent was: what is added comes on top. */
  copyTarget(parent: number, child: number): void {
    const entry = this.targets.get(parent);
    const place = this.threadContexts.get(parent);
    if (entry) this.targets.set(child, { ...entry, modules: [...entry.modules] });
    if (place) this.threadContexts.set(child, place);
  }

  /**
   * Hits of this attachment count in the process. False: it has as many modules as the kernel side
   * can tell apart.
   */
  addModule(pid: number, module: TargetModule, followForks: boolean): boolean {
    const modules = (this.targets.get(pid)?.modules ?? []).filter(
      ({ attachment }) => attachment !== module.attachment,
    );
    if (modules.length >= MAX_TARGET_MODULES) return false;
    const go = this.targets.get(pid)?.go;
    this.targets.set(pid, { modules: [...modules, module], ...(go ? { go } : {}), followForks });
    this.writeTarget(pid);
    return true;
  }

  /** The process runs Go: what the kernel does for a goroutine can be told from then on. */
  setGoThreads(pid: number, go: GoThreads): void {
    const entry = this.targets.get(pid);
    if (!entry) return;
    entry.go = go;
    this.writeTarget(pid);
  }

  removeModule(pid: number, attachment: number): void {
    const entry = this.targets.get(pid);
    if (!entry?.modules.some((module) => module.attachment === attachment)) return;
    entry.modules = entry.modules.filter((module) => module.attachment !== attachment);
    this.writeTarget(pid);
  }

  /** Null: its threads publish no context, as far as is known. */
  setThreadContext(pid: number, place: ThreadContextPlace | null): void {
    if (place) this.threadContexts.set(pid, place);
    else this.threadContexts.delete(pid);
    this.writeTarget(pid);
  }

  removeTarget(pid: number): void {
    this.targets.delete(pid);
    this.threadContexts.delete(pid);
    this.map('targets').delete(pidKey(pid));
    this.map('trampolines').delete(pidKey(pid));
  }

  private writeTarget(pid: number): void {
    const entry = this.targets.get(pid);
    const place = this.threadContexts.get(pid) ?? null;
    if (entry) this.map('targets').update(pidKey(pid), encodeTarget(entry, place));
  }

  openCallsOn(stack: bigint, pid: number): OpenStackCalls | null {
    return openCallsOn(this.map('stacks'), stack, pid);
  }

  allOpenCalls(): Promise<OpenStackCalls[]> {
    return allOpenCalls(this.map('stacks'));
  }

  /** All that a process has open. */
  openCallsOf(pid: number): Promise<OpenStackCalls[]> {
    return allOpenCalls(this.map('stacks'), pid);
  }

  /** Takes goroutines, with what is open on them, out of the table. */
  forget(open: readonly OpenStackCalls[]): void {
    for (const { key } of open) this.map('stacks').delete(key);
  }

  /** By function number; the first is that of the support sites. */
  statistics(): FunctionStatistics[] {
    return readStatistics(this.map('statistics'), this.numbers.used, this.shards);
  }

  /** CPU time of our programs since the session began; null if not measured. */
  runTimeNs(): number | null {
    if (!this.runTimeStatistics) return null;
    return this.runTimes().reduce((sum, { runTimeNs }) => sum + runTimeNs, 0);
  }

  /** The same as a share of one CPU. */
  overhead(): number | null {
    const spent = this.runTimeNs();
    return spent === null ? null : spent / Number(process.hrtime.bigint() - this.startedAt);
  }

  /** Hits that the kernel dropped since the program was already running on that CPU. */
  missed(): number {
    return this.runTimes().reduce((sum, { recursionMisses }) => sum + recursionMisses, 0);
  }

  /** Forks, execs and exits that did not fit the ring. */
  lostEvents(): number {
    return Number(this.processes.map('lost_events').read(0, 1).readBigUInt64LE());
  }

  /** Of all programs, those that watch processes among them. A name may come several times. */
  programRunTimes(): ProgramRunTime[] {
    return [...this.runTimes(), ...this.processes.runTimes()];
  }

  /** In which processes return addresses may be replaced; trampolines.ts says when. */
  get trampolineVerdicts(): BpfMap {
    return this.map('trampolines');
  }

  /** Of the programs that watch processes; holds.ts says what for. */
  get holdMaps(): { holdUntil: BpfMap; holdNames: BpfMap; letPass: BpfMap } {
    return {
      holdUntil: this.processes.map('hold_until'),
      holdNames: this.processes.map('hold_names'),
      letPass: this.processes.map('let_pass'),
    };
  }

  /** How full the tables are that can run out of room. */
  async fill(): Promise<{ map: string; entries: number; maxEntries: number }[]> {
    return Promise.all(
      (['stacks', 'targets', 'inheritances'] as const).map(async (name) => {
        const map = this.map(name);
        return { map: name, entries: await map.count(), maxEntries: map.maxEntries };
      }),
    );
  }

  drain(): Promise<void> {
    return this.reader.drain();
  }

  /** No new call is counted; what is open has `graceMs` to end. Resolves when all is read. */
  async detach(graceMs: number): Promise<OpenStackCalls[]> {
    await Promise.all([...this.attachments].map((attachment) => attachment.detachEntries()));
    const deadline = Date.now() + graceMs;
    let open = await allOpenCalls(this.map('stacks'));
    while (Date.now() < deadline && open.some(({ calls }) => calls.length > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      open = await allOpenCalls(this.map('stacks'));
    }
    await Promise.all([
      ...[...this.attachments].map((attachment) => attachment.detach()),
      ...this.tracepoints.map((link) => link.detach()),
    ]);
    await this.reader.drain();
    return allOpenCalls(this.map('stacks'));
  }

  async close(): Promise<void> {
    await this.reader.stop();
    this.runTimeStatistics?.close();
    for (const attachment of this.attachments) attachment.close();
    this.processes.close();
  }

  /** Of the programs at sites, removed attachments included. */
  private runTimes(): ProgramRunTime[] {
    const present = [...this.attachments].flatMap((attachment) => attachment.runTimes());
    return [...present, ...this.gone.values()];
  }

  private map(name: (typeof SESSION_MAPS)[number]): BpfMap {
    return this.processes.map(name);
  }
}

type Load = (
  native: Native,
  features: Features,
  plan: ModulePlan,
  first: number,
  options: KernelOptions,
  rule: RuleMaps,
) => Promise<ModuleProbes>;

const loadForKernel: Load = async (native, features, plan, first, options, rule) => {
  const { KernelAttachment } = await import('./kernel-attachment.js');
  const threadStacks = await rule.threadStacks();
  return KernelAttachment.load(native, features, plan, first, options, rule.maps, threadStacks);
};

const loadForFile: Load = async (native, features, plan, first, options, rule) =>
  Attachment.load(
    native,
    features,
    plan,
    first,
    options,
    rule.maps,
    plan.kind === 'native' ? await rule.threadStacks() : null,
  );

const DTV_ENTRY = { glibc: 16, musl: 8 };

function encodeTarget(
  { modules, go, followForks }: TargetEntry,
  place: ThreadContextPlace | null,
): Buffer {
  const value = Buffer.alloc(targetLayout.size);
  modules.forEach(({ bias, attachment }, index) => {
    const at = targetLayout.modules + index * targetModule.size;
    value.writeBigUInt64LE(BigInt.asUintN(64, BigInt(bias)), at + targetModule.bias);
    value.writeUInt32LE(attachment, at + targetModule.attachment);
  });
  value.writeUInt8(followForks ? 1 : 0, targetLayout.followForks);
  if (go) {
    value.writeInt32LE(go.threadOffset, targetLayout.gOffset);
    value.writeUInt16LE(go.currentOffset, targetLayout.currentOffset);
  }
  if (place) {
    const at = targetLayout.threadContext;
    const { OTEL, ELASTIC } = ThreadContextFormat;
    value.writeBigInt64LE(BigInt(place.offset), at + threadContextPlace.offset);
    value.writeUInt8(place.format === 'otel' ? OTEL : ELASTIC, at + threadContextPlace.format);
    if (place.kind === 'dynamic') {
      value.writeUInt32LE(place.module, at + threadContextPlace.module);
      value.writeUInt8(DTV_ENTRY[place.libc], at + threadContextPlace.entrySize);
    }
  }
  return value;
}
