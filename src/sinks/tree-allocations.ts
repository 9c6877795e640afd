/** Where calls allocated most, beneath the table at the end. */
import type { Allocations, AllocationStack, Frame } from './sink.js';
import { count, type Paint, plural, printable, size } from './tree-format.js';

const MOST_STACKS = 5;
/** Of one stack. */
const MOST_FRAMES = 8;

export function allocationLines(of: Allocations, paint: Paint): string[] {
  if (of.samples === 0) return [];
  const { stacks, others, uncounted } = of;
  const shown = stacks.slice(0, MOST_STACKS);
  const more = stacks.length - shown.length + others;
  const rest = [
    ...(more > 0 ? [plural(more, 'other stack')] : []),
    ...(uncounted.samples > 0
      ? [`${plural(uncounted.samples, 'sample')} of stacks that found no room`]
      : []),
  ];
  return [
    `allocated, of ${size(of.bytes)} in ${plural(of.samples, 'sample')}:`,
    ...shown.flatMap((stack) => stackLines(stack, of.bytes, paint)),
    ...(rest.length > 0 ? [paint.dim(`  and ${rest.join(', ')}`)] : []),
  ];
}

function stackLines(stack: AllocationStack, all: number, paint: Paint): string[] {
  const { bytes, samples, frames, cut } = stack;
  const share = all > 0 ? `${((bytes / all) * 100).toFixed(1)} %` : '-';
  const left = frames.length - MOST_FRAMES;
  return [
    `  ${share}, ${size(bytes)} in ${plural(samples, 'sample')}: ${printable(stack.function)}`,
    ...frames.slice(0, MOST_FRAMES).map((frame) => `    ${frameText(frame, paint)}`),
    ...(left > 0 ? [paint.dim(`    … ${count(left)} more`)] : cut ? [paint.dim('    …')] : []),
  ];
}

function frameText({ function: name, file, line }: Frame, paint: Paint): string {
  const place = file === null ? '' : ` ${paint.dim(printable(`${file}:${line}`))}`;
  return `${printable(name)}${place}`;
}
