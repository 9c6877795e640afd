/** A plan that is attached: the loaded programs, the maps they share, the reader. */
import { runTimesAreOn } from '../native/features.js';
import type { BpfMap, Features, Link, Native, Programs, Reader } from '../native/native.js';
import type { ModulePlan, PlannedFunction } from '../plan/plan.js';
import { processSettings, target as targetLayout } from '../spans/records.generated.js';
import { Attachment, objectPath, type SharedMaps, shardCount } from './attachment.js';
import type { KernelOptions } from './encode.js';
import { kernelError } from './kernel-errors.js';
import { allOpenCalls, openCallsOn, type OpenGoroutine } from './open-calls.js';
import { type FunctionStatistics, readStatistics } from './statistics.js';

/** How often the ring is looked at, and how much is taken at once. */
const READER = { intervalMs: 5, batchBytes: 1 << 20, maxPending: 16 };

export interface SessionOptions extends Omit<KernelOptions, 'shards'> {
  ringBytes: number;
  maxFunctions: number;
  followForks: boolean;
  /** Report every exec on the host, not only those of targets. */
  everyExec: boolean;
}

/** Calls whose values are kept while they are open; without arguments only while they return. */
const MANY_CALLS = 8_192;
const FEW_CALLS = 1_024;

const readsArguments = ({ values }: PlannedFunction): boolean => values.arguments.length > 0;

export class Session {
  private readonly attachments: Attachment[] = [];
  /** Function numbers given out; 0 is that of the runtime's and the SDK's sites. */
  private functions = 1;
  private runTimeStatistics: { close(): void } | null = null;
  private readonly startedAt = process.hrtime.bigint();

  private constructor(
    private readonly native: Native,
    readonly features: Features,
    private readonly options: SessionOptions,
    private readonly shards: number,
    private readonly processes: Programs,
    private readonly tracepoints: Link[],
    private readonly shared: SharedMaps,
    private readonly reader: Reader,
  ) {}

  /** Loads what all modules share and begins to read; `onBatch` gets records end to end. */
  static async open(
    native: Native,
    features: Features,
    options: SessionOptions,
    onBatch: (batch: Buffer) => void,
  ): Promise<Session> {
    const shards = shardCount(features);
    const settings = Buffer.alloc(processSettings.size);
    settings.writeUInt32LE(shards - 1, processSettings.shardMask);
    settings.writeUInt8(options.everyExec ? 1 : 0, processSettings.everyExec);
    settings.writeUInt8(options.followForks ? 1 : 0, processSettings.followForks);
    try {
      const processes = await native.load({
        object: objectPath('processes', features),
        settings,
        maps: {
          ring: { maxEntries: options.ringBytes },
          statistics: { maxEntries: (options.maxFunctions + 1) * shards },
        },
        attach: 'perf',
        sleepable: false,
      });
      const shared: SharedMaps = {
        ring: processes.map('ring'),
        targets: processes.map('targets'),
        goroutines: processes.map('goroutines'),
        inheritances: processes.map('inheritances'),
        statistics: processes.map('statistics'),
        told: processes.map('told'),
      };
      const tracepoints = await Promise.all(
        ['process_forked', 'process_executed', 'process_exited'].map((program) =>
          processes.attachTracepoint(program),
        ),
      );
      const reader = native.read(processes.map('ring'), READER, onBatch);
      const session = new Session(
        native,
        features,
        options,
        shards,
        processes,
        tracepoints,
        shared,
        reader,
      );
      if (features.runTimeStatistics) session.runTimeStatistics = native.enableRunTimeStatistics();
      else if (runTimesAreOn()) session.runTimeStatistics = { close: () => undefined };
      return session;
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** Loads the programs for one module; nothing is attached yet. */
  async add(plan: ModulePlan): Promise<Attachment> {
    const first = this.functions;
    this.functions += plan.functions.length;
    try {
      const attachment = await Attachment.load(
        this.native,
        this.features,
        plan,
        first,
        { ...this.options, shards: this.shards },
        { call_values: plan.functions.some(readsArguments) ? MANY_CALLS : FEW_CALLS },
        this.shared,
      );
      this.attachments.push(attachment);
      return attachment;
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** How many more functions the statistics have room for. */
  get room(): number {
    return this.options.maxFunctions + 1 - this.functions;
  }

  addTarget(pid: number, bias: number): void {
    const key = Buffer.alloc(4);
    const value = Buffer.alloc(targetLayout.size);
    key.writeUInt32LE(pid);
    value.writeBigUInt64LE(BigInt(bias), targetLayout.bias);
    this.map('targets').update(key, value);
  }

  removeTarget(pid: number): void {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(pid);
    this.map('targets').delete(key);
  }

  openCallsOn(stack: bigint, pid: number): OpenGoroutine | null {
    return openCallsOn(this.map('goroutines'), stack, pid);
  }

  /** All that a process has open. */
  openCallsOf(pid: number): Promise<OpenGoroutine[]> {
    return allOpenCalls(this.map('goroutines'), pid);
  }

  /** Takes the open calls of a process that has exited out of the table. */
  forget(open: readonly OpenGoroutine[]): void {
    for (const { key } of open) this.map('goroutines').delete(key);
  }

  statistics(): FunctionStatistics[] {
    return readStatistics(this.map('statistics'), this.functions, this.shards);
  }

  /** CPU time of our programs as a share of one CPU since the session began; null if not measured. */
  overhead(): number | null {
    if (!this.runTimeStatistics) return null;
    const spent = this.attachments
      .flatMap((attachment) => attachment.runTimes())
      .reduce((sum, { runTimeNs }) => sum + runTimeNs, 0);
    return spent / Number(process.hrtime.bigint() - this.startedAt);
  }

  /** Hits that the kernel dropped since the program was already running on that CPU. */
  missed(): number {
    return this.attachments
      .flatMap((attachment) => attachment.runTimes())
      .reduce((sum, { recursionMisses }) => sum + recursionMisses, 0);
  }

  /** Forks, execs and exits that did not fit the ring. */
  lostEvents(): number {
    return Number(this.processes.map('lost_events').read(0, 1).readBigUInt64LE());
  }

  drain(): Promise<void> {
    return this.reader.drain();
  }

  /** No new call is counted; what is open has `graceMs` to end. Resolves when all is read. */
  async detach(graceMs: number): Promise<OpenGoroutine[]> {
    await Promise.all(this.attachments.map((attachment) => attachment.detachEntries()));
    const deadline = Date.now() + graceMs;
    let open = await allOpenCalls(this.map('goroutines'));
    while (Date.now() < deadline && open.some(({ calls }) => calls.length > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      open = await allOpenCalls(this.map('goroutines'));
    }
    await Promise.all([
      ...this.attachments.map((attachment) => attachment.detach()),
      ...this.tracepoints.map((link) => link.detach()),
    ]);
    await this.reader.drain();
    return allOpenCalls(this.map('goroutines'));
  }

  async close(): Promise<void> {
    await this.reader.stop();
    this.runTimeStatistics?.close();
    for (const attachment of this.attachments) attachment.close();
    this.processes.close();
  }

  private map(name: keyof SharedMaps): BpfMap {
    const map = this.shared[name];
    if (!map) throw new Error(`map ${name} is not loaded`);
    return map;
  }
}
