/*
 * Small lifecycles below an order, each declared as one literal: its states, and what may follow each. The first state is
 * where it begins.
 */

type States = Readonly<Record<string, readonly string[]>>;

/**
 * Declares states, and what may follow each.
 *
 * @param name of what has them, such as `payment`. @throws {Error} that lists all faults, so that nothing starts with them
 */
export function declareStates<const Declared extends States>(name: string, states: Declared): Declared {
  const faults = faultsOfStates(name, states);
  if (faults.length > 0) throw new Error(`the states of a ${name} are invalid: ${faults.join("; ")}`);
  return states;
}

/** Whether something in one state may get to another. */
export function mayBecome(states: States, from: string, to: string): boolean {
  return states[from]?.includes(to) ?? false;
}

/** All states, as declared. */
export function statesOf<State extends string>(states: Readonly<Record<State, readonly string[]>>): State[] {
  return Object.keys(states).filter((name): name is State => name in states);
}

/** The states from which this one may be reached. */
export function statesBefore<State extends string>(
  states: Readonly<Record<State, readonly string[]>>,
  to: State,
): State[] {
  return statesOf(states).filter((from) => states[from].includes(to));
}

/** What is wrong with declared states: one that is followed by an unknown one, or that nothing leads to. */
export function faultsOfStates(name: string, states: States): string[] {
  const [first] = Object.keys(states);
  const reached = new Set([first, ...Object.values(states).flat()]);
  return [
    ...Object.entries(states).flatMap(([from, nexts]) =>
      nexts
        .filter((to) => !(to in states))
        .map((to) => `a ${name} in ${from} may become ${to}, which is not declared`),
    ),
    ...Object.keys(states)
      .filter((state) => !reached.has(state))
      .map((state) => `no ${name} ever becomes ${state}`),
  ];
}
