import { dirname } from 'node:path';
import { featuresOf, type Selection } from '../src/engine.js';
import { UnderspanError } from '../src/errors.js';
import { addressOf, readKernelFunctions } from '../src/plan/kernel-functions.js';
import {
  listFunctions,
  type FunctionList,
  type ListedFunction,
} from '../src/plan/list-functions.js';
import { listKernelFunctions } from '../src/plan/list-kernel.js';
import { isMeant, MAIN, type ModuleRole, wantsLibraries } from '../src/plan/module-role.js';
import { plural } from '../src/sinks/tree-format.js';
import { parsePattern, type Pattern } from '../src/symbols/patterns.js';
import { hintFor, refuseShellExpanded } from '../src/symbols/suggest.js';
import { interpreterOf, resolveExecutable } from '../src/targets/executable.js';
import { findLibraries } from '../src/targets/library-search.js';
import { mappedLibraries } from '../src/targets/mapped.js';
import { selectTargets } from '../src/targets/select.js';
import type { Target } from '../src/targets/target.js';
import { type Context, say, sayProgress } from './context.js';

export interface SymbolsOptions {
  /** Not asked for where all patterns are for the kernel. Throws where nothing is chosen. */
  selection: () => Selection;
  patterns: string[];
  json: boolean;
}

type Module = Pick<Target, 'exe' | 'file' | 'fileId'>;

interface Listed extends Pick<Target, 'exe' | 'file'> {
  role: ModuleRole;
  pids: number[];
}

/** Lists what could be traced, and what not and why. */
export async function symbols(context: Context, options: SymbolsOptions): Promise<void> {
  refuseShellExpanded(options.patterns);
  const texts = options.patterns.length > 0 ? options.patterns : ['*'];
  const patterns = texts.map(parsePattern);
  const ofKernel = patterns.filter(({ module }) => module.kind === 'kernel');
  const ofPrograms = patterns.filter(({ module }) => module.kind !== 'kernel');
  const native = context.native();
  const matched = new Set<Pattern>();
  /** By what was read first for it: where a pattern's functions were looked for. */
  const readFor = new Map<Pattern, FunctionList>();
  const show = (list: FunctionList, asked: readonly Pattern[], pids: number[]): void => {
    asked.forEach((pattern, index) => {
      if ((list.counts[index] ?? 0) > 0) matched.add(pattern);
      if (!readFor.has(pattern)) readFor.set(pattern, list);
    });
    if (list.functions.length > 0) {
      context.stdout.write(options.json ? renderJson(list, pids) : renderText(list, pids));
    }
  };
  const chosen =
    ofPrograms.length > 0 ? await modulesOf(context, options.selection(), ofPrograms) : [];
  for (const { role, file, exe, pids } of chosen) {
    const asked = ofPrograms.filter((pattern) => isMeant(pattern, role, exe));
    if (asked.length === 0) continue;
    sayProgress(context, `reading ${exe}…`);
    show(await listFunctions(native, file, exe, asked), asked, pids);
  }
  if (ofKernel.length > 0) {
    const functions = readKernelFunctions(dirname(context.procfs.root));
    show(listKernelFunctions(await featuresOf(native), ofKernel, functions), ofKernel, []);
  }
  const missing = patterns.filter((pattern) => !matched.has(pattern));
  for (const pattern of missing) {
    const list = readFor.get(pattern);
    const message = list
      ? `no function of ${list.file} matches '${pattern.text}'`
      : `none of the chosen processes has the file of '${pattern.text}'`;
    const hint = list
      ? hintFor(pattern, list.names)
      : 'name a library as it is called in /proc/PID/maps';
    if (missing.length === patterns.length) {
      throw new UnderspanError('not-found', 'NO_FUNCTION_MATCHES', message, hint);
    }
    say(context, message, hint);
  }
}

/** Executables; and libraries, as they are mapped, or where a command would find them. */
async function modulesOf(
  context: Context,
  selection: Selection,
  patterns: readonly Pattern[],
): Promise<Listed[]> {
  const found = new Map<string, Listed>();
  const add = (role: ModuleRole, { fileId, file, exe }: Module, pids: number[]): void => {
    const known = found.get(fileId);
    if (known) known.pids.push(...pids);
    else found.set(fileId, { role, file, exe, pids: [...pids] });
  };
  const library = (module: Module): ModuleRole => ({ kind: 'library', path: module.exe });
  if (selection.command) {
    const path = resolveExecutable(selection.command[0] ?? '');
    const interpreter = interpreterOf(path);
    const file = interpreter === null ? path : resolveExecutable(interpreter);
    if (interpreter !== null) say(context, `${path} is a script: these are of ${file}`);
    add(MAIN, { fileId: file, file, exe: file }, []);
    for (const { module } of patterns) {
      if (module.kind !== 'library') continue;
      for (const each of findLibraries(module.file)) add(library(each), each, []);
    }
    return [...found.values()];
  }
  const targets = await selectTargets(selection, {
    procfs: context.procfs,
    onWait: (description) => say(context, `waiting for ${description}…`),
  });
  for (const target of targets) add(MAIN, target, [target.pid]);
  if (!wantsLibraries({ patterns })) return [...found.values()];
  for (const { pid, fileId } of targets) {
    for (const each of mappedLibraries(pid, context.procfs)) {
      if (each.fileId !== fileId) add(library(each), each, [pid]);
    }
  }
  return [...found.values()];
}

const hex = (address: number | null): string | null =>
  address === null ? null : `0x${addressOf(address).toString(16)}`;

function renderJson(list: FunctionList, pids: number[]): string {
  return list.functions
    .map(({ address, reason, ...rest }) =>
      JSON.stringify({
        type: 'function',
        executable: list.file,
        pids,
        ...rest,
        address: hex(address),
        traceable: reason === null,
        reason,
      }),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function renderText({ file, functions }: FunctionList, pids: number[]): string {
  const traceable = functions.filter(({ reason }) => reason === null).length;
  const whose = pids.length > 0 ? ` (pid ${pids.join(', ')})` : '';
  const head = `${file}${whose}: ${traceable} of ${plural(functions.length, 'function')} can be traced`;
  const width = functions.reduce(
    (most, { address }) => Math.max(most, hex(address)?.length ?? 0),
    7,
  );
  const columns = (address: string, size: string, probes: string): string =>
    `${address.padStart(width)} ${size.padStart(7)} ${probes.padStart(6)}  `;
  const line = ({ name, address, size, sites, reason, ...at }: ListedFunction): string =>
    columns(
      hex(address) ?? '-',
      size === 0 ? '-' : String(size),
      reason === null ? String(sites) : '-',
    ) +
    name +
    (reason === null
      ? at.file === null
        ? ''
        : `  ${at.file}:${at.line ?? 0}`
      : `  (cannot be traced: ${reason})`);
  const lines = [head, `${columns('ADDRESS', 'BYTES', 'PROBES')}FUNCTION`, ...functions.map(line)];
  return `${lines.join('\n')}\n`;
}
