import { UnderspanError } from '../../errors.js';

/** The verbs of RBAC for what a caller may ask for. */
export type Verb = 'create' | 'get' | 'delete';

/** Who makes a request. */
export interface Caller {
  /** Such as "uid 0", a certificate's subject, or a user of Kubernetes. */
  who: string;
  /** How they came in: "socket, pid 42", "certificate, 10.0.0.1", "token, 10.0.0.1". */
  peer: string;
  /** Throws where they may not. */
  require(verb: Verb): Promise<void>;
}

export function notLetIn(message: string, hint: string): UnderspanError {
  return new UnderspanError('not-permitted', 'NOT_LET_IN', message, hint);
}
