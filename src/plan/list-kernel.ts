/** What of the kernel could be traced, and what not and why. */
import type { Features } from '../native/native.js';
import type { Pattern } from '../symbols/patterns.js';
import { type KernelFunctions, readKernelFunctions } from './kernel-functions.js';
import { isSupported, kernelWay, matching, NO_WAY, oneNameEach, refusal } from './kernel-plan.js';
import type { FunctionList } from './list-functions.js';

/** All patterns are for the kernel. Of each function its answer is what it would be for it alone. */
export function listKernelFunctions(
  features: Features,
  patterns: readonly Pattern[],
  known: KernelFunctions = readKernelFunctions(),
): FunctionList {
  const { names, addresses } = known;
  const { indexes, counts } = matching(names, patterns, []);
  const supported = isSupported(features);
  const way = kernelWay(features, 1);
  const functions = oneNameEach(known, indexes).map((index) => {
    const name = names[index] ?? '';
    const reason = supported ? refusal(known, name, way) : `the kernel ${NO_WAY}`;
    return {
      name: `kernel:${name}`,
      address: addresses[index] ?? 0,
      size: 0,
      file: null,
      line: null,
      sites: reason === null ? 2 : 0,
      reason,
    };
  });
  return { file: 'the kernel', functions, counts, names: names.join('\n') };
}
