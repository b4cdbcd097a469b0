// How a process that lives until it is told to end learns of it.

/**
 * Settles with the name of the first signal that asks for the end. A second one ends the process at once.
 * The listeners stay: while a child runs, execa kills this process by a signal that nobody else listens to, and a
 * listener that has removed itself is nobody.
 */
export function stopSignal(signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']): Promise<string> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of signals) {
      process.on(signal, () => {
        if (isStopping) {
          process.removeAllListeners(signal);
          process.kill(process.pid, signal);
        }
        isStopping = true;
        resolve(signal);
      });
    }
  });
}
