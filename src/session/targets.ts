/** Which processes are targets, and what the kernel side has to know of each. */
import type { BpfMap } from '../native/native.js';
import type { GoLayout } from '../plan/plan.js';
import {
  MAX_TARGET_MODULES,
  target as targetLayout,
  targetFacts,
  targetModule,
  ThreadContextFormat,
  threadContextPlace,
} from '../spans/records.generated.js';
import type { ThreadContextPlace } from '../targets/thread-context.js';
import { pidKey, word } from './trampolines.js';

/** A module of a process, with whose attachment it is probed. */
export interface TargetModule {
  /** Where it is mapped, less where its file says. */
  bias: number;
  attachment: number;
}

/** How the g of a Go program's thread is found. */
export type GoThreads = Pick<GoLayout, 'threadOffset' | 'currentOffset'>;

interface TargetEntry {
  modules: TargetModule[];
  go?: GoThreads;
  followForks: boolean;
}

export class Targets {
  private readonly entries = new Map<number, TargetEntry>();
  /** Where their threads publish contexts, as far as they do. */
  private readonly threadContexts = new Map<number, ThreadContextPlace>();
  private readonly facts = { publishers: 0, removals: 0, samplesHits: 0, watchedSince: 0n };

  constructor(
    private readonly maps: {
      targets: BpfMap;
      /** The map `trampolines`: see trampolines.ts. */
      verdicts: BpfMap;
      facts: BpfMap;
    },
  ) {}

  /** The process is followed; hits in none of its modules count yet. */
  add(pid: number, followForks: boolean): void {
    this.entries.set(pid, { modules: [], followForks });
    this.write(pid);
    this.tellRemoval();
  }

  /** A child that was forked is to the kernel what its parent was: what is added comes on top. */
  copy(parent: number, child: number): void {
    const entry = this.entries.get(parent);
    const place = this.threadContexts.get(parent);
    if (entry) this.entries.set(child, { ...entry, modules: [...entry.modules] });
    if (place) this.threadContexts.set(child, place);
  }

  /**
   * Hits of this attachment count in the process. False: it has as many modules as the kernel side
   * can tell apart.
   */
  addModule(pid: number, module: TargetModule, followForks: boolean): boolean {
    const modules = (this.entries.get(pid)?.modules ?? []).filter(
      ({ attachment }) => attachment !== module.attachment,
    );
    if (modules.length >= MAX_TARGET_MODULES) return false;
    const go = this.entries.get(pid)?.go;
    this.entries.set(pid, { modules: [...modules, module], ...(go ? { go } : {}), followForks });
    this.write(pid);
    return true;
  }

  removeModule(pid: number, attachment: number): void {
    const entry = this.entries.get(pid);
    if (!entry?.modules.some((module) => module.attachment === attachment)) return;
    entry.modules = entry.modules.filter((module) => module.attachment !== attachment);
    this.write(pid);
    this.tellRemoval();
  }

  /** The process runs Go: what the kernel does for a goroutine can be told from then on. */
  setGoThreads(pid: number, go: GoThreads): void {
    const entry = this.entries.get(pid);
    if (!entry) return;
    entry.go = go;
    this.write(pid);
  }

  /** Null: its threads publish no context, as far as is known. */
  setThreadContext(pid: number, place: ThreadContextPlace | null): void {
    if (place) {
      this.threadContexts.set(pid, place);
      this.facts.publishers = 1;
      this.writeFacts();
    } else this.threadContexts.delete(pid);
    this.write(pid);
  }

  /** From then on, or no more, it is sampled whose hits there are. */
  sampleHits(on: boolean): void {
    const wanted = on ? 1 : 0;
    if (this.facts.samplesHits === wanted) return;
    this.facts.samplesHits = wanted;
    this.writeFacts();
  }

  /** What calls wait for is looked at again: nothing is known of those that began before. */
  watchAnew(): void {
    this.facts.watchedSince = process.hrtime.bigint();
    this.writeFacts();
  }

  remove(pid: number): void {
    this.entries.delete(pid);
    this.threadContexts.delete(pid);
    this.maps.targets.delete(pidKey(pid));
    this.maps.verdicts.delete(pidKey(pid));
    this.tellRemoval();
  }

  /** After it is done: what programs keep of targets holds no more. */
  private tellRemoval(): void {
    this.facts.removals = (this.facts.removals + 1) >>> 0;
    this.writeFacts();
  }

  private writeFacts(): void {
    const value = Buffer.alloc(targetFacts.size);
    value.writeUInt32LE(this.facts.publishers, targetFacts.publishers);
    value.writeUInt32LE(this.facts.removals, targetFacts.removals);
    value.writeUInt32LE(this.facts.samplesHits, targetFacts.samplesHits);
    value.writeBigUInt64LE(this.facts.watchedSince, targetFacts.watchedSince);
    this.maps.facts.update(FIRST, value);
  }

  private write(pid: number): void {
    const entry = this.entries.get(pid);
    const place = this.threadContexts.get(pid) ?? null;
    if (entry) this.maps.targets.update(pidKey(pid), encode(entry, place));
  }
}

const FIRST = word(0);

const DTV_ENTRY = { glibc: 16, musl: 8 };

function encode(
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
