import { UnderspanError } from '../../errors.js';

/** The verbs of RBAC for what a caller may ask for. */
export type Verb = 'create' | 'get' | 'delete';

/** Who makes a request. */
export interface Caller {
  via: 'socket' | 'certificate' | 'token';
  /** Such as "uid 0", a certificate's subject, or a user of Kubernetes. */
  who: string;
  /** Where they are: "pid 42", "10.0.0.1". */
  from: string;
  /** Throws where they may not. */
  require(verb: Verb): Promise<void>;
}

/** For a person: "socket, pid 42", "token, 10.0.0.1". */
export const peerOf = ({ via, from }: Caller): string => `${via}, ${from}`;

/** The same name may mean somebody else where they came in another way. */
export const isSame = (one: Caller, other: Caller): boolean =>
  one.via === other.via && one.who === other.who;

export function notLetIn(message: string, hint: string): UnderspanError {
  return new UnderspanError('not-permitted', 'NOT_LET_IN', message, hint);
}
