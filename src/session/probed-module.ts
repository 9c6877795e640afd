/** One rule in one module: the probes that it has there, and the processes that are linked to them. */
import type { Lease } from '../native/native.js';
import type { ModuleRole } from '../plan/module-role.js';
import { siteCount } from '../plan/plan.js';
import type { OpenFile } from '../targets/open-file.js';
import type { Target } from '../targets/target.js';
import type { ModuleProbes } from './attachment.js';
import type { TraceRule } from './rule.js';

/** A module of a process, as Target has them of its main executable. */
export type ModuleFile = Pick<Target, 'exe' | 'file' | 'fileId'>;

/** The kernel, of which there is no file. */
export const KERNEL_FILE: ModuleFile = { exe: 'the kernel', file: '', fileId: '' };

export interface ProbedModule {
  readonly rule: TraceRule;
  readonly role: ModuleRole;
  readonly fileId: string;
  /** Path as its processes see it. */
  readonly exe: string;
  /** One attachment serves all processes, also those that are not known yet. */
  readonly whole: boolean;
  /** Its links are not those of one process. */
  readonly shared: boolean;
  readonly attachment: ModuleProbes;
  /** By which it is remembered that a process died of it; null: it never is. */
  readonly crashKey: string | null;
  readonly pids: Set<number>;
  /** When its last process ended, in ms of performance.now(); null: some run. */
  idleSince: number | null;
  /** By which it can be opened, also when none of its processes is left; null: the kernel. */
  readonly file: OpenFile | null;
  /** Keeps the file as it is while probes wait for its next process; null: they do not wait. */
  readonly lease: Lease | null;
}

/** One rule in one module, whether it is probed or not. */
export const keyOf = (rule: TraceRule, fileId: string, role: ModuleRole): string =>
  `${rule.id}\0${role.kind}\0${fileId}`;

export const isKeyOf = (rule: TraceRule, key: string): boolean => key.startsWith(`${rule.id}\0`);

export const sitesOf = ({ attachment }: ProbedModule): number => siteCount(attachment.plan);
