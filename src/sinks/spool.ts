/**
 * Encoded requests on disk: bounded in bytes, oldest first, and there after a restart or a kill.
 * A file is torn where its process was killed while it wrote; a checksum shows it. Files are not
 * forced to the disk: a machine that loses its power may lose what it wrote last.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { openFolder, type SpoolFolder } from './spool-folder.js';
import {
  header,
  HEADER_SIZE,
  LARGEST_SEGMENT,
  nameOf,
  parseName,
  payloadOf,
  type Segment,
} from './spool-segment.js';

export interface SpoolOptions {
  directory: string;
  maxBytes: number;
}

/** What a file really takes of a disk. */
const BLOCK = 4_096;
/** The process lacks something, not the file: it is tried again. */
const TRANSIENT = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);
const TRANSIENT_PAUSE_MS = 500;

export class Spool {
  /** Spans of segments that were torn, rotten or could not be read. */
  corrupt = 0;
  /** A write found no room, and none has been made since. */
  full = false;
  private readonly held = { spans: 0, bytes: 0 };
  /** Oldest first: those that nobody is sending. */
  private readonly idle: Segment[];
  private nextSequence: number;
  private closed = false;

  private constructor(
    private readonly folder: SpoolFolder,
    private readonly maxBytes: number,
    found: Segment[],
  ) {
    this.idle = found.sort((a, b) => a.sequence - b.sequence);
    this.nextSequence = (found.at(-1)?.sequence ?? 0) + 1;
    for (const segment of found) this.add(segment);
  }

  /** Throws UnderspanError, see openFolder(). */
  static async open({ directory, maxBytes }: SpoolOptions): Promise<Spool> {
    const folder = await openFolder(directory);
    const found: Segment[] = [];
    for (const name of await readdir(folder.path)) {
      const parsed = parseName(name);
      if (!parsed) continue;
      const file = await lstat(folder.file(name)).catch(() => null);
      if (file?.isFile()) found.push({ ...parsed, bytes: file.size });
    }
    return new Spool(folder, maxBytes, found);
  }

  get spans(): number {
    return this.held.spans;
  }

  get bytes(): number {
    return this.held.bytes;
  }

  /** Segments that nobody is sending. */
  get waiting(): number {
    return this.idle.length;
  }

  /** False where there is no room. Rejects when the disk refuses; either way nothing is kept. */
  async write(payload: Uint8Array, spans: number, uncertain: number): Promise<boolean> {
    const bytes = HEADER_SIZE + payload.length;
    const segment: Segment = { sequence: this.nextSequence, spans, uncertain, bytes };
    if (this.held.bytes + onDisk(segment) > this.maxBytes) {
      this.full = true;
      return false;
    }
    this.nextSequence++;
    // Before the write, since another may begin meanwhile.
    this.add(segment);
    const path = this.folder.file(nameOf(segment));
    try {
      const file = await open(path, 'wx', 0o600);
      try {
        await file.appendFile(header(payload, spans));
        await file.appendFile(payload);
      } finally {
        await file.close();
      }
    } catch (error) {
      this.forget(segment);
      await unlink(path).catch(() => undefined);
      throw error;
    }
    this.idle.push(segment);
    return true;
  }

  /** The oldest that nobody is sending. */
  take(): Segment | null {
    return this.idle.shift() ?? null;
  }

  /**
   * Its payload, to be sent at once: that it is under way is on disk from here on. null where it
   * cannot be read; then it is gone, and counted, or given back if only this process is short.
   */
  async read(segment: Segment): Promise<Uint8Array | null> {
    const before = segment.uncertain;
    try {
      await this.mark(segment, before + 1);
      const payload = await this.payload(segment);
      if (payload) return payload;
    } catch (error) {
      if (error instanceof Error && 'code' in error && TRANSIENT.has(String(error.code))) {
        await sleep(TRANSIENT_PAUSE_MS, undefined, { ref: false });
        await this.release(segment, segment.uncertain === before);
        return null;
      }
    }
    this.corrupt += segment.spans;
    await this.remove(segment);
    return null;
  }

  /** It was not taken, or nobody knows. */
  async release(segment: Segment, uncertain: boolean): Promise<void> {
    // The worst that a mark that stays can do is to count too many.
    if (!uncertain) await this.mark(segment, segment.uncertain - 1).catch(() => undefined);
    const at = this.idle.findIndex(({ sequence }) => sequence > segment.sequence);
    this.idle.splice(at < 0 ? this.idle.length : at, 0, segment);
  }

  /** It was delivered, or refused. A file that cannot be removed keeps its mark. */
  async remove(segment: Segment): Promise<void> {
    this.forget(segment);
    if (this.closed) return;
    await unlink(this.folder.file(nameOf(segment))).catch(() => undefined);
  }

  /** What is under way keeps its mark. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.folder.close();
  }

  private async mark(segment: Segment, uncertain: number): Promise<void> {
    if (this.closed) return;
    const before = nameOf(segment);
    const after = nameOf({ ...segment, uncertain });
    await rename(this.folder.file(before), this.folder.file(after));
    segment.uncertain = uncertain;
  }

  private async payload(segment: Segment): Promise<Uint8Array | null> {
    const path = this.folder.file(nameOf(segment));
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const found = await file.stat();
      if (!found.isFile() || found.size > LARGEST_SEGMENT) return null;
      return payloadOf(await file.readFile(), segment.spans);
    } finally {
      await file.close();
    }
  }

  private add(segment: Segment): void {
    this.held.spans += segment.spans;
    this.held.bytes += onDisk(segment);
  }

  private forget(segment: Segment): void {
    this.held.spans -= segment.spans;
    this.held.bytes -= onDisk(segment);
    this.full = false;
  }
}

function onDisk({ bytes }: Segment): number {
  return Math.ceil(bytes / BLOCK) * BLOCK;
}
