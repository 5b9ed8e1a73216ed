/** The time of day, finer than the milliseconds of Date: containerd compares times of ours with its own. */

/** Microseconds since 1970. */
export function wallClock(): number {
  const milliseconds = Date.now();
  const fine = performance.timeOrigin + performance.now();
  // The clock was set since this process began: then its milliseconds are what there is.
  const isSame = Math.abs(fine - milliseconds) < 2;
  return Math.floor((isSame ? fine : milliseconds) * 1000);
}
