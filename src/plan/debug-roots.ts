/**
 * Where the debug files of a program are looked for: with those that its process sees, since a
 * container has its own.
 */
export function debugRoots(file: string): string[] {
  const process = /^\/proc\/(?:\d+|self)(?=\/)/.exec(file);
  return [process ? `${process[0]}/root` : '/'];
}
