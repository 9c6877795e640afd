/** What was needed once is given back to the host, not kept for when it may be needed again. */

/** After the addon has let go of what it read (IDLE_MS of module_binding.cc). */
const LATER_MS = 3_000;

let waiting = false;

/**
 * Collects all garbage and shrinks the heap, once, in a moment: a program that then has little to do
 * would stay as large as planning has made it. It takes some 50 ms.
 */
export function giveMemoryBackSoon(): void {
  if (waiting) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    void giveBack();
  }, LATER_MS).unref();
}

async function giveBack(): Promise<void> {
  try {
    const { Session } = await import('node:inspector/promises');
    const session = new Session();
    session.connect();
    await session.post('HeapProfiler.collectGarbage');
    session.disconnect();
  } catch {
    // Node can be built without it.
  }
}
