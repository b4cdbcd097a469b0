// What Node.js 22 lacks of the language and this program uses, defined where it is missing; imported first by whoever may
// be the first to run. Goes with the support of Node.js 22. A checkout brings a newer one and never needs it.

type Undo = () => unknown;

/** `AsyncDisposableStack` of ECMAScript 2026, as far as it is used here: all is undone in reverse, whatever fails on the way. */
class DisposalStack implements Pick<AsyncDisposableStack, 'use' | 'defer' | 'move' | 'disposeAsync'> {
  #undos: Undo[] = [];

  use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
    if (value === null || value === undefined) return value;
    if (Symbol.asyncDispose in value) this.#undos.push(() => value[Symbol.asyncDispose]());
    else this.#undos.push(() => value[Symbol.dispose]());
    return value;
  }

  defer(undo: Undo): void {
    this.#undos.push(undo);
  }

  move(): AsyncDisposableStack {
    const moved = new DisposalStack();
    [moved.#undos, this.#undos] = [this.#undos, moved.#undos];
    return moved as unknown as AsyncDisposableStack;
  }

  async disposeAsync(): Promise<void> {
    const failures: unknown[] = [];
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 1) throw new AggregateError(failures, 'several things could not be undone');
    if (failures.length === 1) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disposeAsync();
  }
}

globalThis.AsyncDisposableStack ??= DisposalStack as unknown as AsyncDisposableStackConstructor;
