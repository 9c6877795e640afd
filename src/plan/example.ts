import type { Native } from '../native/native.js';
import { debugRoots } from './debug-roots.js';

/** Patterns that a user may want for this executable: its own packages. Never fails. */
export async function examplePatterns(native: Native, file: string): Promise<string[]> {
  try {
    const module = await native.openModule(file, debugRoots(file));
    try {
      const own = module.facts.go?.mainModule;
      const { names } = await module.functions();
      return own && `\n${names}`.includes(`\n${own}/`) ? ['main.*', `${own}/*`] : ['main.*'];
    } finally {
      module.close();
    }
  } catch {
    return ['main.*'];
  }
}
