/**
 * Every failure that a user can meet. `kind` decides the exit status of the command line,
 * `code` is stable and meant for programs, `hint` says what to do next.
 */
export type ErrorKind = 'failed' | 'usage' | 'not-permitted' | 'unsupported' | 'not-found';

export class UnderspanError extends Error {
  override readonly name = 'UnderspanError';
  /** The pattern that it is about, as it was written. */
  readonly pattern: string | undefined;
  constructor(
    readonly kind: ErrorKind,
    readonly code: string,
    message: string,
    readonly hint?: string,
    options?: ErrorOptions & { pattern?: string | undefined },
  ) {
    super(message, options);
    this.pattern = options?.pattern;
  }
}
