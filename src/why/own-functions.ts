/** A program's own functions: those that its authors wrote, not those of its libraries. */
import { debugRoots } from '../plan/debug-roots.js';
import type { Native } from '../native/native.js';
import { forEachName, ownCopy } from '../symbols/joined-names.js';

/** Patterns that mean them, no more than `limit` functions. */
export async function ownFunctions(native: Native, file: string, limit: number): Promise<string[]> {
  const module = await native.openModule(file, debugRoots(file));
  try {
    const { go } = module.facts;
    // Of other languages nothing says where a function comes from.
    if (!go) return ['*'];
    const { names } = await module.functions();
    return ownPatterns(names, go.mainModule, limit);
  } finally {
    module.close();
  }
}

/** Of Go: the packages of the main module, or if that is too much, what requests begin in and inwards. */
export function ownPatterns(names: string, mainModule: string | null, limit: number): string[] {
  const packages = new Map<string, string[]>();
  forEachName(names, (name) => {
    const own = packageOf(name);
    const isOwn = own === 'main' || own === mainModule || own.startsWith(`${mainModule}/`);
    if (!isOwn || name.includes(':')) return;
    const functions = packages.get(own);
    if (functions) functions.push(ownCopy(name));
    else packages.set(own, [ownCopy(name)]);
  });
  const all = [...packages];
  const handlers = all.flatMap(([, functions]) => functions.filter(isHandler));
  // Handlers first, then the packages that have most of them, whole ones only.
  all.sort(([, a], [, b]) => b.filter(isHandler).length - a.filter(isHandler).length);
  let room = limit - handlers.length;
  const patterns: string[] = [];
  const isWhole = all.map(([own, functions]) => {
    const fits = functions.length <= room;
    if (fits) {
      room -= functions.length;
      patterns.push(`${own}.*`);
    }
    return fits;
  });
  if (isWhole.every((each) => each)) return patterns;
  const others = all.flatMap(([, functions], index) =>
    isWhole[index] ? [] : functions.filter(isHandler),
  );
  return [...patterns, ...others].slice(0, limit);
}

/** "example.com/shop/cart" of "example.com/shop/cart.(*Cart).Add". */
function packageOf(name: string): string {
  // What stands in brackets are types with packages of their own.
  const bracket = name.indexOf('[');
  const plain = bracket < 0 ? name : name.slice(0, bracket);
  const dot = plain.indexOf('.', plain.lastIndexOf('/') + 1);
  return dot < 0 ? '' : plain.slice(0, dot);
}

/** Of net/http, and what the gRPC compiler makes of a method. */
const isHandler = (name: string): boolean => /\.ServeHTTP$|\._\w+_\w+_Handler$/.test(name);
