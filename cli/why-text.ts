/** The answer of `trace why`, for a person and for machines. */
import { sumOf } from '../src/sinks/losses.js';
import { count, duration, type Paint, plural, printable, table } from '../src/sinks/tree-format.js';
import { lostLine, overheadLine } from '../src/sinks/tree-summary.js';
import { TIME_REASONS } from '../src/spans/time-attributes.js';
import type { WhyReport } from '../src/why/analysis.js';
import type { FunctionDifference, PathStep } from '../src/why/compare.js';
import { sentenceOf } from '../src/why/words.js';
import type { Answer, LookedAgain } from './why-looks.js';

const MAX_ROWS = 10;
const MAX_OTHERS = 5;
/** Fewer requests of one name are what was left over when it began and when it ended. */
const MANY = 8;
/** What is less of the difference is of no interest. */
const LEAST_SHARE = 0.01;

export function renderWhy(answer: Answer, paint: Paint): string {
  const { report, summary, again } = answer;
  const { verdict } = report;
  const lines = [paint.bold(sentenceOf(report))];
  if (report.functions.length > 0 && (verdict !== null || report.criterion.kind !== 'outliers')) {
    lines.push('', mediansLine(report));
    // How long failed requests took is not the question.
    if (report.criterion.kind !== 'errors') {
      lines.push('', ...functionLines(report.functions, paint));
    }
    lines.push('', ...pathLines(report.path, paint));
  }
  lines.push('');
  if (verdict) lines.push(`evidence: trace ${verdict.traceId}`);
  if (verdict?.by?.traceId) lines.push(`who held it: trace ${verdict.by.traceId}`);
  lines.push(...otherLines(report));
  if (report.incomplete + report.dropped > 0) {
    lines.push(
      `not looked at: ${count(report.incomplete)} requests that are not whole, ${count(report.dropped)} spans without room`,
    );
  }
  if (again) lines.push(againLine(again));
  lines.push(`lost: ${lostLine(lostOf(answer))}`, `overhead: ${overheadLine(summary.overhead)}`);
  if (again) lines.push(`overhead of looking again: ${overheadLine(again.summary.overhead)}`);
  return `${lines.join('\n')}\n`;
}

function mediansLine({ slowMedianNs, normalMedianNs, thresholdNs, criterion }: WhyReport): string {
  const what = criterion.kind === 'errors' ? 'failed' : 'slow';
  const above = thresholdNs === null ? '' : `, which is above ${duration(thresholdNs)}`;
  return `median: ${what} ${duration(slowMedianNs)}${above}; normal ${duration(normalMedianNs)}`;
}

const HEAD = ['function', 'share', 'slow', 'normal', 'calls', 'normally', 'spent on'];

function functionLines(functions: readonly FunctionDifference[], paint: Paint): string[] {
  const shown = functions.filter(({ share }) => Math.abs(share) >= LEAST_SHARE).slice(0, MAX_ROWS);
  const rows = shown.map((each) => [
    printable(each.name),
    `${(each.share * 100).toFixed(0)} %`,
    time(each.slowNs),
    time(each.normalNs),
    calls(each.slowCalls),
    calls(each.normalCalls),
    spentOn(each),
  ]);
  const [head = '', ...lines] = table([HEAD, ...rows]);
  return [paint.bold(head), ...lines];
}

const time = (ns: number): string => (ns > 0 ? duration(ns) : '-');
const calls = (value: number): string => String(Math.round(value * 10) / 10);

/** The two reasons on which most of the difference was spent. */
function spentOn({ times }: FunctionDifference): string {
  const reasons = TIME_REASONS.map((reason) => [reason, times[reason] ?? 0] as const)
    .filter(([, ns]) => ns > 0)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 2)
    .map(([reason, ns]) => `${reason.replaceAll('_', ' ')} ${duration(ns)}`);
  return reasons.join(', ');
}

function pathLines(path: readonly PathStep[], paint: Paint): string[] {
  const rows = path.map(({ name, slowNs, normalNs }, depth) => [
    `${'  '.repeat(depth)}${printable(name)}`,
    time(slowNs),
    time(normalNs),
  ]);
  const [head = '', ...lines] = table([['path', 'slow', 'normal'], ...rows]);
  return [paint.bold(head), ...lines];
}

function otherLines({ others }: WhyReport): string[] {
  const told = others.filter(({ requests, verdict }) => verdict !== null || requests >= MANY);
  const lines = told.slice(0, MAX_OTHERS).map(({ request, requests, slow, verdict }) => {
    const answer = verdict
      ? `${count(slow)} slow, mostly in ${printable(verdict.function)}`
      : 'nothing stands out';
    return `also: ${printable(request)}, ${count(requests)} requests: ${answer}`;
  });
  const more = told.length - lines.length;
  return more > 0 ? [...lines, `also: ${count(more)} more`] : lines;
}

function againLine({ ms, functions, added, leftOut, answers }: LookedAgain): string {
  const still = leftOut.length > 0 ? ` (${count(leftOut.length)} more still are)` : '';
  const whose = answers
    ? 'the answer is of this look'
    : 'it says no more, and the answer is of the first look';
  return `looked again for ${duration(ms * 1e6)}, at ${plural(functions, 'function')}: those on the path and ${count(added.length)} left out before${still}; ${whose}`;
}

/** In both looks. */
const lostOf = ({ summary, again }: Answer): Record<string, number> =>
  sumOf(summary.lost, again?.summary.lost ?? {});

/** One object; durations in nanoseconds, of a request on average. */
export function renderWhyJson(answer: Answer): string {
  const { report, summary, again } = answer;
  const { verdict, criterion } = report;
  return `${JSON.stringify({
    type: 'why',
    sentence: sentenceOf(report),
    request: report.request,
    requests: report.requests,
    slow: report.slow,
    criterion: criterion.kind,
    thresholdNano: whole(report.thresholdNs),
    slowMedianNano: whole(report.slowMedianNs),
    normalMedianNano: whole(report.normalMedianNs),
    verdict: verdict && verdictJson(verdict),
    nothing: report.nothing,
    suspect: report.suspect,
    functions: report.functions.map(({ slowNs, normalNs, differenceNs, times, ...rest }) => ({
      ...rest,
      slowNano: whole(slowNs),
      normalNano: whole(normalNs),
      differenceNano: whole(differenceNs),
      times: Object.fromEntries(Object.entries(times).map(([reason, ns]) => [reason, whole(ns)])),
    })),
    path: report.path.map(({ slowNs, normalNs, selfSlowNs, selfNormalNs, ...rest }) => ({
      ...rest,
      slowNano: whole(slowNs),
      normalNano: whole(normalNs),
      selfSlowNano: whole(selfSlowNs),
      selfNormalNano: whole(selfNormalNs),
    })),
    others: report.others.map(({ verdict, ...rest }) => ({
      ...rest,
      verdict: verdict && verdictJson(verdict),
    })),
    incomplete: report.incomplete,
    dropped: report.dropped,
    lookedAgain: again && againJson(again),
    lost: lostOf(answer),
    overhead: summary.overhead,
  })}\n`;
}

function verdictJson({ differenceNs, ...rest }: NonNullable<WhyReport['verdict']>): object {
  return { ...rest, differenceNano: whole(differenceNs) };
}

function againJson({ ms, summary, ...rest }: LookedAgain): object {
  return { durationNano: whole(ms * 1e6), ...rest, overhead: summary.overhead };
}

const whole = <T extends number | null>(ns: T): T => (ns === null ? ns : (Math.round(ns) as T));
