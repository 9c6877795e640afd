/** Tells when a file says something else, also where it is a link that leads elsewhere by then. */
import { statSync } from 'node:fs';

/** A look is one system call. A ConfigMap's file changes by a link two levels above it, of which
 * no event of its own directory tells. */
const LOOK_MS = 1_000;

export class FileWatch {
  private seen: string;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly path: string,
    private readonly changed: () => void,
  ) {
    this.seen = this.look();
  }

  start(): void {
    this.timer = setInterval(() => this.check(), LOOK_MS);
    this.timer.unref();
  }

  close(): void {
    if (this.timer) clearInterval(this.timer);
  }

  private check(): void {
    const now = this.look();
    // Away for a moment, as while an editor puts another in its place.
    if (now === '' || now === this.seen) return;
    this.seen = now;
    this.changed();
  }

  private look(): string {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(this.path, { bigint: true });
      return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    } catch {
      return '';
    }
  }
}
