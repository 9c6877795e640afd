/** How figures are written. */
import type { Spread } from './rounds.js';

export const whole = (value: number): string => Math.round(value).toLocaleString('en');
export const twoDigits = (value: number): string => value.toFixed(2);

/** Median (least to most). */
export const range = (
  { median, least, most }: Spread,
  write: (value: number) => string = whole,
  unit = '',
): string => `${write(median)}${unit} (${write(least)} to ${write(most)})`;
