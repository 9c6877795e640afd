import { UnderspanError } from '../errors.js';
import type { Inlined, Module, Native } from '../native/native.js';
import { withoutGenerated } from '../symbols/generated.js';
import { matchAll, type Matches, matches, type Pattern } from '../symbols/patterns.js';
import { hintFor } from '../symbols/suggest.js';
import { debugRoots } from './debug-roots.js';
import type { ValueRequest } from './function-values.js';
import type { HostCosts } from './host-costs.js';
import { moduleError } from './module-errors.js';
import { planOnce } from './plan-cache.js';
import { type ModulePlan, siteCount } from './plan.js';
import type { Trampolines } from './trampolines.js';

export interface PlanRequest {
  patterns: readonly Pattern[];
  /** Functions among them that handle HTTP requests, and of which route. */
  handlers: readonly HttpHandler[];
  excludes: readonly Pattern[];
  entryOnly: boolean;
  trampolines: Trampolines;
  values: ValueRequest;
  /** What calls wait for is looked at. */
  waits: boolean;
  /** What the garbage collector does is told. */
  gc: boolean;
  /** What calls allocate is looked at. */
  allocations: boolean;
  /** What the ways cost among which is chosen. */
  costs: HostCosts;
  maxFunctions: number;
  maxSites: number;
}

export interface HttpHandler {
  pattern: Pattern;
  route: string;
}

/**
 * Opens a module and plans its probes. Throws if nothing in it can be traced that the patterns ask
 * for: no function that matches, or too many. Without patterns it has only what our own bookkeeping
 * needs.
 */
export async function planModule(
  native: Native,
  file: string,
  shownAs: string,
  request: PlanRequest,
): Promise<ModulePlan> {
  const module = await openModule(native, file, shownAs);
  try {
    return await planOnce(module, shownAs, request, () => planOpened(module, shownAs, request));
  } catch (error) {
    module.close();
    throw error;
  }
}

async function openModule(native: Native, file: string, shownAs: string): Promise<Module> {
  try {
    return await native.openModule(file, debugRoots(file));
  } catch (error) {
    throw moduleError(error, shownAs);
  }
}

async function planOpened(
  module: Module,
  shownAs: string,
  request: PlanRequest,
): Promise<ModulePlan> {
  const table = await module.functions();
  const found = withoutGenerated(
    matchAll(request.patterns, request.excludes, table),
    request.patterns,
  );
  const notices = await planMatches(module, shownAs, request, table.names, found);
  const built = module.facts.go
    ? await (
        await import('./go-plan.js')
      ).planGo(module, table, found.indexes, {
        ...request,
        routeOf: (name) =>
          request.handlers.find(({ pattern }) => matches(pattern, name))?.route ?? null,
      })
    : await (await import('./native-plan.js')).planNative(module, table, found.indexes, request);
  built.notices.push(...notices, ...refusedByName(built, request.patterns));
  const sites = siteCount(built);
  if (sites > request.maxSites) {
    throw new UnderspanError(
      'usage',
      'TOO_MANY_SITES',
      `${built.functions.length} functions need ${sites} probes; this kernel attaches them one by one, and more than ${request.maxSites} take too long`,
      'narrow the patterns, or use a kernel with uprobe_multi (Linux 6.6)',
    );
  }
  if (built.functions.length === 0 && request.patterns.length > 0) {
    const [first] = built.refused;
    throw new UnderspanError(
      'unsupported',
      'NOTHING_TRACEABLE',
      `none of the ${built.refused.length} functions that match can be traced` +
        (first ? `: ${first.name} ${first.reason}` : ''),
      "'trace symbols' lists each with the reason",
    );
  }
  return built;
}

/** Functions that a pattern names, and that cannot be traced, beside others that can. */
function refusedByName(
  { functions, refused }: ModulePlan,
  patterns: readonly Pattern[],
): ModulePlan['notices'] {
  if (functions.length === 0) return [];
  const named = patterns.filter(({ wild }) => !wild);
  return refused
    .filter(({ name }) => named.some((pattern) => matches(pattern, name)))
    .map(({ name, reason }) => ({
      code: 'FUNCTION_NOT_TRACED',
      message: `${name} is not traced: ${reason}`,
      hint: "'trace symbols' lists what can be",
    }));
}

const ONE_BY_ONE =
  '; this kernel has no uprobe_multi (Linux 6.6) and attaches probes one by one, and far more slowly takes them back';

/** Refuses what matches nothing or too much; notices for patterns that match nothing. */
async function planMatches(
  module: Module,
  shownAs: string,
  { patterns, maxFunctions, maxSites }: PlanRequest,
  names: string,
  found: Matches,
): Promise<ModulePlan['notices']> {
  if (found.indexes.length > maxFunctions) {
    throw new UnderspanError(
      'usage',
      'TOO_MANY_FUNCTIONS',
      `${found.indexes.length.toLocaleString('en')} functions match, more than the ${maxFunctions.toLocaleString('en')} that are allowed at once` +
        (maxSites === Infinity ? '' : ONE_BY_ONE),
      `narrow the patterns or --exclude some, or raise the limit with --max-functions ${found.indexes.length}`,
    );
  }
  const empty = patterns.filter((_, index) => found.counts[index] === 0);
  const inlined = module.facts.go ? await module.inlined() : [];
  const problems = [
    ...empty.map((pattern) => nothingMatches(pattern, shownAs, names, inlined)),
    ...partlyInlined(new Set(found.names), inlined),
    ...whollyInlined(patterns, found, inlined),
  ];
  const [first] = problems;
  if (first && found.indexes.length === 0) {
    const { code, message, hint, pattern } = first;
    throw new UnderspanError('not-found', code, message, hint, { pattern });
  }
  return problems;
}

/** Of a function that was inlined here and there, the calls there are not seen. */
function partlyInlined(
  matching: ReadonlySet<string>,
  inlined: readonly Inlined[],
): ReturnType<typeof nothingMatches>[] {
  const partly = inlined.filter(({ name, hasCode }) => hasCode && matching.has(name));
  const [first] = partly;
  if (!first) return [];
  const others = partly.length > 1 ? ` (and ${partly.length - 1} more, in theirs)` : '';
  return [
    {
      code: 'FUNCTION_PARTLY_INLINED',
      message: `calls of ${first.name} are not seen in ${first.into.join(', ')}, which the compiler has inlined it into${others}`,
      hint: "'trace symbols' lists them",
    },
  ];
}

/** Functions that a pattern names, beside others, and that are nowhere but in their callers. */
function whollyInlined(
  patterns: readonly Pattern[],
  found: Matches,
  inlined: readonly Inlined[],
): ReturnType<typeof nothingMatches>[] {
  const gone = inlined.filter(
    ({ name, hasCode }) =>
      !hasCode &&
      patterns.some((pattern, index) => (found.counts[index] ?? 0) > 0 && matches(pattern, name)),
  );
  const [first] = gone;
  if (!first) return [];
  const others = gone.length > 1 ? ` (and ${gone.length - 1} more that match)` : '';
  return [
    {
      code: 'FUNCTION_INLINED',
      message: `${first.name}${others} was inlined by the compiler and has no code of its own: it is in ${first.into.join(', ')}`,
      hint: "'trace symbols' lists them",
    },
  ];
}

function nothingMatches(
  pattern: Pattern,
  shownAs: string,
  names: string,
  inlined: readonly Inlined[],
): ModulePlan['notices'][number] & { hint: string } {
  const gone = inlined.filter(({ name, hasCode }) => !hasCode && matches(pattern, name));
  const [first] = gone;
  if (first) {
    const others = gone.length > 1 ? ` (and ${gone.length - 1} more that match)` : '';
    return {
      code: 'FUNCTION_INLINED',
      message: `'${pattern.text}': ${first.name}${others} was inlined by the compiler and has no code of its own`,
      hint: `trace a function that it was inlined into: ${first.into.join(', ')}`,
      pattern: pattern.text,
    };
  }
  return {
    code: 'NO_FUNCTION_MATCHES',
    message: `no function of ${shownAs} matches '${pattern.text}'`,
    hint: hintFor(pattern, names),
    pattern: pattern.text,
  };
}
