/** A text output that never blocks: what its reader does not take in time is refused. */
import { createWriteStream, fstatSync } from 'node:fs';
import type { Writable } from 'node:stream';

const WRITE_SIZE = 64 * 1024;

export interface OutputOptions {
  /** Bytes that may wait for a slow reader. */
  maxBytes?: number;
  /** The reader went away (a closed pipe); called once. */
  onClosed?: () => void;
}

/**
 * Standard output. Node writes to a file synchronously, so that a slow disk would stop everything;
 * pipes are asynchronous, and a terminal cannot be anything but Node's own stream.
 */
export function standardOutput(): Writable {
  return fstatSync(1).isFile()
    ? createWriteStream('', { fd: 1, autoClose: false })
    : process.stdout;
}

export class Output {
  private text: string[] = [];
  private textBytes = 0;
  private underWay = 0;
  private scheduled = false;
  private closed = false;
  private readonly maxBytes: number;
  private readonly waiters: (() => void)[] = [];

  constructor(
    private readonly stream: Writable,
    private readonly options: OutputOptions = {},
  ) {
    this.maxBytes = options.maxBytes ?? 64 * 1024 * 1024;
    stream.on('error', () => this.readerGone());
    stream.on('drain', () => this.write());
  }

  /** Takes the text as a whole or not at all. */
  offer(text: string): boolean {
    if (this.closed) return false;
    const waiting = this.textBytes + this.stream.writableLength;
    // What is larger than the bound can still pass when nothing waits.
    if (waiting > 0 && waiting + text.length > this.maxBytes) return false;
    this.put(text);
    return true;
  }

  /** For the few lines that must come through. */
  put(text: string): void {
    if (this.closed) return;
    this.text.push(text);
    this.textBytes += text.length;
    if (this.textBytes >= WRITE_SIZE) this.write();
    else this.schedule();
  }

  /** Resolves when the reader has all, is gone, or after `deadlineMs`. */
  async flush(deadlineMs: number): Promise<void> {
    this.write();
    if (this.isEmpty()) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.waiters.push(resolve)),
      new Promise<void>((resolve) => (timer = setTimeout(resolve, deadlineMs))),
    ]);
    clearTimeout(timer);
  }

  private isEmpty(): boolean {
    return this.closed || (this.textBytes === 0 && this.underWay === 0);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.write();
    });
  }

  private write(): void {
    if (this.closed || this.text.length === 0 || this.stream.writableNeedDrain) return;
    const text = this.text.join('');
    this.text = [];
    this.textBytes = 0;
    this.underWay++;
    this.stream.write(text, (error) => {
      this.underWay--;
      if (error) this.readerGone();
      else if (this.isEmpty()) this.wake();
    });
  }

  private readerGone(): void {
    if (this.closed) return;
    this.closed = true;
    this.text = [];
    this.textBytes = 0;
    this.wake();
    this.options.onClosed?.();
  }

  private wake(): void {
    for (const resolve of this.waiters.splice(0)) resolve();
  }
}
