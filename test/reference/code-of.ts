/** The error code that a call ends with, or what went otherwise: for tables of refused input. */
import { PeelError } from '../../src/errors.ts';

export function codeOf(call: () => unknown): string {
  try {
    return `accepted: ${JSON.stringify(call())?.slice(0, 200)}`;
  } catch (error) {
    // Anything but a PeelError is a crash that an attacker may cause.
    return error instanceof PeelError ? error.code : `crashed: ${String(error)}`;
  }
}

export async function codeOfAsync(call: () => Promise<unknown>): Promise<string> {
  try {
    return `accepted: ${JSON.stringify(await call())?.slice(0, 200)}`;
  } catch (error) {
    return error instanceof PeelError ? error.code : `crashed: ${String(error)}`;
  }
}
