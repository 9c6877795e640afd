/** What results of C, C++ and Rust may be errors: numbers below zero, null pointers, Rust's Err. */
export const ERROR_MODES = ['negative', 'null', 'err'] as const;

export type ErrorMode = (typeof ERROR_MODES)[number];
