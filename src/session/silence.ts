/** How probes fall silent before they go, and what is left open in them. */
import { functionOf, type OpenStackCalls } from './open-calls.js';
import type { ProbedModule } from './probed-module.js';
import type { Session } from './session.js';

/** Time that calls which are open when probes are taken back have to return, in ms. */
const GRACE_MS = 100;

/** When it resolves their probes are gone, and all their records have come. */
export async function silence(session: Session, all: readonly ProbedModule[]): Promise<void> {
  await Promise.all(all.map(({ attachment }) => attachment.detachEntries()));
  const deadline = performance.now() + GRACE_MS;
  let open = await openIn(session, all);
  while (open.some(({ calls }) => calls.length > 0) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    open = await openIn(session, all);
  }
  await Promise.all(all.map(({ attachment }) => attachment.detach()));
  await session.drain();
}

/**
 * All goroutines of processes in which their functions are open, those included that nobody has
 * linked: one attachment may serve processes that are not known yet.
 */
export async function openIn(
  session: Session,
  probed: readonly ProbedModule[],
): Promise<OpenStackCalls[]> {
  const all = await session.allOpenCalls();
  const own = new Set(probed.flatMap(({ pids }) => [...pids]));
  const isOwn = (call: Buffer): boolean =>
    probed.some(({ attachment }) => attachment.has(functionOf(call)));
  for (const { tgid, calls } of all) if (calls.some(isOwn)) own.add(tgid);
  return all.filter(({ tgid }) => own.has(tgid));
}
