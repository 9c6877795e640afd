import { UnderspanError } from './errors.js';
import { knownFeatures } from './native/features.js';
import type { Features, Native } from './native/native.js';
import { type HostCosts, hostCosts } from './plan/host-costs.js';
import {
  KERNEL,
  MAIN,
  type ModuleRole,
  requestFor,
  wantsKernel,
  wantsLibraries,
} from './plan/module-role.js';
import { planModule, type PlanRequest } from './plan/plan-module.js';
import { type ModulePlan, privateBytes } from './plan/plan.js';
import { refuseUnclaimed } from './plan/unclaimed.js';
import { crashKey, Crashes } from './session/crashes.js';
import { KERNEL_FILE, type ModuleFile } from './session/probed-module.js';
import { kernelError } from './session/kernel-errors.js';
import { type FirstTarget, Running } from './session/running.js';
import type { TraceRule } from './session/rule.js';
import type { Transport } from './session/transport.js';
import { planRequest, ruleOf, type Selects, type TraceWishes } from './session/wishes.js';
import type { Notice, Sink, Summary } from './sinks/sink.js';
import { memoryGroups, memoryShortage } from './targets/cgroup-memory.js';
import { interpreterOf, resolveExecutable } from './targets/executable.js';
import { type CommandEnd, launch, type LaunchedCommand } from './targets/launch.js';
import { findLibraries, libraryAt } from './targets/library-search.js';
import { mappedLibraries } from './targets/mapped.js';
import { Procfs } from './targets/procfs.js';
import { fits, mayFitSoon, namesFile, selectTargets } from './targets/select.js';
import type { Target } from './targets/target.js';

/** Which processes. All kinds that are given must hold; within a kind any may. */
export interface Selection {
  pids: number[];
  exes: string[];
  comms: string[];
  containers: string[];
  services: string[];
  /** A command that is started, and traced from its first instruction; null: none. */
  command: string[] | null;
  /** How long to wait for a first process that fits, in ms; 0: not at all. */
  waitMs: number;
}

/** Durations in nanoseconds. */
export interface TraceOptions extends TraceWishes {
  selection: Selection;
  /** How records leave the kernel; perf buffers also where it has no ring. */
  transport: Transport;
  /**
   * Size of the ring buffer in bytes, or of all perf buffers together; a power of two and a multiple
   * of the page size.
   */
  ringBytes: number;
  sinks: Sink[];
  /** By which stacks calls allocate is looked at, where it is looked at what they allocate; the default. */
  allocationStacks?: boolean;
}

/** What would be attached, and to which processes. */
export interface Plan {
  targets: Target[];
  modules: PlannedModule[];
  /** By which its sites were chosen. */
  costs: HostCosts;
  notices: Notice[];
}

/** An executable or library, and the targets that have it. */
export interface PlannedModule {
  /** As its processes see it. */
  path: string;
  fileId: string;
  role: ModuleRole;
  pids: number[];
  plan: ModulePlan;
}

/** Tracing that goes on. */
export interface Trace {
  readonly plan: Plan;
  /** The last target has ended; stop() is still to be called. */
  readonly ended: Promise<void>;
  /** With a command: how it ended. */
  readonly command: Promise<CommandEnd> | null;
  /** Detaches, delivers what is left, and closes the sinks. */
  stop(): Promise<Summary>;
}

/** Plans without attaching anything; of a command only the file is looked at. */
export async function planTrace(native: Native, options: TraceOptions): Promise<Plan> {
  const features = await featuresOf(native);
  const costs = await hostCosts(native, features);
  const request = planRequest(options, features, costs);
  const { command } = options.selection;
  if (command) {
    const path = resolveExecutable(command[0] ?? '');
    const interpreter = interpreterOf(path);
    const file = interpreter === null ? path : resolveExecutable(interpreter);
    const plan = await planModule(native, file, file, requestFor(request, MAIN, file));
    const module = { path: file, fileId: file, role: MAIN, pids: [], plan };
    const planned = {
      targets: [],
      modules: [module],
      costs: request.costs,
      notices: plan.notices,
    };
    return showKernel(planned, await kernelPlan(native, features, request), request);
  }
  const found = await planTargets(native, await selectTargets(options.selection), request);
  const rule = ruleOf(options, features, costs, selectedBy(options.selection));
  const refusals = [...memoryNotices(found), ...crashNotices(found, rule)];
  const plan = { ...found, notices: [...found.notices, ...refusals] };
  return showKernel(plan, await kernelPlan(native, features, request), request);
}

/** With what is attached there too; a session plans that by itself. */
function showKernel(planned: Plan, kernel: ModulePlan | null, request: PlanRequest): Plan {
  const plan = withKernel(planned, kernel, request);
  if (!kernel) return plan;
  const { exe: path, fileId } = KERNEL_FILE;
  const pids = plan.targets.map(({ pid }) => pid);
  return {
    ...plan,
    modules: [...plan.modules, { path, fileId, role: KERNEL, pids, plan: kernel }],
  };
}

/** What will be refused when it is attached. */
function memoryNotices({ modules }: Plan): Notice[] {
  const procfs = new Procfs();
  const needs = modules.flatMap(({ pids, plan }) =>
    pids.map((pid) => ({ pid, bytes: privateBytes(plan) })),
  );
  const shortage = memoryShortage(needs, (pid) => memoryGroups(pid, procfs));
  if (!shortage) return [];
  return [noticeOf(shortage)];
}

function crashNotices({ modules }: Plan, rule: TraceRule): Notice[] {
  const crashes = new Crashes();
  return modules.flatMap(({ plan, path }) => {
    const key = crashKey(plan, path, rule);
    const refusal = key === null ? null : crashes.refusal(key);
    return refusal ? [noticeOf(refusal)] : [];
  });
}

const noticeOf = ({ code, message, hint }: UnderspanError): Notice => ({
  code,
  message,
  ...(hint === undefined ? {} : { hint }),
});

/** Throws where functions of the kernel are asked for and cannot be traced. */
async function kernelPlan(
  native: Native,
  features: Features,
  request: PlanRequest,
): Promise<ModulePlan | null> {
  if (!wantsKernel(request)) return null;
  const { planKernel } = await import('./plan/kernel-plan.js');
  return planKernel(native, features, requestFor(request, KERNEL, KERNEL_FILE.exe));
}

/** Throws where an argument is asked for that no function of all these has. */
function withKernel(plan: Plan, kernel: ModulePlan | null, request: PlanRequest): Plan {
  const modules = plan.modules.map(({ role, path, plan }) => ({ role, exe: path, plan }));
  if (kernel) modules.push({ role: KERNEL, exe: KERNEL_FILE.exe, plan: kernel });
  // Where no executable could be planned yet, a later one may have it.
  if (plan.modules.length > 0) refuseUnclaimed(request, modules);
  return { ...plan, notices: [...plan.notices, ...(kernel?.notices ?? [])] };
}

async function planTargets(native: Native, targets: Target[], request: PlanRequest): Promise<Plan> {
  const modules: PlannedModule[] = [];
  // All modules of a session share one table of statistics.
  let room = request.maxFunctions;
  const add = async (role: ModuleRole, target: ModuleFile, pid: number): Promise<void> => {
    const known = modules.find(({ fileId }) => fileId === target.fileId);
    if (known) return void known.pids.push(pid);
    const wanted = requestFor({ ...request, maxFunctions: room }, role, target.exe);
    if (role.kind === 'library' && wanted.patterns.length === 0) return;
    const plan = await planModule(native, target.file, target.exe, wanted);
    room -= plan.functions.length;
    modules.push({ path: target.exe, fileId: target.fileId, role, pids: [pid], plan });
  };
  const procfs = new Procfs();
  for (const target of targets) {
    await add(MAIN, target, target.pid);
    if (!wantsLibraries(request)) continue;
    for (const library of mappedLibraries(target.pid, procfs)) {
      if (library.fileId === target.fileId) continue;
      await add({ kind: 'library', path: library.exe }, library, target.pid);
    }
  }
  const notices = modules.flatMap(({ plan }) => plan.notices);
  return { targets, modules, costs: request.costs, notices };
}

/** Attaches and begins to deliver to the sinks. */
export async function startTrace(native: Native, options: TraceOptions): Promise<Trace> {
  const features = await featuresOf(native);
  requireFeatures(features);
  const costs = await hostCosts(native, features);
  const request = planRequest(options, features, costs);
  const ofKernel = await kernelPlan(native, features, request);
  const { selection } = options;
  const launched = selection.command ? await launch(selection.command) : null;
  let plan!: Plan;
  const planFirst = async (): Promise<FirstTarget[]> => {
    const targets = launched ? [launched.target] : await selectTargets(selection);
    const planned = await planTargets(native, targets, request).catch((error: unknown) => {
      // A command that is a script, or a shell, may still start what is to be traced.
      const later = launched && options.followForks && isShell(launched);
      if (!later || !(error instanceof UnderspanError) || error.code !== 'NO_FUNCTION_MATCHES') {
        throw error;
      }
      return { targets, modules: [], costs, notices: [] } satisfies Plan;
    });
    plan = showKernel(planned, ofKernel, request);
    return targets.map((target) => ({
      target,
      plan: mainPlan(plan, target),
      libraries: launched ? expectedLibraries(request, mainPlan(plan, target)) : [],
    }));
  };
  try {
    const { sinks, transport, ringBytes } = options;
    const running = await Running.start(
      native,
      features,
      {
        rules: [ruleOf(options, features, costs, selectedBy(selection))],
        sinks,
        transport,
        ringBytes,
        maxFunctions: request.maxFunctions,
        watchesExecs: selection.pids.length === 0 && selection.command === null,
        // Whoever looks at a program by hand restarts it, and wants to see it again.
        idleMs: Infinity,
        hostBudget: Infinity,
        allocationStacks: options.allocationStacks ?? true,
        // Whether a command of the user's own is started again is the user's affair.
        crashes: launched ? null : new Crashes(),
      },
      planFirst,
    );
    await running.followed.settled();
    launched?.release();
    return {
      plan,
      ended: running.ended,
      command: launched?.exited ?? null,
      stop: () => running.stop(),
    };
  } catch (error) {
    launched?.kill('SIGKILL');
    throw error;
  }
}

const mainPlan = ({ modules }: Plan, { fileId }: Target): ModulePlan | null =>
  modules.find((module) => module.role.kind === 'main' && module.fileId === fileId)?.plan ?? null;

/**
 * Libraries with functions to trace, where a command that is about to run will find them; and its
 * dynamic linker, which the shell that becomes the command may have another of. That of musl is the
 * C library as well.
 */
function expectedLibraries({ patterns }: PlanRequest, plan: ModulePlan | null): ModuleFile[] {
  const names = patterns.flatMap(({ module }) => (module.kind === 'library' ? [module.file] : []));
  const linker = plan?.module.facts.interpreter ?? null;
  return [
    ...(linker === null ? [] : libraryAt(linker)),
    ...[...new Set(names)].flatMap((name) => findLibraries(name)),
  ];
}

/** What runs other programs: an interpreter of scripts, or what stands before another command. */
const isShell = ({ script, target }: LaunchedCommand): boolean =>
  script !== null || LAUNCHERS.test(target.exe);
const LAUNCHERS =
  /\/(?:busybox|\w*sh|env|exec|nice|nohup|setsid|sudo|su|chroot|timeout|taskset|stdbuf|time|xargs)$/;

/** Which processes a selection means, as a rule is asked. */
function selectedBy(selection: Selection): Selects {
  const { pids, exes, comms, containers, services } = selection;
  const others = [pids, comms, containers, services].some((kind) => kind.length > 0);
  return {
    id: 'selection',
    name: '',
    fits: (pid) => (fits(selection, pid) ? 'yes' : mayFitSoon(selection, pid) ? 'not yet' : 'no'),
    reach: ({ exe, fileId }) => (!others && namesFile(exes, exe, fileId) ? 'all' : 'some'),
    followExecs: true,
    hold: [],
  };
}

export async function featuresOf(native: Native): Promise<Features> {
  try {
    return await knownFeatures(native);
  } catch (error) {
    throw kernelError(error);
  }
}

export function requireFeatures(features: Features): void {
  if (features.btf) return;
  throw new UnderspanError(
    'unsupported',
    'KERNEL_TOO_OLD',
    'this kernel has no BTF of its own (CONFIG_DEBUG_INFO_BTF)',
    "'trace doctor' lists what else is there",
  );
}
