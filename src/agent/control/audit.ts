/** Who traced what, and when: one line as a session starts, and one as it ends. */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { UnderspanError } from '../../errors.js';
import type { ControlLog } from './log.js';

export interface AuditRecord extends Record<string, unknown> {
  event: 'session-start' | 'session-end';
  id: string;
  who: string;
  peer: string;
}

export class Audit {
  /** `file` null: the records go to the log. */
  constructor(
    private readonly file: string | null,
    private readonly log: ControlLog,
  ) {}

  /** Throws where the record cannot be kept. */
  write(record: AuditRecord): void {
    if (this.file === null) {
      // Also where the log is told to be quiet.
      this.log.warn({ audit: record }, record.event);
      return;
    }
    const line = Buffer.from(`${JSON.stringify({ time: new Date().toISOString(), ...record })}\n`);
    try {
      append(this.file, line);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new UnderspanError(
        'failed',
        'AUDIT_FAILED',
        `the audit log ${this.file} cannot be written: ${reason}`,
        'no session starts without it; see to the file, or set control.auditLog to another one',
        { cause: error },
      );
    }
  }
}

/** Opened anew for each line, so that it may be rotated. */
function append(file: string, line: Buffer): void {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
  // Not blocking: a pipe that nobody reads would hold up the agent.
  const flags = O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_WRONLY;
  const descriptor = openSync(file, flags, 0o600);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new Error('it is not a regular file');
    if ((stat.mode & 0o022) !== 0) throw new Error('others than its owner may write to it');
    const written = writeSync(descriptor, line);
    if (written !== line.length) throw new Error('the file system is full');
  } finally {
    closeSync(descriptor);
  }
}
