/** What a module is to a process, and so which patterns are meant for it. */
import type { Pattern } from '../symbols/patterns.js';
import type { PlanRequest } from './plan-module.js';

export type ModuleRole =
  | { kind: 'main' }
  /** A shared library, by its path as the process sees it. */
  | { kind: 'library'; path: string }
  | { kind: 'kernel' };

/** The main executable. */
export const MAIN: ModuleRole = { kind: 'main' };
export const KERNEL: ModuleRole = { kind: 'kernel' };

/**
 * Libraries in which runtimes change stacks, or the dynamic linker tells of others, by file name.
 * They are watched in every process that runs native functions.
 */
const RUNTIMES = /^(?:libc\.so|libc\.musl-|ld-linux|ld-musl-|ld64|libstdc\+\+\.so|libc\+\+abi\.so)/;

const fileName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const isRuntime = (path: string): boolean => RUNTIMES.test(fileName(path));

/** "libssl.so" is any version of it, "libssl.so.3" that one. */
export function isMeant({ module }: Pattern, role: ModuleRole, exe: string): boolean {
  if (role.kind === 'kernel' || module.kind === 'kernel') return role.kind === module.kind;
  const path = role.kind === 'main' ? exe : role.path;
  switch (module.kind) {
    case 'main':
      return role.kind === 'main';
    case 'library':
      return fileName(path) === module.file || fileName(path).startsWith(`${module.file}.`);
    case 'path':
      return path === module.path;
  }
}

/** The part of a request that is meant for a module. What is excluded without a module is so in all. */
export function requestFor(request: PlanRequest, role: ModuleRole, exe: string): PlanRequest {
  const meant = (pattern: Pattern): boolean => isMeant(pattern, role, exe);
  return {
    ...request,
    patterns: request.patterns.filter(meant),
    handlers: request.handlers.filter(({ pattern }) => meant(pattern)),
    excludes: request.excludes.filter(
      (pattern) => pattern.module.kind === 'main' || isMeant(pattern, role, exe),
    ),
  };
}

/** Functions of the kernel are wanted too. */
export const wantsKernel = ({ patterns }: PlanRequest): boolean =>
  patterns.some(({ module }) => module.kind === 'kernel');

/** Functions of libraries are wanted too. */
export const wantsLibraries = ({ patterns }: Pick<PlanRequest, 'patterns'>): boolean =>
  patterns.some(({ module }) => module.kind === 'library' || module.kind === 'path');
