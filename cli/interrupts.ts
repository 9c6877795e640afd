const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type Interrupt = (typeof SIGNALS)[number];

/** The signals by which a user asks for an end; each is told to the latest listener. */
export class Interrupts {
  private listener: (signal: Interrupt) => void;
  private readonly handlers = SIGNALS.map((signal) => {
    const handler = (): void => this.listener(signal);
    process.on(signal, handler);
    return { signal, handler };
  });

  /** Listeners for signals alone do not keep Node from ending. */
  private readonly alive = setInterval(() => undefined, 0x7fffffff);

  constructor(listener: (signal: Interrupt) => void) {
    this.listener = listener;
  }

  tell(listener: (signal: Interrupt) => void): void {
    this.listener = listener;
  }

  close(): void {
    clearInterval(this.alive);
    for (const { signal, handler } of this.handlers) process.off(signal, handler);
  }
}
