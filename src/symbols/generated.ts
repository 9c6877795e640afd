/** Functions that no author wrote: a wildcard does not mean them. */
import { matches, type Matches, type Pattern } from './patterns.js';

/** Around the call of a `go` or `defer` statement, and a method that is used as a value. */
const GO_WRAPPER = /(?:\.(?:deferwrap|gowrap)\d+|-fm)$/;
/** By which a pattern means them. */
const GO_MARK = /wrap|-fm/;

/** From the files that compilers link into every program. */
const START_UP = new Set([
  '_start',
  '_start_c',
  '_init',
  '_fini',
  '_dl_relocate_static_pie',
  'deregister_tm_clones',
  'register_tm_clones',
  '__do_global_dtors_aux',
  'frame_dummy',
  '__libc_csu_init',
  '__libc_csu_fini',
]);

/** Takes away what only a wildcard matches; a pattern that names them has them. */
export function withoutGenerated(found: Matches, patterns: readonly Pattern[]): Matches {
  const counts = [...found.counts];
  const wanted = found.names.map((name) => {
    const isGenerated = GO_WRAPPER.test(name) || START_UP.has(name);
    if (!isGenerated) return true;
    const matching = patterns.flatMap((pattern, index) => (matches(pattern, name) ? [index] : []));
    if (matching.some((index) => means(patterns[index] as Pattern, name))) return true;
    for (const index of matching) counts[index] = (counts[index] ?? 0) - 1;
    return false;
  });
  return {
    ...found,
    counts,
    indexes: found.indexes.filter((_, position) => wanted[position]),
    names: found.names.filter((_, position) => wanted[position]),
  };
}

const means = ({ wild, name: written }: Pattern, name: string): boolean =>
  !wild || (GO_WRAPPER.test(name) ? GO_MARK.test(written) : written.includes(name));
